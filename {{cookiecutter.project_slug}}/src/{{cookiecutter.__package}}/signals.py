"""What is watched: a signal's value and limit in every window, how grave it is, and why, in a sentence."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from . import drift
from .compare import Interval, count, margin_of, spread
from .config import SCHEMA, Monitor, Params, UserError, span
from .drift import Array
from .evaluate import encode
from .features import features
from .metrics import find
from .rows import Field, personal, specs_of
from .rows import column as rule_of
from .windows import Reference, Window

LEVELS = ("unjudged", "ok", "notice", "warning", "critical")
GRAVE = {"feature": "notice", "prediction": "warning", "performance": "critical", "estimate": "notice"}
YEAR = timedelta(days=365)
Values = list[float | None]


@dataclass
class Signal:
    """One thing that is watched; `shown` are a metric's values with their intervals, `base` is that of the holdout."""

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

    @property
    def flags(self) -> list[bool | None]:
        """Whether the value was beyond the limit, in each window that was judged."""
        pairs = zip(self.values, self.limits, strict=True)
        return [None if v is None or limit is None else v > limit for v, limit in pairs]

    @property
    def last(self) -> tuple[float, float]:
        """The latest value and its limit."""
        pairs = zip(self.values[::-1], self.limits[::-1], strict=True)
        return next(((v, limit or 0.0) for v, limit in pairs if v is not None), (0.0, 0.0))

    def settle(self, state: str, k: int, of: int, sentence: str = "") -> "Signal":
        """Take a state when the latest window is beyond the limit, and k of the last n are."""
        if all(value is None for value in self.values):
            self.state = "unjudged"
        elif drift.persists(self.flags, k, of):
            self.state, self.sentence = state, sentence
        return self


def at_once(kind: str, name: str, values: Values, limit: float | None, state: str, sentence: str) -> Signal:
    """A signal of which one window beyond the limit is enough."""
    return Signal(kind, name, values, [limit] * len(values)).settle(state, 1, 1, sentence)


def of_column(
    rules: Monitor, kind: str, ref: pd.Series, parts: Sequence[pd.Series], chance: float, calm: Sequence[Array]
) -> Signal:
    """One column in every window, against the reference and its calm stretches of time."""
    yard, some = drift.Yardstick(ref, rules.measure), [part for part in parts if len(part) >= rules.minimum]
    limits = {n: yard.limit(min(n, len(ref) // 2), chance, rules.floor, calm) for n in {len(part) for part in some}}
    values = [yard.value(part) if len(part) in limits else None for part in parts]
    found = Signal(kind, str(ref.name), values, [limits.get(len(part)) for part in parts])
    found.settle(GRAVE[kind], *rules.persist)
    if some:
        found.sizes = yard.sizes(some[-1])
        found.moved = yard.moved(some[-1]) if found.state == GRAVE[kind] else []
    return found


def of_features(params: Params, ref: Reference, windows: Sequence[Window], chance: float) -> list[Signal]:
    """Every feature of the model in every window; drift is a notice until it is weighed."""
    whole = features(pd.concat([w.raw for w in windows], ignore_index=True))
    ends = np.cumsum([0, *(len(w.raw) for w in windows)])
    parts = {name: [whole[name].iloc[a:b] for a, b in pairwise(ends)] for name in ref.table}
    hidden = personal()
    seen = [name for name in ref.table if name not in hidden]
    return [of_column(params.monitor, "feature", ref.table[n], parts[n], chance, ref.learned) for n in seen]


def score(frame: pd.DataFrame, like: pd.DataFrame) -> Array:
    """One number for each prediction: itself, the chance of the last of two classes, or the class with its chance."""
    chances = [column for column in like if str(column).startswith("p_")]
    if not chances or frame.empty:
        return frame["prediction"].to_numpy(dtype=float) if len(frame) else np.array([])
    values = frame.reindex(columns=chances).to_numpy(dtype=float)
    return values[:, -1] if len(chances) == 2 else np.asarray(values.argmax(axis=1) + values.max(axis=1))


def of_predictions(params: Params, ref: Reference, windows: Sequence[Window], chance: float) -> list[Signal]:
    """What the model says: its scores, and for classes how often it says which."""
    frames = [ref.predictions, *(w.sample for w in windows)]
    columns = [[pd.Series(score(frame, ref.predictions), name="score") for frame in frames]]
    if params.data.task == "classification":
        columns.append([names(f["prediction"]) if len(f) else pd.Series(dtype="str") for f in frames])
    return [of_column(params.monitor, "prediction", first, rest, chance, ref.held) for first, *rest in columns]


def names(values: pd.Series) -> pd.Series:
    """The class of each row by its name, however a file wrote it: `1`, `1.0`, `true`."""
    found, distinct = pd.factorize(values, use_na_sentinel=False)
    plain = (str(int(value) if isinstance(value, bool | np.bool_) else value) for value in distinct)
    classes = [re.sub(r"^(-?\d+)\.0$", r"\1", name) for name in plain]
    return pd.Series(np.array(classes, dtype=object)[found], values.index, name="prediction")


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


def measured(params: Params, ref: Reference, frame: pd.DataFrame) -> Interval | None:
    """The primary metric on rows with truth, or None where they are too few."""
    metric, least = find(params.evaluate.metric), params.monitor.minimum
    if len(frame) < least:
        return None
    truth, scores = codes(ref, frame)
    if len(truth) < least or not count(metric.name, truth, scores).enough:
        return None
    one = metric.influence(truth, scores, params.evaluate.cost)
    error = spread(metric, truth, one)[0]  # Student's quantile would cost the import of SciPy
    return Interval(metric.name, one.value, one.value - 1.96 * error, one.value + 1.96 * error, error, "normal")


def estimate(params: Params, ref: Reference, window: Window) -> Interval | None:
    """The metric if each score still meant what it meant on the holdout: this sees other rows, not another world."""
    if len(window.sample) < params.monitor.minimum:
        return None
    rows = drift.like(score(ref.predictions, ref.predictions), score(window.sample, ref.predictions))
    return measured(params, ref, ref.predictions.iloc[rows])


def of_loss(params: Params, kind: str, base: Interval, found: Sequence[Interval | None]) -> Signal:
    """How much worse than on the holdout the metric is, in each window that has it."""
    rules, metric = params.monitor, find(params.evaluate.metric)
    margin, sign = margin_of(metric.name, base.value, rules.margin), 1 if metric.higher_is_better else -1
    year, rate = YEAR / span(rules.window), rules.false_alarms / 2
    limits = [
        max(margin, drift.loss_limit(base.error, one.error, year, *rules.persist, rate)) if one else None
        for one in found
    ]
    signal = Signal(kind, metric.name, [sign * (base.value - one.value) if one else None for one in found], limits)
    signal.shown = [[one.value, one.low, one.high] if one else None for one in found]
    signal.base = base.value
    return signal.settle(GRAVE[kind], *rules.persist)


def of_performance(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """The loss since the holdout: measured where labels have come, estimated elsewhere."""
    if not (base := measured(params, ref, ref.predictions)):
        return []
    told = [measured(params, ref, w.labelled) for w in windows]
    guessed = [None if one else estimate(params, ref, w) for w, one in zip(windows, told, strict=True)]
    return [of_loss(params, "performance", base, told), of_loss(params, "estimate", base, guessed)]


def of_quality(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """The share of each column's values that schema.yaml does not allow; one window of them is enough."""
    specs, rules, found = specs_of(SCHEMA), params.monitor, []
    some = [w if len(w.raw) >= rules.minimum else None for w in windows]
    hidden = personal()
    for column in (name for name in map(str, ref.raw) if name not in hidden):
        rule = allowed(column, specs[column]) if column in specs else None
        values = [breaks(rule, w.raw[column], w.unread[column]) if w else None for w in some]
        share = next((value for value in values[::-1] if value is not None), 0.0)
        sentence = f"{share:.1%} of the values of {column} break schema.yaml"
        grave = "critical" if share > 0.5 else "warning"
        found.append(at_once("quality", column, values, rules.broken, grave, sentence))
    return found


def allowed(column: str, spec: dict[str, Any]) -> Field | None:
    """What a column may hold; None for a check that no single value can be held to."""
    try:
        return rule_of(column, spec, True)
    except UserError:
        return None


def breaks(rule: Field | None, values: pd.Series, unread: float) -> float:
    """The share of values that are none of the column's type, missing where none may be, or fail a check."""
    if rule is None:
        return unread
    counts = values.value_counts()
    plain = [v.to_pydatetime() if isinstance(v, pd.Timestamp) else v for v in counts.index.tolist()]
    broken = sum(number for value, number in zip(plain, counts, strict=True) if not rule.keeps(value))
    return broken / len(values) + (unread if rule.nullable else float(values.isna().mean()))


def of_traffic(rules: Monitor, windows: Sequence[Window]) -> Signal:
    """Which share of the usual number of predictions is lacking."""
    rows, values = [w.rows for w in windows], Values()
    for i, now in enumerate(rows):
        before = [n for n in rows[:i] if n]
        values.append(1 - now / float(np.median(before)) if len(before) > 1 else None)
    sentence = f"{rows[-1]:,} predictions in the last window, {values[-1] or 0:.0%} fewer than usual"
    return at_once("traffic", "predictions", values, rules.volume, "notice" if rows[-1] else "critical", sentence)


def of_service(rules: Monitor, text: str) -> list[Signal]:
    """What a service's /metrics say since its start: failed requests, the slowest answers, lost log lines."""
    from prometheus_client.parser import text_string_to_metric_families

    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    status = [(s.labels["status"], s.value) for s in samples if s.name == "requests_total"]
    failed = sum(n for code, n in status if code[:1] == "5") / max(sum(n for _, n in status), 1)
    buckets = [s for s in samples if s.name == "request_seconds_bucket" and s.labels["path"] == "/predict"]
    asked = max((s.value for s in buckets), default=0.0)
    slow = 1000 * min((float(s.labels["le"]) for s in buckets if s.value >= 0.99 * asked), default=0.0)
    lost = sum(s.value for s in samples if s.name == "log_lines_lost_total")
    return [
        at_once("service", "errors", [failed], rules.errors, "critical", f"{failed:.1%} of the requests failed"),
        at_once("service", "p99 in ms", [slow], rules.milliseconds, "warning", f"p99 is {slow:g} ms or more"),
        at_once("service", "lost log lines", [lost], 0.0, "notice", f"{lost:,.0f} log lines are lost to monitoring"),
    ]


def weigh(signals: Sequence[Signal], weights: dict[str, float], least: float) -> None:
    """Drift is a warning where the drifted columns together carry enough of the model's importance."""
    for signal in signals:
        raw = max((w for w in weights if f"{signal.name}_".startswith(f"{w}_")), key=len, default="")
        signal.importance = weights.get(raw)
    grave = sum(signal.importance or 0.0 for signal in signals) >= least
    for signal in signals:
        signal.state = "warning" if grave and signal.importance else signal.state


def say(signal: Signal, rules: Monitor) -> str:
    """What a person should know about a signal that is not in order."""
    value, limit = signal.last
    if signal.shown:
        point = next(point for point in signal.shown[::-1] if point)
        word = "is estimated at" if signal.kind == "estimate" else "is"
        metric = f"{signal.name} {word} {point[0]:.4f} [{point[1]:.4f}, {point[2]:.4f}]"
        return f"{metric}, {signal.base:.4f} on the holdout; a loss above {limit:.4f} counts"
    judged = [flag for flag in signal.flags if flag is not None][-rules.persist[1] :]
    times = f"{sum(judged)} of {len(judged)} windows"
    text = f"{signal.name} moved: {rules.measure} {value:.2f}, limit {limit:.2f}, passed in {times}"
    if signal.importance is not None:
        text += f"; it carries {signal.importance:.0%} of the model's importance"
    return f"{text}; " + ", ".join(f"{c['value']}: {c['reference']:.0%} → {c['current']:.0%}" for c in signal.moved)
