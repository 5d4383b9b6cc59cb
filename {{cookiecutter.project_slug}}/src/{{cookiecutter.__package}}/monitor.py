"""Verb: what the service saw and said, against what the model learned from: performance, drift, quality, traffic."""

import re
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from . import drift, logs
from .compare import count, margin_of, spread
from .config import MODEL, SCHEMA, Monitor, Params, UserError, load_params, read_json, sha256, span, write_json
from .evaluate import encode
from .features import features
from .gate import finite
from .metrics import find
from .rows import Field
from .rows import column as rule_of
from .windows import Reference, Window, collect, reference

MONITOR = Path("reports/monitor.json")
IMPORTANCE = Path("reports/importance.json")
LEVELS = ("unjudged", "ok", "notice", "warning", "critical")
SCRAPED = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
Array = npt.NDArray[Any]
Values = list[float | None]


@dataclass
class Signal:
    """One thing that is watched: its value and limit in each window, the state now, and a sentence for people.

    `shown` are values of a metric with their intervals, `base` is the metric on the holdout.
    """

    kind: str
    name: str
    values: Values
    limits: Values
    state: str = "ok"
    sentence: str = ""
    sizes: dict[str, float] = field(default_factory=dict)
    moved: list[dict[str, Any]] = field(default_factory=list)
    importance: float | None = None
    shown: list[list[float] | None] = field(default_factory=list)
    base: float | None = None

    def __post_init__(self) -> None:
        if all(value is None for value in self.values):
            self.state = "unjudged"

    @property
    def flags(self) -> list[bool | None]:
        """Whether the value was beyond the limit, in each window that was judged."""
        pairs = zip(self.values, self.limits, strict=True)
        return [None if v is None or limit is None else v > limit for v, limit in pairs]

    @property
    def last(self) -> tuple[float, float]:
        """The latest value and its limit."""
        return next((v, c or 0.0) for v, c in zip(self.values[::-1], self.limits[::-1], strict=True) if v is not None)


def per_year(rules: Monitor) -> float:
    """How many windows a year has."""
    return timedelta(days=365) / span(rules.window)


def column_signal(
    rules: Monitor,
    kind: str,
    ref: pd.Series,
    parts: Sequence[pd.Series],
    chance: float,
    calm: Sequence[Array] = (),
) -> Signal:
    """One column in every window, against the reference."""
    yard = drift.Yardstick(ref, rules.measure)
    values: Values = [yard.value(part) if len(part) >= rules.minimum else None for part in parts]
    sizes = {len(part) for part in parts if len(part) >= rules.minimum}
    limits = {n: yard.limit(min(n, len(ref) // 2), chance, rules.floor, calm) for n in sizes}
    found = Signal(kind, str(ref.name), values, [limits.get(len(part)) for part in parts])
    if sizes:
        last = [part for part in parts if len(part) >= rules.minimum][-1]
        found.sizes = yard.sizes(last)
        if drift.persists(found.flags, *rules.persist):
            found.state, found.moved = "notice", yard.moved(last)
    return found


def stretches(rules: Monitor, times: Array | None) -> list[Array]:
    """The reference's rows by stretches as long as a window, where it has times and enough of them."""
    return (
        []
        if times is None
        else drift.stretch(times, pd.Timedelta(span(rules.window)).as_unit("ns").value, rules.minimum)
    )


def feature_signals(params: Params, ref: Reference, windows: Sequence[Window], chance: float) -> list[Signal]:
    """Every feature of the model in every window; drift is a notice until it is weighed."""
    rules = params.monitor
    whole = features(pd.concat([w.raw for w in windows], ignore_index=True))
    ends = np.cumsum([0, *(len(w.raw) for w in windows)])
    calm, found = stretches(rules, ref.times), []
    for one in ref.table:
        parts = [whole[one].iloc[a:b] for a, b in pairwise(ends)]
        found.append(column_signal(rules, "feature", ref.table[one], parts, chance, calm))
    return found


def score(frame: pd.DataFrame, like: pd.DataFrame) -> Array:
    """One number for each prediction: itself, the chance of the last of two classes, or the class with its chance."""
    chances = [column for column in like if str(column).startswith("p_")]
    if not chances or frame.empty:
        return frame["prediction"].to_numpy(dtype=float) if len(frame) else np.array([])
    values = frame.reindex(columns=chances).to_numpy(dtype=float)
    return values[:, -1] if len(chances) == 2 else np.asarray(values.argmax(axis=1) + values.max(axis=1))


def prediction_signals(params: Params, ref: Reference, windows: Sequence[Window], chance: float) -> list[Signal]:
    """What the model says: its scores, and for classes how often it says which."""
    frames, calm = [w.sample for w in windows], stretches(params.monitor, ref.held)
    scores = [pd.Series(score(frame, ref.predictions), name="score") for frame in (ref.predictions, *frames)]
    pairs = [(scores[0], scores[1:])]
    if params.data.task == "classification":
        said = [names(f["prediction"]) if len(f) else pd.Series(dtype="str") for f in (ref.predictions, *frames)]
        pairs.append((said[0].rename("prediction"), said[1:]))
    found = [column_signal(params.monitor, "prediction", column, parts, chance, calm) for column, parts in pairs]
    for signal in found:
        signal.state = "warning" if signal.state == "notice" else signal.state
    return found


def weigh(signals: Sequence[Signal], weights: dict[str, float], least: float) -> None:
    """Drift is a warning where the drifted columns together carry enough of the model's importance."""
    for signal in signals:
        raw = max((w for w in weights if f"{signal.name}_".startswith(f"{w}_")), key=len, default="")
        signal.importance = weights.get(raw)
    grave = sum(signal.importance or 0.0 for signal in signals) >= least
    for signal in signals:
        signal.state = "warning" if grave and signal.importance else signal.state


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


def name(value: Any) -> str:
    """A class's name, however a file wrote it: `1`, `1.0`, `true`."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    return re.sub(r"^(-?\d+)\.0$", r"\1", str(value))


def names(values: pd.Series) -> pd.Series:
    """The class of each row by its name."""
    found, distinct = pd.factorize(values, use_na_sentinel=False)
    return pd.Series(np.array([name(value) for value in distinct], dtype=object)[found], index=values.index)


def codes(ref: Reference, frame: pd.DataFrame) -> tuple[Array, Array]:
    """Truth and scores of labelled rows as the metrics take them; truth that the model cannot say is left out."""
    classes = [str(column).removeprefix("p_") for column in ref.predictions if str(column).startswith("p_")]
    if classes:
        said = names(frame["truth"])
        truth, scores = encode(said[said.isin(classes)], frame[said.isin(classes)], classes)
        good = np.isfinite(scores).all(axis=1)
    else:
        truth, scores = encode(pd.to_numeric(frame["truth"], errors="coerce"), frame[["prediction"]])
        good = np.isfinite(truth) & np.isfinite(scores)
    return truth[good], scores[good]


@dataclass(frozen=True)
class Measure:
    """A metric on some rows, its standard error, and its interval."""

    value: float
    error: float
    low: float
    high: float


def measured(params: Params, ref: Reference, frame: pd.DataFrame) -> Measure | None:
    """The primary metric on rows with truth, or None where they are too few."""
    metric, rules = find(params.evaluate.metric), params.monitor
    if len(frame) < rules.minimum:
        return None
    truth, scores = codes(ref, frame)
    if len(truth) < rules.minimum or not count(metric.name, truth, scores).enough:
        return None
    one = metric.influence(truth, scores, params.evaluate.cost)
    error = spread(metric, truth, one)[0]
    return Measure(one.value, error, one.value - 1.96 * error, one.value + 1.96 * error)


def loss_signal(params: Params, kind: str, base: Measure, found: Sequence[Measure | None]) -> Signal:
    """How much worse than on the holdout the metric is, in each window that has it."""
    rules, metric = params.monitor, find(params.evaluate.metric)
    margin, sign = margin_of(metric.name, base.value, rules.margin), 1 if metric.higher_is_better else -1
    values: Values = [None if one is None else sign * (base.value - one.value) for one in found]

    def limit(one: Measure) -> float:
        reach = drift.loss_limit(base.error, one.error, per_year(rules), *rules.persist, rules.false_alarms / 2)
        return max(margin, reach)

    signal = Signal(kind, metric.name, values, [None if one is None else limit(one) for one in found])
    signal.shown = [None if one is None else [one.value, one.low, one.high] for one in found]
    signal.base = base.value
    return signal


def performance_signals(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """The loss since the holdout: measured where labels have come, estimated elsewhere."""
    base = measured(params, ref, ref.predictions)
    if base is None:
        return []
    told = [measured(params, ref, w.labelled) for w in windows]
    guesses = [estimate(params, ref, w) if one is None else None for w, one in zip(windows, told, strict=True)]
    found = [loss_signal(params, "performance", base, told), loss_signal(params, "estimate", base, guesses)]
    for signal, state in zip(found, ("critical", "notice"), strict=True):
        signal.state = state if drift.persists(signal.flags, *params.monitor.persist) else signal.state
    return found


def estimate(params: Params, ref: Reference, window: Window) -> Measure | None:
    """The metric if each score still meant what it meant on the holdout: this sees other rows, not another world."""
    if len(window.sample) < params.monitor.minimum:
        return None
    rows = drift.like(score(ref.predictions, ref.predictions), score(window.sample, ref.predictions))
    return measured(params, ref, ref.predictions.iloc[rows])


def quality_signals(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """The share of each column's values that schema.yaml does not allow; one window of them is enough."""
    specs, rules, found = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))["columns"], params.monitor, []
    for column in map(str, ref.raw):
        rule = allowed(column, specs[column]) if column in specs else None
        values: Values = [
            breaks(rule, w.raw[column], w.unread[column]) if len(w.raw) >= rules.minimum else None for w in windows
        ]
        signal = Signal("quality", column, values, [rules.broken] * len(values))
        if signal.state != "unjudged" and (share := signal.last[0]) > rules.broken:
            signal.state = "critical" if share > 0.5 else "warning"
            signal.sentence = f"{share:.1%} of the values of {column} break schema.yaml"
        found.append(signal)
    return found


def allowed(column: str, spec: dict[str, Any]) -> Field | None:
    """What a column may hold; None for a check that no single value can be held to."""
    try:
        return rule_of(column, spec, True)
    except UserError:
        return None


def breaks(rule: Field | None, values: pd.Series, unread: float) -> float:
    """The share of values that are none of the column's type, missing where none may be, or fail a check."""
    codes, distinct = pd.factorize(values)
    missing = float((codes < 0).mean())
    if rule is None:
        return unread
    plain = distinct.to_pydatetime() if isinstance(distinct, pd.DatetimeIndex) else distinct.tolist()
    if rule.dtype.lower().lstrip("u").startswith("int"):
        plain = [int(value) if float(value).is_integer() else value for value in plain]
    fails = np.fromiter((not rule.keeps(value) for value in plain), dtype=np.bool_)
    share = float(fails[codes[codes >= 0]].sum() / len(values)) if len(fails) else 0.0
    return share + (unread if rule.nullable else missing)


def traffic_signal(rules: Monitor, windows: Sequence[Window]) -> Signal:
    """Which share of the usual number of predictions is lacking."""
    rows, values = [w.rows for w in windows], list[float | None]()
    for i, now in enumerate(rows):
        before = [n for n in rows[:i] if n]
        values.append(1 - now / float(np.median(before)) if len(before) > 1 else None)
    signal = Signal("traffic", "predictions", values, [rules.volume] * len(rows))
    if values[-1] is not None and values[-1] > rules.volume:
        signal.state = "notice" if rows[-1] else "critical"
        signal.sentence = f"{rows[-1]:,} predictions in the last window, {values[-1]:.0%} fewer than usual"
    return signal


def scrape(source: str) -> list[tuple[str, str, float]]:
    """Name, labels and value of each number of a service's /metrics, an address or a file; else a `UserError`."""
    try:
        if source.startswith(("http://", "https://")):
            with urllib.request.urlopen(source, timeout=10) as answer:
                text = answer.read().decode()
        else:
            text = Path(source).read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise UserError(
            f"{source} gives no metrics ({problem}); METRICS is the address of the service's /metrics"
        ) from None
    return [(found[1], found[2] or "", float(found[3])) for found in SCRAPED.finditer(text)]


def service_signals(rules: Monitor, numbers: Sequence[tuple[str, str, float]]) -> list[Signal]:
    """What the service says of itself since its start: failed requests, the slowest answers, lost log lines."""

    def total(wanted: str, *marks: str) -> float:
        return sum(v for key, labels, v in numbers if key == wanted and all(re.search(m, labels) for m in marks))

    failed = total("requests_total", r'status="5\d\d"') / max(total("requests_total"), 1)
    asked, lost = total("request_seconds_count", 'path="/predict"'), total("log_lines_lost_total")
    buckets = [(labels, v) for key, labels, v in numbers if key == "request_seconds_bucket" and '"/predict"' in labels]
    ends = [float(re.sub(r'.*le="([^"]+)".*', r"\1", labels)) for labels, v in buckets if v >= 0.99 * asked]
    slow = 1000 * min(ends, default=0.0)
    rows = [
        ("errors", failed, rules.errors, "critical", f"{failed:.1%} of the requests failed"),
        ("p99 in ms", slow, rules.milliseconds, "warning", f"one answer in a hundred takes {slow:g} ms or more"),
        ("lost log lines", lost, 0.0, "notice", f"the log lost {lost:,.0f} lines: monitoring does not see them"),
    ]
    found = []
    for what, value, limit, state, sentence in rows:
        signal = Signal("service", what, [value], [limit])
        if limit is not None and value > limit:
            signal.state, signal.sentence = state, sentence
        found.append(signal)
    return found


def say(signal: Signal, rules: Monitor) -> str:
    """What a person should know about a signal that is not in order."""
    value, limit = signal.last
    if signal.shown:
        point = next(point for point in signal.shown[::-1] if point)
        word = "is estimated at" if signal.kind == "estimate" else "is"
        interval = f"{point[0]:.4f} [{point[1]:.4f}, {point[2]:.4f}]"
        return f"{signal.name} {word} {interval}, {signal.base:.4f} on the holdout; a loss above {limit:.4f} counts"
    judged = [flag for flag in signal.flags if flag is not None][-rules.persist[1] :]
    times = f"{sum(judged)} of {len(judged)} windows"
    text = f"{signal.name} moved: {rules.measure} {value:.2f}, limit {limit:.2f}, passed in {times}"
    if signal.importance is not None:
        text += f"; it carries {signal.importance:.0%} of the model's importance"
    return f"{text}; " + ", ".join(f"{c['value']}: {c['reference']:.0%} → {c['current']:.0%}" for c in signal.moved)


def judge(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """Every signal, weighed and put into words."""
    rules = params.monitor
    chance = drift.chance(rules.false_alarms / 2, len(ref.table.columns) + 2, per_year(rules), *rules.persist)
    moved = feature_signals(params, ref, windows, chance)
    if drifted := [signal for signal in moved if signal.state == "notice"]:
        weigh(drifted, importances(params, ref.model), rules.importance)
    found = [
        *performance_signals(params, ref, windows),
        *prediction_signals(params, ref, windows, chance),
        *moved,
        *quality_signals(params, ref, windows),
        traffic_signal(rules, windows),
    ]
    for signal in found:
        if LEVELS.index(signal.state) > 1 and not signal.sentence:
            signal.sentence = say(signal, rules)
    return found


def triggers(signals: Sequence[Signal]) -> dict[str, str]:
    """What speaks for training again: a measured loss, and drift that the model feels."""
    grave = {"performance": "critical", "feature": "warning", "prediction": "warning"}
    names = {"performance": "performance", "feature": "drift", "prediction": "drift"}
    fired = [signal for signal in signals if grave.get(signal.kind) == signal.state]
    return {names[signal.kind]: signal.sentence for signal in fired[::-1]}


def nothing(rules: Monitor, model: str, tally: logs.Tally) -> str:
    """Why there is nothing to judge."""
    if not tally.counts["rows"]:
        return f"{rules.logs}/ has no predictions (predictions-*.jsonl or .parquet); the service writes them"
    if tally.counts["of another model"]:
        return f"{rules.logs}/ has only predictions of other models than {model[:12]}; look at the deployed model's own"
    return f"no prediction in {rules.logs}/ lies in the last {rules.history} whole windows of {rules.window}"


def watch(params: Params, now: pd.Timestamp, metrics: str = "") -> dict[str, Any]:
    """Everything that reports/monitor.json holds."""
    rules, ref = params.monitor, reference(params.data)
    windows, tally = collect(params, ref, now)
    if not any(w.rows for w in windows):
        raise UserError(nothing(rules, ref.model, tally))
    signals = judge(params, ref, windows) + (service_signals(rules, scrape(metrics)) if metrics else [])
    return {
        "version": 1,
        "model": ref.model,
        "until": (windows[-1].start + span(rules.window)).isoformat(),
        "windows": [{"start": w.start.isoformat(), "rows": w.rows, "labelled": len(w.labelled)} for w in windows],
        "signals": [asdict(signal) for signal in signals],
        "state": max((signal.state for signal in signals), key=LEVELS.index),
        "triggers": triggers(signals),
        "cooldown": rules.cooldown,
        "logs": {"counts": {key: n for key, n in tally.counts.items() if n}, "broken": tally.broken},
    }


def main(until: str | None = None, metrics: str = "") -> int:
    """Judge the whole windows up to UNTIL (default: now); METRICS is the service's /metrics, an address or a file."""
    from .trends import write

    now = pd.Timestamp(until) if until else pd.Timestamp.now("UTC")
    now = now.tz_localize("UTC") if now.tz is None else now.tz_convert("UTC")
    found = finite(watch(load_params(), now, metrics))
    write_json(MONITOR, found)
    write(found)
    print(f"{'monitor':<10}{found['state']}: {sum(w['rows'] for w in found['windows']):,} predictions → {MONITOR}")
    for signal in found["signals"]:
        if signal["sentence"]:
            print(f"{'':<10}{signal['state']}: {signal['sentence']}")
    return 0
