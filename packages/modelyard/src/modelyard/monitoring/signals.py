"""Signals: what monitoring watches, with a value and a limit in every window, a state, and the reason in words."""

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
from modelyard.statistics.drift import Periods

SEVERITIES = ("unjudged", "ok", "notice", "warning", "critical")
SEVERITY_BY_KIND = {"feature": "notice", "prediction": "warning", "performance": "critical", "estimate": "notice"}
YEAR = timedelta(days=365)
WindowValues = list[float | None]


@dataclass
class Signal:
    """One thing that is watched; reports/monitor.json holds it with these names.

    Parameters
    ----------
    kind, name
        "feature" and the feature's name, for example.
    values, limits
        One for each window, the oldest first; None where the window has too few rows.
    state
        One of `SEVERITIES`.
    sentence
        The reason of the state; empty if all is in order.
    sizes
        The drift in the latest window by every measure.
    moved
        The bins whose shares changed most: `value`, and the shares `reference` and `current`.
    importance
        The share of the model's importance that the feature's raw column has, if it is known.
    shown
        The metric in each window: its value and the ends of its interval.
    base
        The metric on the holdout.
    """

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
    def exceeds_limit(self) -> list[bool | None]:
        """Whether the value is above its limit, for each window; None for a window that is not judged."""
        flags: list[bool | None] = []
        for value, limit in zip(self.values, self.limits, strict=True):
            flags.append(None if value is None or limit is None else value > limit)
        return flags

    @property
    def last(self) -> tuple[float, float]:
        """The latest known value and its limit; zeros where there is none."""
        for value, limit in zip(reversed(self.values), reversed(self.limits), strict=True):
            if value is not None:
                return value, limit or 0.0
        return 0.0, 0.0

    def set_state(self, state: str, k: int, n: int, sentence: str = "") -> "Signal":
        """Take a state if the latest window and at least k of the last n windows exceed their limits."""
        if all(value is None for value in self.values):
            self.state = "unjudged"
        elif drift.k_of_n(self.exceeds_limit, k, n):
            self.state = state
            self.sentence = sentence
        return self


def threshold_check(
    kind: str, name: str, values: WindowValues, limit: float | None, state: str, sentence: str
) -> Signal:
    """Return a signal that takes its state as soon as the latest window exceeds the limit (None: never)."""
    return Signal(kind, name, values, [limit] * len(values)).set_state(state, 1, 1, sentence)


def column_drift(
    rules: MonitorParams,
    kind: str,
    reference: pd.Series,
    parts: Sequence[pd.Series],
    chance: float,
    periods: Periods,
    period_values: pd.Series | None = None,
) -> Signal:
    """Return the drift of one column in every window.

    Parameters
    ----------
    rules
        The measure, its floor, and the fewest rows of a window.
    kind
        A key of `SEVERITY_BY_KIND`.
    reference
        The column in the reference.
    parts
        The column in each window.
    chance
        The probability that a window without drift exceeds its limit.
    periods, period_values
        The periods of the reference, whose natural drift is tolerated; see `ReferenceDistribution`.
    """
    distribution = drift.ReferenceDistribution(reference, rules.measure, periods, period_values)
    judged = [part for part in parts if len(part) >= rules.minimum]
    limits = {}
    for size in {len(part) for part in judged}:
        rows = min(size, len(reference) // 2)
        limits[size] = distribution.compute_limit(rows, chance, rules.floor)
    values = [distribution.compute_distance(part) if len(part) in limits else None for part in parts]
    signal = Signal(kind, str(reference.name), values, [limits.get(len(part)) for part in parts])
    signal.set_state(SEVERITY_BY_KIND[kind], *rules.persist)
    if judged:
        signal.sizes = distribution.compute_distances(judged[-1])
    if signal.state == SEVERITY_BY_KIND[kind]:
        signal.moved = distribution.rank_moved_bins(judged[-1])
    return signal


def feature_drift(params: Params, reference: ReferenceData, windows: Sequence[Window], chance: float) -> list[Signal]:
    """Return the drift of each of the model's features, as notices.

    The features of all windows are made at once; columns marked personal are left out. For `chance` see `column_drift`.
    """
    features = Project.load().features(pd.concat([window.raw for window in windows], ignore_index=True))
    ends = np.cumsum([0, *(len(window.raw) for window in windows)])
    personal = read_personal_columns()
    signals = []
    for name in reference.features:
        if name not in personal:
            parts = [features[name].iloc[start:end] for start, end in pairwise(ends)]
            column = reference.features[name]
            periods = reference.train_periods
            period_values = reference.period_features[name] if periods.rows else None
            signals.append(column_drift(params.monitor, "feature", column, parts, chance, periods, period_values))
    return signals


def prediction_drift(
    params: Params, reference: ReferenceData, windows: Sequence[Window], chance: float
) -> list[Signal]:
    """Return the drift of the scores and, for a classifier, of the predicted classes; see `column_drift`."""
    frames = [reference.predictions, *(window.sample for window in windows)]
    classes = read_class_names(reference.predictions)
    scores = []
    for frame in frames:
        predictions = Predictions.from_frame(frame).align_to(classes, missing=np.nan)
        scores.append(pd.Series(predictions.compute_scores(), name="score"))
    columns = [scores]
    if params.data.task == "classification":
        empty = pd.Series(dtype="str")
        columns.append([normalize_class_names(frame["prediction"]) if len(frame) else empty for frame in frames])
    periods = reference.holdout_periods
    return [column_drift(params.monitor, "prediction", first, rest, chance, periods) for first, *rest in columns]


def escalate_by_importance(signals: Sequence[Signal], shares: dict[str, float], threshold: float) -> None:
    """Turn the drift of features into warnings if their raw columns carry enough of the model's importance.

    Parameters
    ----------
    signals
        The features that drifted; each gets the `importance` of its raw column: the one with the longest name of those
        with which the feature's name begins.
    shares
        Each raw column's share of the model's importance.
    threshold
        The sum of the shares from which on drift is a warning.
    """
    for signal in signals:
        raw_columns = [column for column in shares if f"{signal.name}_".startswith(f"{column}_")]
        signal.importance = shares[max(raw_columns, key=len)] if raw_columns else None
    if sum(signal.importance or 0.0 for signal in signals) < threshold:
        return
    for signal in signals:
        if signal.importance:
            signal.state = "warning"


def describe(signal: Signal, rules: MonitorParams) -> str:
    """Return a sentence about a signal of performance or drift that is not in order."""
    return describe_performance(signal) if signal.shown else describe_drift(signal, rules)


def describe_performance(signal: Signal) -> str:
    """Return a sentence with the latest value of the metric, its interval, and the loss since the holdout."""
    value, low, high = [shown for shown in signal.shown if shown][-1]
    verb = "is estimated at" if signal.kind == "estimate" else "is"
    loss, limit = signal.last
    return (
        f"{signal.name} {verb} {value:.4f} [{low:.4f}, {high:.4f}], {signal.base:.4f} on the holdout; "
        f"the loss of {loss:.4f} exceeds the limit of {limit:.4f}"
    )


def describe_drift(signal: Signal, rules: MonitorParams) -> str:
    """Return a sentence with the size of the drift, how often it exceeded the limit, and what moved."""
    value, limit = signal.last
    judged = [flag for flag in signal.exceeds_limit if flag is not None][-rules.persist[1] :]
    text = (
        f"{signal.name} drifted: {rules.measure} {value:.2f}, limit {limit:.2f}, "
        f"exceeded in {sum(judged)} of {len(judged)} windows"
    )
    if signal.importance is not None:
        text += f"; it carries {signal.importance:.0%} of the model's importance"
    moves = [f"{bin_['value']}: {bin_['reference']:.0%} → {bin_['current']:.0%}" for bin_ in signal.moved]
    return f"{text}; {', '.join(moves)}"
