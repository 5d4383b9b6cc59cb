"""The model's performance in each window: measured where labels have come, estimated elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modelyard.core.params import MonitorParams, Params, parse_duration
from modelyard.core.predictions import Predictions, encode_classes, normalize_class_names, read_class_names
from modelyard.monitoring.label_selection import label_selection
from modelyard.monitoring.signals import SEVERITY_BY_KIND, YEAR, Signal, WindowValues
from modelyard.monitoring.windows import ReferenceData, Window
from modelyard.statistics import drift
from modelyard.statistics.comparison import (
    ConfidenceInterval,
    compute_interval,
    compute_margin,
    compute_row_counts,
    compute_standard_error,
)
from modelyard.statistics.drift import Array
from modelyard.statistics.metrics import get_metric

NORMAL_QUANTILE = 1.96  # of a 95 % interval; Student's quantile would cost the import of SciPy


def encode_labelled_rows(reference: ReferenceData, labelled: pd.DataFrame) -> tuple[Array, Array]:
    """Return the truth and the scores of labelled rows as the metrics take them.

    Parameters
    ----------
    reference
        The reference, which has the model's classes.
    labelled
        Predictions with `truth`, n rows.

    Returns
    -------
    tuple
        Class codes, shape (m,), and probabilities, shape (m, k), or true and predicted numbers, both of shape (m,).
        Rows with a class that the model does not know, or without a number, are left out.
    """
    classes = read_class_names(reference.predictions)
    predictions = Predictions.from_frame(labelled).align_to(classes)
    if classes:
        truth = encode_classes(normalize_class_names(labelled["truth"]), classes)
        scores = np.asarray(predictions.probabilities)
        complete = (truth >= 0) & np.isfinite(scores).all(axis=1)
    else:
        truth = pd.to_numeric(labelled["truth"], errors="coerce").to_numpy(dtype=float)
        scores = predictions.values.astype(float)
        complete = np.isfinite(truth) & np.isfinite(scores)
    return truth[complete], scores[complete]


def measure_metric(params: Params, reference: ReferenceData, labelled: pd.DataFrame) -> ConfidenceInterval | None:
    """Return the primary metric on rows with `truth`, with its 95 % interval; None where the rows are too few."""
    minimum = params.monitor.minimum
    if len(labelled) < minimum:
        return None
    metric = get_metric(params.evaluate.metric)
    truth, scores = encode_labelled_rows(reference, labelled)
    if len(truth) < minimum or not compute_row_counts(metric.name, truth, scores).is_sufficient:
        return None
    if metric.influence_function is None:
        return compute_interval(metric.name, truth, scores, cost=params.evaluate.cost)
    influence = metric.compute_influence(truth, scores, params.evaluate.cost)
    error, _ = compute_standard_error(metric, truth, influence)
    low = influence.value - NORMAL_QUANTILE * error
    high = influence.value + NORMAL_QUANTILE * error
    return ConfidenceInterval(metric.name, influence.value, low, high, error, "normal")


def estimate_metric(params: Params, reference: ReferenceData, window: Window) -> ConfidenceInterval | None:
    """Return the metric under covariate shift: on holdout rows drawn so that their scores are like the window's.

    None where the window has too few rows. This cannot see concept drift, since it supposes that a score means what it
    meant on the holdout.
    """
    if len(window.sample) < params.monitor.minimum:
        return None
    holdout = Predictions.from_frame(reference.predictions)
    current = Predictions.from_frame(window.sample).align_to(holdout.classes, missing=np.nan)
    rows = drift.reweight_to_scores(holdout.compute_scores(), current.compute_scores())
    return measure_metric(params, reference, reference.predictions.iloc[rows])


@dataclass(frozen=True)
class HoldoutMetric:
    """The metric on the holdout.

    Parameters
    ----------
    whole
        Its value on all rows, and its interval.
    spread
        How much it varies between the holdout's periods beyond its sampling error, as a standard deviation; 0 where
        they are too few to know.
    periods
        The number of these periods.
    """

    whole: ConfidenceInterval
    spread: float = 0.0
    periods: int = 1


def measure_holdout(params: Params, reference: ReferenceData) -> HoldoutMetric | None:
    """Return the primary metric on the holdout and how much it varies with time; None where the rows are too few."""
    whole = measure_metric(params, reference, reference.predictions)
    if whole is None:
        return None
    periods = [reference.predictions.iloc[rows] for rows in reference.holdout_periods.reference_rows]
    found = [one for one in (measure_metric(params, reference, rows) for rows in periods) if one]
    if len(found) < drift.MIN_PERIODS:
        return HoldoutMetric(whole)
    values, errors = (np.array(numbers) for numbers in zip(*((one.value, one.error) for one in found), strict=True))
    return HoldoutMetric(whole, drift.estimate_spread(values, errors, whole.value), len(found))


def performance_drop(
    params: Params, kind: str, holdout: HoldoutMetric, found: Sequence[ConfidenceInterval | None]
) -> Signal:
    """Return the loss in the metric since the holdout in each window.

    Parameters
    ----------
    params
        The project's parameters.
    kind
        "performance" if the metric was measured, "estimate" if it was estimated.
    holdout
        The metric on the holdout, and its spread.
    found
        The metric in each window, None where it is not known.

    Returns
    -------
    Signal
        A loss is positive, whether the metric is better when higher or lower. Its limit is the margin, or, where that
        is larger, what k of n windows hardly ever lose by chance in a year.
    """
    metric = get_metric(params.evaluate.metric)
    sign = 1 if metric.higher_is_better else -1
    losses = [sign * (holdout.whole.value - one.value) if one else None for one in found]
    signal = Signal(kind, metric.name, losses, compute_loss_limits(params.monitor, holdout, found))
    signal.shown = [[one.value, one.low, one.high] if one else None for one in found]
    signal.base = holdout.whole.value
    return signal.set_state(SEVERITY_BY_KIND[kind], *params.monitor.persist)


def compute_loss_limits(
    rules: MonitorParams, holdout: HoldoutMetric, found: Sequence[ConfidenceInterval | None]
) -> WindowValues:
    """Return the limit of the loss in each window; see `performance_drop`."""
    margin = compute_margin(holdout.whole.metric, holdout.whole.value, rules.margin)
    holdout_error = float(np.hypot(holdout.whole.error, holdout.spread / holdout.periods**0.5))
    windows_per_year = YEAR / parse_duration(rules.window)
    rate = rules.false_alarms / 2
    limits: WindowValues = []
    for one in found:
        if one is None:
            limits.append(None)
        else:
            error = float(np.hypot(one.error, holdout.spread))
            by_chance = drift.compute_loss_limit(holdout_error, error, windows_per_year, *rules.persist, rate)
            limits.append(max(margin, by_chance))
    return limits


def model_performance(params: Params, reference: ReferenceData, windows: Sequence[Window]) -> list[Signal]:
    """Return the measured loss since the holdout, the estimated one in other windows, and which labels are selected.

    The loss is measured where labels are enough and came at random.
    """
    holdout = measure_holdout(params, reference)
    if holdout is None:
        return []
    selection = label_selection(params, windows)
    measured = []
    estimated = []
    for window, is_selected in zip(windows, selection.exceeds_limit, strict=True):
        metric = None if is_selected else measure_metric(params, reference, window.labelled)
        measured.append(metric)
        estimated.append(None if metric else estimate_metric(params, reference, window))
    return [
        performance_drop(params, "performance", holdout, measured),
        performance_drop(params, "estimate", holdout, estimated),
        selection,
    ]
