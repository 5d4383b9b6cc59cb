"""The comparison of two models on the same rows: the difference in a metric, its interval and the verdict.

The error of a metric comes from the influence of each row (`modelyard.statistics.influence`), summed over groups where
there are any: for the area under the ROC curve that is DeLong's formula, for a mean the paired standard error.
docs/gate.md derives the formulas and shows what they were measured to do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd

from modelyard.core.errors import SettingError
from modelyard.statistics.influence import Array, CostMatrix, Influence
from modelyard.statistics.metrics import InvalidScoresError, Metric, get_metric
from modelyard.statistics.paired_scores import MIN_UNITS, PairedScores, RowCounts, pair_scores, split_rows_by_code

__all__ = [
    "MIN_UNITS",
    "ConfidenceInterval",
    "Difference",
    "RowCounts",
    "SliceComparison",
    "adjust_p_values",
    "compare_slices",
    "compute_detectable_difference",
    "compute_difference",
    "compute_interval",
    "compute_margin",
    "compute_row_counts",
    "compute_standard_error",
    "decide_verdict",
    "is_margin_resolved",
]

BOOTSTRAP_RESAMPLES = 1000  # for a metric without a closed form
MIN_MARGIN_IN_ERRORS = 1.81  # with a margin of so many standard errors, 95 % of losses of two margins are found
SLICES_ALPHA_SHARE = 0.25  # the share of the primary metric's false alarms that all slices together may add


@dataclass(frozen=True)
class Difference:
    """The difference of two models in a metric; it and its interval are positive where the candidate is better.

    Parameters
    ----------
    metric
        The name of the metric.
    champion, candidate
        The value of each model.
    difference
        By how much the candidate is better, in the metric's unit.
    low, high
        The ends of the interval of the difference.
    error
        The standard error of the difference.
    method
        How the interval was computed.
    resamples
        The number of bootstrap resamples; 0 for a closed form.
    confidence
        The confidence of the interval.
    degrees_of_freedom
        Those of Student's t distribution that the interval uses.
    """

    metric: str
    champion: float
    candidate: float
    difference: float
    low: float
    high: float
    error: float
    method: str
    resamples: int = 0
    confidence: float = 0.95
    degrees_of_freedom: float = float("inf")

    @property
    def p_value(self) -> float:
        """The one-sided p-value of no loss: how often an equally good candidate looks this bad, or worse."""
        from scipy.special import stdtr

        return float(stdtr(self.degrees_of_freedom, self.difference / self.error)) if self.error else 1.0


@dataclass(frozen=True)
class ConfidenceInterval:
    """The value of one model in a metric, the ends of its interval and its standard error."""

    metric: str
    value: float
    low: float
    high: float
    error: float
    method: str


@dataclass(frozen=True)
class SliceComparison:
    """The comparison on the rows where a column has one value.

    Parameters
    ----------
    column, value
        The column and its value.
    counts
        The size of the slice.
    difference
        The paired difference in the slice.
    margin
        The loss that does not matter, in the metric's unit.
    p_value
        The one-sided p-value of no loss, corrected for the number of slices.
    blocks
        Whether the candidate is worse in this slice beyond doubt and by more than the margin.
    """

    column: str
    value: str
    counts: RowCounts
    difference: Difference
    margin: float
    p_value: float
    blocks: bool = False


def compute_row_counts(metric: str, truth: Array, scores: Array, groups: Array | None = None) -> RowCounts:
    """Return the number of rows, of rows of the rarest class that the scores know (maybe none), and of groups."""
    return pair_scores(metric, truth, scores, scores, groups, None).count_rows()


def compute_difference(
    metric: str,
    truth: Array,
    champion: Array,
    candidate: Array,
    *,
    groups: Array | None = None,
    cost: CostMatrix | None = None,
    confidence: float = 0.95,
    resamples: int = 0,
    seed: int = 0,
) -> Difference:
    """Return the paired difference of two models in a metric, with its interval.

    Parameters
    ----------
    metric
        The name of a metric.
    truth
        Class codes or numbers, shape (n,).
    champion, candidate
        Probabilities, shape (n, k), or numbers, shape (n,).
    groups
        The group of each row, shape (n,); rows of one group are not independent of each other.
    cost
        `cost[truth][prediction]`, shape (k, k), for the metric `cost`.
    confidence
        The confidence of the interval.
    resamples
        The number of bootstrap resamples; 0 takes the closed form where the metric has one.
    seed
        The seed of the resamples.

    Raises
    ------
    InvalidScoresError
        Truth and scores do not fit each other.
    UndefinedMetricError
        The rows do not define the metric.
    """
    pair = pair_scores(metric, truth, champion, candidate, groups, cost)
    return _compare(pair, confidence, resamples, seed)


def _compare(pair: PairedScores, confidence: float, resamples: int = 0, seed: int = 0) -> Difference:
    """Return the difference with its interval, by the method that the metric has."""
    if pair.metric.influence_function is None:
        point = _compute_point(pair, confidence)
        return _add_bootstrap_interval(pair, point, resamples or BOOTSTRAP_RESAMPLES, seed)
    found = _compute_closed_form(pair, confidence)
    return _add_bootstrap_interval(pair, found, resamples, seed) if resamples else found


def _compute_point(pair: PairedScores, confidence: float) -> Difference:
    """Return the difference without an interval."""
    champion = pair.compute_defined_value(pair.champion)
    candidate = pair.compute_defined_value(pair.candidate)
    gain = candidate - champion if pair.metric.higher_is_better else champion - candidate
    method = pair.metric.method
    return Difference(pair.metric.name, champion, candidate, gain, gain, gain, 0.0, method, confidence=confidence)


def _compute_closed_form(pair: PairedScores, confidence: float) -> Difference:
    """Return the difference with the interval that follows from the influences.

    The standard error is that of equally good models. For a ratio each end of the interval has the error that it would
    have if that end were true (Fieller 1954).
    """
    champion = pair.compute_influence(pair.champion)
    candidate = pair.compute_influence(pair.candidate)
    sign = 1 if pair.metric.higher_is_better else -1
    gain = sign * (candidate.value - champion.value)
    influence = sign * (candidate.influence - champion.influence)
    label_flip = max(champion.label_flip, candidate.label_flip)

    def error_at(true_gain: float) -> tuple[float, float]:
        moved = influence
        if candidate.denominator is not None:
            moved = influence + (gain - true_gain) * candidate.denominator
        return compute_standard_error(pair.metric, pair.truth, Influence(gain, moved, label_flip), pair.groups)

    error, freedom = error_at(0.0)
    quantile = _get_t_quantile(freedom, confidence)
    low = gain - quantile * error
    high = gain + quantile * error
    if candidate.denominator is not None:
        low, high = gain - quantile * error_at(low)[0], gain + quantile * error_at(high)[0]
    return Difference(
        metric=pair.metric.name,
        champion=champion.value,
        candidate=candidate.value,
        difference=gain,
        low=low,
        high=high,
        error=error,
        method=pair.describe_method(pair.metric.method),
        confidence=confidence,
        degrees_of_freedom=freedom,
    )


def _add_bootstrap_interval(pair: PairedScores, found: Difference, resamples: int, seed: int) -> Difference:
    """Return a difference with the interval between the quantiles of paired resamples."""
    gains = pair.resample(PairedScores.compute_gain, resamples, seed)
    low, high = np.quantile(gains, [(1 - found.confidence) / 2, (1 + found.confidence) / 2])
    return replace(
        found,
        low=float(low),
        high=float(high),
        error=float(gains.std()),
        method=pair.describe_method("paired bootstrap"),
        resamples=len(gains),
        degrees_of_freedom=float("inf"),
    )


def compute_interval(
    metric: str,
    truth: Array,
    scores: Array,
    *,
    groups: Array | None = None,
    cost: CostMatrix | None = None,
    confidence: float = 0.95,
) -> ConfidenceInterval:
    """Return the value of one model in a metric, with an interval that stays inside the metric's range.

    Parameters and errors are those of `compute_difference`.

    Notes
    -----
    The interval of a share is built on the logit scale, as Boyd, Eng & Page (2013) advise for average precision, and
    that of a loss on the log scale.
    """
    pair = pair_scores(metric, truth, scores, scores, groups, cost)
    if pair.metric.influence_function is None:
        return _compute_bootstrap_interval(pair, confidence)
    found = pair.compute_influence(pair.champion)
    error, freedom = compute_standard_error(pair.metric, pair.truth, found, pair.groups)
    if pair.metric.bounded and not error:
        # A model without errors has no spread: take the error that half a wrong row of the rarest kind would make.
        counts = pair.count_rows()
        error = 0.5 / max(min(counts.minority, counts.groups or counts.rows), 1)
    low, high = _transform_interval(pair.metric, found.value, error, _get_t_quantile(freedom, confidence))
    return ConfidenceInterval(metric, found.value, low, high, error, pair.describe_method(pair.metric.method))


def _compute_bootstrap_interval(pair: PairedScores, confidence: float) -> ConfidenceInterval:
    """Return one model's metric with the interval between the quantiles of its resamples."""
    values = pair.resample(lambda drawn: drawn.compute_value(drawn.champion), BOOTSTRAP_RESAMPLES, seed=0)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = pair.compute_defined_value(pair.champion)
    method = pair.describe_method(pair.metric.method)
    return ConfidenceInterval(pair.metric.name, value, float(low), float(high), float(values.std()), method)


def _transform_interval(metric: Metric, value: float, error: float, quantile: float) -> tuple[float, float]:
    """Return the interval that is symmetric on the logit scale for shares and on the log scale for losses."""
    if metric.bounded:
        return _build_logit_interval(value, error, quantile)
    if metric.name == "r2":
        low, high = _build_log_interval(1 - value, error, quantile)
        return 1 - high, 1 - low
    return _build_log_interval(value, error, quantile)


def _build_logit_interval(value: float, error: float, quantile: float) -> tuple[float, float]:
    """Return an interval of a share, which stays between 0 and 1."""
    share = float(np.clip(value, min(error, 0.5), max(1 - error, 0.5)))
    logit = np.log(share / (1 - share))
    width = quantile * error / (share * (1 - share))
    low = 1 / (1 + np.exp(width - logit))
    high = 1 / (1 + np.exp(-logit - width))
    return float(min(low, value)), float(max(high, value))


def _build_log_interval(loss: float, error: float, quantile: float) -> tuple[float, float]:
    """Return an interval of a loss, which stays above 0; symmetric where the loss is not positive."""
    if loss <= 0:
        return loss - quantile * error, loss + quantile * error
    factor = float(np.exp(quantile * error / loss))
    return loss / factor, loss * factor


def compute_standard_error(
    metric: Metric, truth: Array, found: Influence, groups: Array | None = None
) -> tuple[float, float]:
    """Return the standard error that follows from influences, and its degrees of freedom.

    Parameters
    ----------
    metric
        The metric; `by_class` metrics have independent rows within each class.
    truth
        Class codes or numbers, shape (n,).
    found
        The influences, shape (n,).
    groups
        The number of each row's group, shape (n,).

    Notes
    -----
    The influences are summed by group g and divided by √(1 - h), where h is the group's share of the rows (Bell &
    McCaffrey 2002): for lone rows the factor of the variance is n / (n - 1), for groups of one size G / (G - 1). The
    degrees of freedom are Satterthwaite's (1946) over the classes. One more row like those that matter is added,
    since few rows make a small error look certain (Agresti & Min 2005).
    """
    rows = len(found.influence)
    classes = truth if metric.task == "classification" else np.zeros(rows, dtype=np.intp)
    part_group, part_class, part_size, part_influence = _sum_by_group(classes, found.influence, groups)
    if metric.by_class:
        share = part_size / np.bincount(part_class, part_size)[part_class]
    else:
        share = np.bincount(part_group, part_size)[part_group] / rows
    group_error = np.bincount(part_group, part_influence / np.sqrt(np.maximum(1 - share, 0.5))) / rows
    variance = float((group_error**2).sum())
    one_more_row = (group_error**4).sum() / variance if variance else 0.0
    one_more_flip = (found.label_flip / rows) ** 2
    error = float(np.sqrt(variance + max(one_more_row, one_more_flip)))
    return error, _compute_degrees_of_freedom(part_class, part_influence)


def _compute_degrees_of_freedom(part_class: Array, part_influence: Array) -> float:
    """Return Satterthwaite's degrees of freedom over the classes."""
    units = np.maximum(np.bincount(part_class) - 1, 1)
    squares = np.bincount(part_class, part_influence**2)
    if not squares.sum():
        return float(units.sum())
    return float(squares.sum() ** 2 / (squares**2 / units).sum())


def _sum_by_group(classes: Array, influence: Array, groups: Array | None) -> tuple[Array, Array, Array, Array]:
    """Return group, class, number of rows and summed influence of each combination of group and class."""
    if groups is None:
        return np.arange(len(influence)), classes, np.ones(len(influence)), influence
    width = int(classes.max()) + 1
    keys, part = np.unique(groups * width + classes, return_inverse=True)
    return keys // width, keys % width, np.bincount(part), np.bincount(part, influence)


def compute_margin(metric: str, champion: float, margin: float | None = None) -> float:
    """Return the loss that does not matter, in the metric's unit.

    Parameters
    ----------
    metric
        The name of a metric.
    champion
        The champion's value, of which the margin of some metrics is a share.
    margin
        `gate.margin` in params.yaml; None takes the metric's own.

    Raises
    ------
    SettingError
        The margin is negative.
    """
    found = get_metric(metric)
    share = found.margin if margin is None else margin
    if share < 0:
        raise SettingError("gate.margin", f"is {share}", "it must be 0 or more")
    return share * abs(champion) if found.relative else share


def compute_detectable_difference(error: float, confidence: float = 0.95, power: float = 0.8) -> float:
    """Return the smallest true difference that is shown as one with this power, from the standard error."""
    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)) * error


def is_margin_resolved(error: float, margin: float) -> bool:
    """Whether the holdout is large enough to find a loss of two margins 95 % of the time."""
    return margin >= MIN_MARGIN_IN_ERRORS * error


def decide_verdict(found: Difference, margin: float, minority: int, groups: int | None = None) -> str:
    """Return the verdict on a candidate that is not the champion itself.

    Parameters
    ----------
    found
        The paired difference in the primary metric.
    margin
        The loss that does not matter, in the metric's unit.
    minority
        The number of rows of the rarest class.
    groups
        The number of groups.

    Returns
    -------
    str
        `better`, `not worse`, `worse` or `inconclusive`.
    """
    if not RowCounts(minority, minority, groups).is_sufficient:
        return "inconclusive"
    if found.low > 0:
        return "better"
    if found.low > -margin:
        return "not worse"
    if found.high < 0 and found.difference < -margin:
        return "worse"
    return "inconclusive"


def compare_slices(
    metric: str,
    truth: Array,
    champion: Array,
    candidate: Array,
    labels: Mapping[str, Array],
    margin: float | None = None,
    *,
    groups: Array | None = None,
    cost: CostMatrix | None = None,
    confidence: float = 0.95,
) -> list[SliceComparison]:
    """Compare two models in every slice that has enough rows.

    A slice blocks where the candidate loses more than the margin and the p-value, after Holm's correction for the
    number of slices, is at most 0.625 % (a quarter of what the primary metric may spend).

    Parameters
    ----------
    metric, truth, champion, candidate, groups, cost, confidence
        As in `compute_difference`.
    labels
        For each column the slice of each row, shape (n,).
    margin
        `gate.margin` in params.yaml; None takes the metric's own.
    """
    pair = pair_scores(metric, truth, champion, candidate, groups, cost)
    slices = []
    for column, values in labels.items():
        for value, part in _iterate_slices(pair, column, values):
            counts = part.count_rows()
            if not counts.is_sufficient:
                continue
            found = _compare(part, confidence)
            slice_margin = compute_margin(metric, found.champion, margin)
            slices.append(SliceComparison(column, value, counts, found, slice_margin, found.p_value))
    level = SLICES_ALPHA_SHARE * (1 - confidence) / 2
    return _correct_slices(slices, level)


def _correct_slices(slices: list[SliceComparison], level: float) -> list[SliceComparison]:
    """Return the slices with corrected p-values, and with those blocked that are worse at this level."""
    corrected = []
    p_values = adjust_p_values([part.p_value for part in slices])
    for part, p_value in zip(slices, p_values, strict=True):
        blocks = p_value <= level and part.difference.difference < -part.margin
        corrected.append(replace(part, p_value=p_value, blocks=blocks))
    return corrected


def _iterate_slices(pair: PairedScores, column: str, values: Array) -> Iterator[tuple[str, PairedScores]]:
    """Yield each value of a column and the scores of its rows."""
    if len(values) != len(pair.truth):
        problem = f"slice {column} has {len(values)} values for {len(pair.truth)} rows"
        raise InvalidScoresError(problem, "give one to each row")
    codes, distinct = pd.factorize(np.asarray(values), use_na_sentinel=False)
    for value, rows in zip(distinct, split_rows_by_code(codes), strict=True):
        yield "missing" if pd.isna(value) else str(value), pair.select_rows(rows)


def adjust_p_values(p_values: list[float]) -> list[float]:
    """Correct p-values for their number.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6.
    """
    order = np.argsort(p_values)
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p_value) for p_value in adjusted]


def _get_t_quantile(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))
