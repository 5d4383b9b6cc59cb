"""Verb: what the service saw and said, against what the model learned from: drift, quality, performance, traffic."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from . import champion, drift, logs
from .config import (
    HOLDOUT,
    LOCK,
    MODEL,
    PREDICTIONS,
    TRAIN,
    Monitor,
    Params,
    UserError,
    load_params,
    read_json,
    sha256,
    write_json,
)
from .features import features
from .gate import finite
from .validate import load_schema

if TYPE_CHECKING:
    from pandera.pandas import Column

    from .compare import Interval

MONITOR = Path("reports/monitor.json")
IMPORTANCE = Path("reports/importance.json")
REFERENCE = 20_000  # rows drawn from the reference
LABELS = 100_000  # rows drawn from the feedback
MONDAY = pd.Timestamp("1970-01-05", tz="UTC")
LEVELS = ("unjudged", "ok", "notice", "warning", "critical")
Array = npt.NDArray[Any]


@dataclass
class Signal:
    """One thing that is watched: its value and limit in each window, the state now, and a sentence for people."""

    kind: str
    name: str
    values: list[float | None]
    limits: list[float | None]
    state: str = "ok"
    sentence: str = ""
    shown: list[list[float] | None] = field(default_factory=list)
    base: float | None = None
    moved: list[dict[str, Any]] = field(default_factory=list)
    sizes: dict[str, float] = field(default_factory=dict)
    importance: float | None = None
    estimated: bool = False

    @property
    def flags(self) -> list[bool | None]:
        """Whether the value was beyond the limit, in each window that was judged."""
        pairs = zip(self.values, self.limits, strict=True)
        return [None if v is None or limit is None else v > limit for v, limit in pairs]


@dataclass(frozen=True)
class Window:
    """A stretch of time: how many predictions there were, a sample of them, and a sample of those with truth."""

    start: pd.Timestamp
    rows: int
    sample: pd.DataFrame
    labelled: pd.DataFrame


@dataclass(frozen=True)
class Reference:
    """What the deployed model learned from and said of its holdout."""

    model: str
    raw: pd.DataFrame
    table: pd.DataFrame
    times: Array | None
    predictions: pd.DataFrame


def files(params: Params) -> tuple[str, dict[Path, Path]]:
    """The deployed model's digest, and where its rows and predictions lie: here, or in DVC's cache."""
    wanted = (TRAIN, HOLDOUT, PREDICTIONS)
    deployed = (champion.at("HEAD", champion.PRODUCTION) or {}).get("champion")
    if not deployed or (MODEL.exists() and sha256(MODEL) == deployed["model"]):
        missing = [str(path) for path in (MODEL, *wanted) if not path.exists()]
        if missing:
            raise UserError(f"there is no reference to compare with: {', '.join(missing)} missing; `make pipeline` makes it")
        return sha256(MODEL), {path: path for path in wanted}
    outs = champion.outs(champion.at(deployed["commit"], LOCK) or {})
    places = {path: champion.CACHE / outs.get(str(path), "none")[:2] / outs.get(str(path), "none")[2:] for path in wanted}
    if not all(place.is_file() for place in places.values()):
        with champion.checkout(deployed["commit"]) as project:
            champion.run(project, "dvc", "repro", "evaluate")
    if not all(place.is_file() for place in places.values()):
        raise UserError(f"the rows of the deployed model are gone; check out {deployed['commit'][:12]} and `make pipeline`")
    return str(deployed["model"]), places


def draw(path: Path, columns: list[str], most: int) -> pd.DataFrame:
    """At most so many rows of a Parquet file, drawn at random, in the file's order."""
    import pyarrow.parquet as pq

    total = pq.read_metadata(path).num_rows
    chosen = np.sort(np.random.default_rng(0).choice(total, min(most, total), replace=False))
    parts, start = [], 0
    for batch in logs.batches(path, columns):
        here = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, start + len(batch))]
        parts.append(batch.iloc[here - start])
        start += len(batch)
    return pd.concat(parts, ignore_index=True)


def reference(params: Params) -> Reference:
    """The reference of the deployed model, in samples of fixed size."""
    model, places = files(params)
    time = params.data.time
    raw = draw(places[TRAIN], list(dict.fromkeys([*params.data.features, *([time] if time else [])])), REFERENCE)
    times = raw[time].astype("datetime64[ns]").astype("int64").to_numpy() if time else None
    raw = raw[params.data.features]
    said = pd.read_parquet(places[PREDICTIONS])
    return Reference(model, raw, features(raw), times, said)


def conform(frame: pd.DataFrame, like: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """Logged rows with the reference's columns and types; for each column the share that is no such value."""
    table, broken = {}, {}
    for name, column in like.items():
        logged = frame[name] if name in frame else pd.Series(None, index=frame.index, dtype="object")
        if drift.is_number(column):
            values = pd.to_numeric(logged, errors="coerce")
        elif pd.api.types.is_datetime64_any_dtype(column):
            values = pd.to_datetime(logged, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
        else:
            values = logged.astype("str")
        table[str(name)] = values
        broken[str(name)] = float((values.isna() & logged.notna()).mean()) if len(frame) else 0.0
    return pd.DataFrame(table), broken


def last_window(now: pd.Timestamp, width: pd.Timedelta) -> pd.Timestamp:
    """When the last whole window ended; windows lie on one grid that starts on a Monday."""
    return MONDAY + (now - MONDAY) // width * width


def collect(params: Params, ref: Reference, now: pd.Timestamp) -> tuple[list[Window], logs.Tally]:
    """The windows up to now, from logs that are read once, file by file."""
    rules, tally = params.monitor, logs.Tally()
    folder, width = Path(rules.logs), pd.Timedelta(rules.window)
    size = min(rules.sample, max(len(ref.raw) // 2, 1))
    truth = feedback(folder, tally)
    answered = np.sort(truth["hash"].to_numpy()) if len(truth) else np.array([], np.uint64)
    end = last_window(now, width)
    starts = [end - width * i for i in range(rules.history, 0, -1)]
    drawn = [(logs.Sample(size), logs.Sample(LABELS // rules.history)) for _ in starts]
    counts: Counter[int] = Counter()
    wanted = [*logs.META, *params.data.features]
    for part in logs.read(folder, "predictions", tally, wanted):
        frame = logs.known(part, tally)
        frame = own(frame, ref.model, tally)
        place = ((frame["time"] - starts[0]) // width).to_numpy()
        tally.counts["in the future"] += int((frame["time"] > now + pd.Timedelta("1h")).sum())
        heard = np.isin(frame["hash"].to_numpy(), answered)
        for i in np.unique(place[(place >= 0) & (place < len(starts))]).astype(int):
            here = place == i
            counts[i] += int(here.sum())
            drawn[i][0].add(frame[here])
            drawn[i][1].add(frame[here & heard])
    windows = []
    for i, (start, (some, told)) in enumerate(zip(starts, drawn, strict=True)):
        sample, labelled = some.settle(), told.settle()
        if len(labelled):
            labelled = labelled.merge(truth[["hash", "truth"]], on="hash")
        tally.counts["repeated in the sample"] += some.repeated
        windows.append(Window(start, counts[i], sample, labelled))
    return windows, tally


def own(frame: pd.DataFrame, model: str, tally: logs.Tally) -> pd.DataFrame:
    """The rows of one model; those of others are counted."""
    if "model" not in frame:
        tally.counts["of no model"] += len(frame)
        return frame.head(0)
    ours = (frame["model"] == model).to_numpy(dtype=bool, na_value=False)
    tally.counts["of another model"] += int((~ours).sum())
    return frame if ours.all() else frame[ours]


def feedback(folder: Path, tally: logs.Tally) -> pd.DataFrame:
    """A sample of the truth that came, by the hash of the prediction's id; of two answers the later one holds."""
    drawn, read = logs.Sample(LABELS), logs.Tally()
    for part in logs.read(folder, "feedback", read, ["id", "truth", "time"]):
        frame = logs.known(part, read)
        if "truth" in frame:
            drawn.add(frame.loc[frame["truth"].notna(), ["hash", "truth", "time"]].astype({"truth": "object"}))
    tally.counts["labels"] = read.counts["rows"]
    tally.counts["labels repeated"] = drawn.repeated
    tally.broken |= read.broken
    return drawn.settle()


def score(frame: pd.DataFrame) -> Array:
    """One number for each prediction: itself, or the chance of the last of two classes, or the class with its chance."""
    chances = [name for name in frame if str(name).startswith("p_")]
    if not chances:
        return frame["prediction"].to_numpy(dtype=float)
    if len(chances) == 2:
        return frame[chances[-1]].to_numpy(dtype=float)
    values = frame[chances].to_numpy(dtype=float)
    return np.asarray(values.argmax(axis=1) + values.max(axis=1))


def budget(rules: Monitor, columns: int) -> float:
    """The chance a column and window: half of the false alarms is for columns, half for performance."""
    return drift.chance(rules.false_alarms / 2, columns, per_year(rules), *rules.persist)


def per_year(rules: Monitor) -> float:
    """How many windows a year has."""
    return pd.Timedelta(days=365) / pd.Timedelta(rules.window)


def column_signal(
    rules: Monitor, kind: str, ref: pd.Series, parts: Sequence[pd.Series], chance: float, stretches: Sequence[Array]
) -> Signal:
    """One column in every window, against the reference."""
    yard = drift.Yardstick(ref, rules.measure)
    limits: dict[int, float] = {}
    values: list[float | None] = []
    for part in parts:
        values.append(yard.value(part) if len(part) >= rules.minimum else None)
        if values[-1] is not None and len(part) not in limits:
            limits[len(part)] = yard.limit(min(len(part), len(ref) // 2), chance, rules.floor, stretches)
    found = Signal(kind, str(ref.name), values, [limits.get(len(part)) for part in parts])
    judged = [i for i, value in enumerate(values) if value is not None]
    if not judged:
        found.state = "unjudged"
        return found
    last = parts[judged[-1]]
    counts = [yard.count(codes) for codes in (yard.codes, yard.cells.codes(last))]
    found.sizes = {name: float(measure(*counts)) for name, measure in drift.MEASURES.items()}
    if yard.cells.edges is not None:
        found.sizes[drift.WASSERSTEIN] = drift.wasserstein(drift.numbers(ref), drift.numbers(last))
    if drift.persists(found.flags, *rules.persist):
        found.state, found.moved = "notice", yard.moved(last)
    return found


def feature_signals(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """Every feature of the model in every window."""
    rules, width = params.monitor, pd.Timedelta(params.monitor.window).value
    tables = [features(conform(w.sample, ref.raw)[0]) for w in windows]
    chance = budget(rules, len(ref.table.columns) + 2)
    stretches = drift.stretch(ref.times, width, rules.minimum) if ref.times is not None else []
    return [
        column_signal(rules, "feature", ref.table[name], [table[name] for table in tables], chance, stretches)
        for name in ref.table
    ]


def prediction_signals(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """What the model says: its scores, and for classes how often it says which."""
    chance, found = budget(params.monitor, len(ref.table.columns) + 2), []
    frames = [w.sample for w in windows]
    column = pd.Series(score(ref.predictions), name="score")
    parts = [pd.Series(score(frame)) if len(frame) else pd.Series(dtype=float) for frame in frames]
    found.append(column_signal(params.monitor, "prediction", column, parts, chance, []))
    if params.data.task == "classification":
        column = ref.predictions["prediction"].astype("str")
        said = [f["prediction"].astype("str") if len(f) else pd.Series(dtype="str") for f in frames]
        found.append(column_signal(params.monitor, "prediction", column, said, chance, []))
    for signal in found:
        signal.state = "warning" if signal.state == "notice" else signal.state
    return found


def weigh(signals: Sequence[Signal], weights: dict[str, float], least: float) -> None:
    """Drift in columns that the model leans on is a warning; elsewhere it stays a notice."""
    drifted = [signal for signal in signals if signal.state == "notice"]
    for signal in drifted:
        signal.importance = weights.get(origin(signal.name, weights))
    carried = sum(signal.importance or 0.0 for signal in drifted)
    for signal in drifted:
        if carried >= least and (signal.importance or 0.0) > 0:
            signal.state = "warning"


def origin(name: str, known: dict[str, float]) -> str:
    """The raw column that a feature comes from, by its name."""
    return max((raw for raw in known if name == raw or name.startswith(f"{raw}_")), key=len, default=name)


def importances(params: Params, model: str) -> dict[str, float]:
    """Each raw column's share of the model's importance; worked out once for a model."""
    from .report import importance

    if IMPORTANCE.exists() and (kept := read_json(IMPORTANCE))["model"] == model:
        return dict(kept["shares"])
    if not MODEL.exists() or sha256(MODEL) != model:
        return {}
    lost = {name: max(value, 0.0) for name, value in importance(params)}
    shares = {name: value / (sum(lost.values()) or 1.0) for name, value in lost.items()}
    write_json(IMPORTANCE, {"model": model, "shares": shares})
    return shares


def codes(params: Params, ref: Reference, frame: pd.DataFrame) -> tuple[Array, Array]:
    """Truth and scores of labelled rows as the metrics take them; truth that is no class of the model is left out."""
    from .evaluate import encode

    if params.data.task != "classification":
        truth = pd.to_numeric(frame["truth"], errors="coerce")
        return encode(truth[truth.notna()], frame.loc[truth.notna(), ["prediction"]])
    classes = [str(name).removeprefix("p_") for name in ref.predictions if str(name).startswith("p_")]
    truth, scores = encode(names(frame["truth"]), frame, classes)
    good = (truth >= 0) & np.isfinite(scores).all(axis=1)
    return truth[good], scores[good]


def names(truth: pd.Series) -> pd.Series:
    """Class names as text, however a label file wrote them: `1`, `1.0`, `true`."""
    plain = truth.map(lambda value: int(value) if isinstance(value, bool | np.bool_) else value)
    return plain.astype(str).str.replace(r"^(-?\d+)\.0$", r"\1", regex=True)


def measured(params: Params, ref: Reference, frame: pd.DataFrame) -> "Interval | None":
    """The primary metric on labelled rows with its interval, or None where they are too few."""
    from .compare import count, interval

    if len(frame) < params.monitor.minimum:
        return None
    truth, scores = codes(params, ref, frame)
    metric = params.evaluate.metric
    if len(truth) < params.monitor.minimum or not count(metric, truth, scores).enough:
        return None
    return interval(metric, truth, scores, cost=params.evaluate.cost)


def performance_signals(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """The loss in the primary metric since the holdout: measured where labels have come, else estimated."""
    base = measured(params, ref, ref.predictions)
    if base is None:
        return []
    found = [measured(params, ref, w.labelled) for w in windows]
    signal = loss_signal(params, base, found)
    if drift.persists(signal.flags, *params.monitor.persist):
        signal.state = "critical"
    guessed = loss_signal(params, base, [estimate(params, ref, w, base) if one is None else None for w, one in zip(windows, found, strict=True)])
    guessed.kind, guessed.estimated = "estimate", True
    if drift.persists(guessed.flags, *params.monitor.persist):
        guessed.state = "notice"
    return [signal, guessed]


def loss_signal(params: Params, base: "Interval", found: Sequence["Interval | None"]) -> Signal:
    """How much lower (for errors: higher) the metric is than on the holdout, in each window that has it."""
    from .compare import margin_of
    from .metrics import find

    rules, metric = params.monitor, find(params.evaluate.metric)
    margin, sign = margin_of(metric.name, base.value, rules.margin), 1 if metric.higher_is_better else -1
    losses = [None if one is None else sign * (base.value - one.value) for one in found]
    limits = [None if one is None else max(margin, loss_limit(rules, base.error, one.error)) for one in found]
    signal = Signal("performance", metric.name, losses, limits, "ok" if any(found) else "unjudged")
    signal.shown = [None if one is None else [one.value, one.low, one.high] for one in found]
    signal.base = base.value
    return signal


def loss_limit(rules: Monitor, base: float, window: float) -> float:
    """The loss that false alarms allow, from the errors of holdout and window."""
    return drift.loss_limit(base, window, per_year(rules), *rules.persist, rules.false_alarms / 2)


def estimate(params: Params, ref: Reference, window: Window, base: "Interval") -> "Interval | None":
    """The metric if each score still meant what it meant on the holdout: it sees other rows, not another world."""
    from .compare import interval

    if len(window.sample) < params.monitor.minimum:
        return None
    rows = drift.like(score(ref.predictions), score(window.sample))
    truth, scores = codes(params, ref, ref.predictions.iloc[rows])
    try:
        found = interval(params.evaluate.metric, truth, scores, cost=params.evaluate.cost)
    except UserError:  # the drawn rows have one class
        return None
    return replace(found, error=float(np.hypot(found.error, base.error)))


def quality_signals(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """For each column the share of values that schema.yaml does not allow; one window of them is enough."""
    schema, rules, found = load_schema(), params.monitor, []
    tables = [conform(w.sample, ref.raw) for w in windows]
    for name in ref.raw:
        values = [
            breaks(schema.columns.get(name), table[name], broken[name]) if len(table) >= rules.minimum else None
            for table, broken in tables
        ]
        signal = Signal("quality", str(name), values, [rules.broken] * len(values))
        judged = [value for value in values if value is not None]
        if not judged:
            signal.state = "unjudged"
        elif judged[-1] > rules.broken:
            signal.state = "critical" if judged[-1] > 0.5 else "warning"
            signal.sentence = f"{judged[-1]:.1%} of the values of {name} break schema.yaml"
        found.append(signal)
    return found


def breaks(rule: "Column | None", values: pd.Series, unread: float) -> float:
    """The share of values that are no such value, missing where none may be, or fail a check."""
    if rule is None:
        return unread
    missing = values.isna()
    bad = missing.to_numpy(copy=True) if not rule.nullable else np.zeros(len(values), bool)
    share = 0.0 if not rule.nullable else unread
    for check in rule.checks:
        held = values[~missing]
        output = check(held).check_output
        bad[np.flatnonzero(~missing.to_numpy())[~np.asarray(output, bool)]] = True
    return float(bad.mean()) + share


def traffic_signal(rules: Monitor, windows: Sequence[Window]) -> Signal:
    """How much of the usual number of predictions is lacking."""
    rows = [w.rows for w in windows]
    values: list[float | None] = []
    for i, now in enumerate(rows):
        before = [r for r in rows[:i] if r]
        values.append(1 - now / float(np.median(before)) if len(before) >= 2 else None)
    signal = Signal("traffic", "predictions", values, [rules.volume] * len(rows))
    if values[-1] is None:
        signal.state = "ok" if rows[-1] else "unjudged"
    elif values[-1] > rules.volume:
        signal.state = "critical" if not rows[-1] else "notice"
        signal.sentence = f"{rows[-1]:,} predictions in the last window, {values[-1]:.0%} fewer than usual"
    return signal


def say(signal: Signal, metric: str) -> str:
    """What a person should know about a signal that is not in order."""
    value, limit = next((v, c) for v, c in zip(reversed(signal.values), reversed(signal.limits), strict=True) if v is not None)
    times = sum(bool(flag) for flag in signal.flags[-3:])
    if signal.kind in ("performance", "estimate"):
        shown = [point for point in signal.shown if point][-1]
        word = "is estimated at" if signal.estimated else "is"
        return f"{metric} {word} {shown[0]:.4f} [{shown[1]:.4f}, {shown[2]:.4f}], {signal.base:.4f} on the holdout; limit {limit:.4f}"
    text = f"{signal.name} moved by {value:.3f} (limit {limit:.3f}) in {times} of the last windows"
    if signal.importance is not None:
        text += f"; it carries {signal.importance:.0%} of the model's importance"
    cells = ", ".join(f"{c['value']}: {c['reference']:.1%} → {c['current']:.1%}" for c in signal.moved)
    return f"{text}; {cells}"


def watch(params: Params, now: pd.Timestamp) -> dict[str, Any]:
    """Everything that reports/monitor.json holds."""
    ref = reference(params)
    windows, tally = collect(params, ref, now)
    if not any(w.rows for w in windows):
        raise UserError(nothing(params, ref, tally))
    moved = [*feature_signals(params, ref, windows)]
    if any(signal.state == "notice" for signal in moved):
        weigh(moved, importances(params, ref.model), params.monitor.importance)
    signals = [
        *performance_signals(params, ref, windows),
        *prediction_signals(params, ref, windows),
        *moved,
        *quality_signals(params, ref, windows),
        traffic_signal(params.monitor, windows),
    ]
    for signal in signals:
        if LEVELS.index(signal.state) > 1 and not signal.sentence:
            signal.sentence = say(signal, params.evaluate.metric)
    return {
        "version": 1,
        "model": ref.model,
        "until": (windows[-1].start + pd.Timedelta(params.monitor.window)).isoformat(),
        "windows": [{"start": w.start.isoformat(), "rows": w.rows, "labelled": len(w.labelled)} for w in windows],
        "signals": [asdict(signal) for signal in signals],
        "state": max((signal.state for signal in signals), key=LEVELS.index),
        "triggers": triggers(signals),
        "logs": {"counts": dict(tally.counts), "broken": tally.broken},
    }


def triggers(signals: Sequence[Signal]) -> dict[str, str]:
    """What speaks for training again: drift that the model feels, and a measured loss."""
    found = {}
    for signal in signals:
        if signal.kind == "performance" and signal.state == "critical":
            found["performance"] = signal.sentence
        if signal.kind in ("feature", "prediction") and signal.state == "warning":
            found.setdefault("drift", signal.sentence)
    return found


def nothing(params: Params, ref: Reference, tally: logs.Tally) -> str:
    """Why there is nothing to judge."""
    if tally.counts["of another model"]:
        return f"the logs in {params.monitor.logs}/ are of other models than {ref.model[:12]}; deploy it, or look at its own logs"
    if not tally.counts["rows"]:
        return f"there are no predictions in {params.monitor.logs}/ (predictions-*.jsonl or .parquet); the service writes them"
    return f"no prediction in {params.monitor.logs}/ lies in the last {params.monitor.history} whole windows of {params.monitor.window}"


def main(until: str | None = None) -> int:
    """Write reports/monitor.json, .md and .html about the windows up to UNTIL (default: now)."""
    from .trends import write

    params = load_params()
    now = pd.Timestamp(until) if until else pd.Timestamp.now("UTC")
    now = now.tz_localize("UTC") if now.tz is None else now.tz_convert("UTC")
    found = finite(watch(params, now))
    write_json(MONITOR, found)
    write(found)
    print(f"{'monitor':<10}{found['state']}: {sum(w['rows'] for w in found['windows']):,} predictions → {MONITOR}")
    for signal in found["signals"]:
        if LEVELS.index(signal["state"]) > 1:
            print(f"{'':<10}{signal['state']}: {signal['sentence']}")
    return 0
