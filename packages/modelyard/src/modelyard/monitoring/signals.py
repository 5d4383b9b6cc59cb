"""What is watched: a signal's value and limit in every window, how grave it is, and why, in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.params import MonitorParams, Params
from modelyard.core.predictions import Predictions, normalize_class_names, read_class_names
from modelyard.core.project import Project
from modelyard.data.schema_fields import read_personal_columns
from modelyard.monitoring.windows import ReferenceData, Window
from modelyard.statistics import drift
from modelyard.statistics.drift import Array

SEVERITIES = ("unjudged", "ok", "notice", "warning", "critical")
SEVERITY_BY_KIND = {"feature": "notice", "prediction": "warning", "performance": "critical", "estimate": "notice"}
YEAR = timedelta(days=365)
WindowValues = list[float | None]


@dataclass
class Signal:
    """One thing that is watched; `shown` are a metric's values with their intervals, `base` is that of the holdout."""

    kind: str
    name: str
    values: WindowValues
    limits: WindowValues
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
        elif drift.k_of_n(self.flags, k, of):
            self.state, self.sentence = state, sentence
        return self


def threshold_check(
    kind: str, name: str, values: WindowValues, limit: float | None, state: str, sentence: str
) -> Signal:
    """A signal of which one window beyond the limit is enough."""
    return Signal(kind, name, values, [limit] * len(values)).settle(state, 1, 1, sentence)


def column_drift(
    rules: MonitorParams, kind: str, ref: pd.Series, parts: Sequence[pd.Series], chance: float, calm: Sequence[Array]
) -> Signal:
    """One column in every window, against the reference and its calm stretches of time."""
    yard, some = drift.ReferenceDistribution(ref, rules.measure), [part for part in parts if len(part) >= rules.minimum]
    limits = {
        n: yard.compute_limit(min(n, len(ref) // 2), chance, rules.floor, calm) for n in {len(part) for part in some}
    }
    values = [yard.value(part) if len(part) in limits else None for part in parts]
    found = Signal(kind, str(ref.name), values, [limits.get(len(part)) for part in parts])
    found.settle(SEVERITY_BY_KIND[kind], *rules.persist)
    if some:
        found.sizes = yard.sizes(some[-1])
        found.moved = yard.moved(some[-1]) if found.state == SEVERITY_BY_KIND[kind] else []
    return found


def feature_drift(params: Params, ref: ReferenceData, windows: Sequence[Window], chance: float) -> list[Signal]:
    """Every feature of the model in every window; drift is a notice until it is weighed."""
    whole = Project.load().features(pd.concat([w.raw for w in windows], ignore_index=True))
    ends = np.cumsum([0, *(len(w.raw) for w in windows)])
    parts = {name: [whole[name].iloc[a:b] for a, b in pairwise(ends)] for name in ref.table}
    hidden = read_personal_columns()
    seen = [name for name in ref.table if name not in hidden]
    return [column_drift(params.monitor, "feature", ref.table[n], parts[n], chance, ref.learned) for n in seen]


def prediction_drift(params: Params, ref: ReferenceData, windows: Sequence[Window], chance: float) -> list[Signal]:
    """What the model says: its scores, and for classes how often it says which."""
    frames = [ref.predictions, *(w.sample for w in windows)]
    classes = read_class_names(ref.predictions)
    predictions = [Predictions.from_frame(frame).align_to(classes, missing=np.nan) for frame in frames]
    columns = [[pd.Series(one.compute_scores(), name="score") for one in predictions]]
    if params.data.task == "classification":
        columns.append([normalize_class_names(f["prediction"]) if len(f) else pd.Series(dtype="str") for f in frames])
    return [column_drift(params.monitor, "prediction", first, rest, chance, ref.held) for first, *rest in columns]


def escalate_by_importance(signals: Sequence[Signal], weights: dict[str, float], least: float) -> None:
    """Drift is a warning where the drifted columns together carry enough of the model's importance."""
    for signal in signals:
        raw = max((w for w in weights if f"{signal.name}_".startswith(f"{w}_")), key=len, default="")
        signal.importance = weights.get(raw)
    grave = sum(signal.importance or 0.0 for signal in signals) >= least
    for signal in signals:
        signal.state = "warning" if grave and signal.importance else signal.state


def describe(signal: Signal, rules: MonitorParams) -> str:
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
