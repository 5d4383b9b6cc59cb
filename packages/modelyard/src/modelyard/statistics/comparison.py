"""The comparison of two models on the same rows: the difference in a metric, its interval and the verdict.

The error of a metric comes from the influence of each row (`modelyard.statistics.influence`), summed over clusters
where there are any (`modelyard.statistics.standard_error`): for the area under the ROC curve that is DeLong's formula,
for a mean the paired standard error.
docs/gate.md derives the formulas and shows what they were measured to do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd

from modelyard.statistics.clusters import Clusters
from modelyard.statistics.influence import Array, CostMatrix, Influence
from modelyard.statistics.margins import build_margin, compute_margin
from modelyard.statistics.metrics import CLASSIFICATION, InvalidScoresError, Metric
from modelyard.statistics.paired_scores import MIN_UNITS, PairedScores, RowCounts, pair_scores, split_rows_by_code
from modelyard.statistics.standard_error import Groups, compute_standard_error

__all__ = [
    "MIN_UNITS",
    "Clusters",
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
MAX_LOG_WIDTH = 3.0  # half the width of an interval on the log scale
ROUNDING = 1e-12  # the relative error below which numbers are the same
BEYOND_DOUBT = 0.001  # the p-value with which a loss blocks where intervals cannot be trusted


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
    margin
        The loss that does not matter, in the metric's unit.
    low_with_margin
        The low end of the interval of `difference + margin`, which knows that the margin is an estimate, too. Above 0
        the candidate does not lose a margin.
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
    margin: float = 0.0
    low_with_margin: float = float("-inf")

    @property
    def p_value(self) -> float:
        """The one-sided p-value of no loss: how often an equally good candidate looks this bad, or worse."""
        from scipy.special import stdtr

        return float(stdtr(self.degrees_of_freedom, self.difference / self.error))


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


def compute_row_counts(metric: str, truth: Array, scores: Array, groups: Groups = None) -> RowCounts:
    """Return the number of rows, of rows of the rarest class that the scores know (maybe none), and of clusters."""
    return pair_scores(metric, truth, scores, scores, groups, None).count_rows()


def compute_difference(
    metric: str,
    truth: Array,
    champion: Array,
    candidate: Array,
    *,
    groups: Groups = None,
    cost: CostMatrix | None = None,
    confidence: float = 0.95,
    margin: float | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Difference:
    """Return the paired difference of two models in a metric, with its interval and its margin.

    Parameters
    ----------
    metric
        The name of a metric.
    truth
        Class codes or numbers, shape (n,).
    champion, candidate
        Probabilities, shape (n, k), or numbers, shape (n,).
    groups
        The group of each row, shape (n,), or `Clusters`; rows of one cluster are not independent of each other.
    cost
        `cost[truth][prediction]`, shape (k, k), for the metric `cost`.
    confidence
        The confidence of the interval.
    margin
        `gate.margin` in params.yaml; None takes the metric's own.
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
    return _compare(pair, confidence, margin, resamples, seed)


def _compare(
    pair: PairedScores, confidence: float, margin: float | None, resamples: int = 0, seed: int = 0
) -> Difference:
    """Return the difference with its interval, by the method that the metric has."""
    if pair.metric.influence_function is None:
        point = _compute_point(pair, confidence, margin)
        return _add_bootstrap_interval(pair, point, resamples or BOOTSTRAP_RESAMPLES, seed)
    found = _compute_closed_form(pair, confidence, margin)
    return _add_bootstrap_interval(pair, found, resamples, seed) if resamples else found


def _compute_point(pair: PairedScores, confidence: float, margin: float | None) -> Difference:
    """Return the difference without an interval."""
    champion = pair.compute_defined_value(pair.champion)
    candidate = pair.compute_defined_value(pair.candidate)
    gain = candidate - champion if pair.metric.higher_is_better else champion - candidate
    method = pair.metric.method
    chosen = build_margin(pair.metric, champion, margin, float("nan")).value
    return Difference(
        pair.metric.name, champion, candidate, gain, gain, gain, 0.0, method, confidence=confidence, margin=chosen
    )


@dataclass(frozen=True)
class _Gain:
    """By how much the candidate is better, and the influence of each row on that, shape (n,)."""

    pair: PairedScores
    value: float
    influence: Array
    label_flip: float
    denominator: Array | None
    lone_row_error: float
    values: tuple[float, float]

    @classmethod
    def of(cls, pair: PairedScores, champion: Influence, candidate: Influence) -> "_Gain":
        """Return the gain of the candidate over the champion."""
        sign = 1 if pair.metric.higher_is_better else -1
        return cls(
            pair=pair,
            value=sign * (candidate.value - champion.value),
            influence=sign * (candidate.influence - champion.influence),
            label_flip=max(champion.label_flip, candidate.label_flip),
            denominator=candidate.denominator,
            lone_row_error=_compute_error_of_lone_row(pair, champion, candidate),
            values=(champion.value, candidate.value),
        )

    def compute_error(self, true_gain: float = 0.0, added: Array | float = 0.0) -> tuple[float, float]:
        """Return the standard error and its degrees of freedom.

        For a ratio it is the error that holds if `true_gain` is the true difference (Fieller 1954). `added` is the
        influence of each row on what is added to the gain.
        """
        influence = self.influence + added
        if self.denominator is not None:
            influence = influence + (self.value - true_gain) * self.denominator
        moved = Influence(self.value, influence, self.label_flip)
        error, freedom = compute_standard_error(self.pair.metric, self.pair.truth, moved, self.pair.clusters)
        return (error if _is_spread(error, *self.values) else self.lone_row_error), freedom

    def compute_ends(self, error: float, quantile: float) -> tuple[float, float]:
        """Return the ends of the interval; for a ratio each has the error that it would have if it were true."""
        low = self.value - quantile * error
        high = self.value + quantile * error
        if self.denominator is None:
            return low, high
        return self.value - quantile * self.compute_error(low)[0], self.value + quantile * self.compute_error(high)[0]


def _compute_closed_form(pair: PairedScores, confidence: float, chosen_margin: float | None) -> Difference:
    """Return the difference with the interval that follows from the influences.

    The standard error is that of equally good models.
    """
    champion = pair.compute_influence(pair.champion)
    candidate = pair.compute_influence(pair.candidate)
    chance = pair.compute_chance()
    margin = build_margin(pair.metric, champion.value, chosen_margin, chance.value)
    gain = _Gain.of(pair, champion, candidate)
    error, freedom = gain.compute_error()
    quantile = _get_t_quantile(freedom, confidence)
    low, high = gain.compute_ends(error, quantile)
    of_margin = margin.champion_slope * champion.influence + margin.chance_slope * chance.influence
    margin_error, _ = gain.compute_error(-margin.value, of_margin)
    return Difference(
        metric=pair.metric.name,
        champion=champion.value,
        candidate=candidate.value,
        difference=gain.value,
        low=low,
        high=high,
        error=error,
        method=pair.describe_method(pair.metric.method),
        confidence=confidence,
        degrees_of_freedom=freedom,
        margin=margin.value,
        low_with_margin=gain.value + margin.value - quantile * margin_error,
    )


def _compute_error_of_lone_row(pair: PairedScores, *models: Influence) -> float:
    """Return the error of rows that all agree: that which one more row would make, like those of the models alone.

    Where no row of a model differs from another, either, it is half a wrong row of the rarest kind.
    """
    counts = pair.count_rows()
    spread = max((float(np.sqrt(np.mean(model.influence**2))) for model in models), default=0.0)
    if _is_spread(spread, *(model.value for model in models)):
        return spread / counts.rows
    return 0.5 * _get_unit(pair) / counts.units


def _is_spread(error: float, *values: float) -> bool:
    """Whether an error is more than the rounding of values that are all the same."""
    return error > ROUNDING * max((abs(value) for value in values), default=0.0)


def _get_unit(pair: PairedScores) -> float:
    """Return how much one row may matter: 1 for a share or a loss of classes, else the spread of the truth."""
    if pair.metric.task == CLASSIFICATION or pair.metric.name == "r2":
        return 1.0
    return float(np.std(pair.truth) or np.max(np.abs(pair.truth)) or 1.0)


def _add_bootstrap_interval(pair: PairedScores, found: Difference, resamples: int, seed: int) -> Difference:
    """Return a difference with the interval between the quantiles of paired resamples."""
    sign = 1 if pair.metric.higher_is_better else -1
    is_share = pair.metric.relative and found.champion != 0

    def draw(drawn: PairedScores) -> tuple[float, float]:
        champion = drawn.compute_value(drawn.champion)
        gain = sign * (drawn.compute_value(drawn.candidate) - champion)
        margin = found.margin * abs(champion / found.champion) if is_share else found.margin
        return gain, gain + margin

    draws = pair.resample(draw, resamples, seed)
    interval = _read_draws(pair, draws[:, 0], found.difference, found.confidence)
    with_margin = _read_draws(pair, draws[:, 1], found.difference + found.margin, found.confidence)
    return replace(
        found,
        low=interval.low,
        high=interval.high,
        error=interval.error,
        method=pair.describe_method("paired bootstrap"),
        resamples=len(draws),
        degrees_of_freedom=interval.degrees_of_freedom,
        low_with_margin=with_margin.low,
    )


class _DrawnInterval(NamedTuple):
    """The ends of an interval from resamples, its standard error and degrees of freedom."""

    low: float
    high: float
    error: float
    degrees_of_freedom: float


def _read_draws(pair: PairedScores, draws: Array, value: float, confidence: float) -> _DrawnInterval:
    """Return the interval between the quantiles of resamples, wider by what few units make them too narrow."""
    counts = pair.count_rows()
    units = counts.clusters or counts.rows
    if units < 2:
        return _DrawnInterval(float("-inf"), float("inf"), float("inf"), 1.0)
    correction = np.sqrt(units / (units - 1))
    quantile = _get_t_quantile(units - 1, confidence)
    error = float(draws.std() * correction)
    if not _is_spread(error, value):
        error = _compute_error_of_lone_row(pair)
        return _DrawnInterval(value - quantile * error, value + quantile * error, error, units - 1)
    stretch = correction * quantile / NormalDist().inv_cdf((1 + confidence) / 2)
    ends = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = value + stretch * (ends - value)
    return _DrawnInterval(float(low), float(high), error, units - 1)


def compute_interval(
    metric: str,
    truth: Array,
    scores: Array,
    *,
    groups: Groups = None,
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
    method = pair.describe_method(pair.metric.method)
    if pair.metric.influence_function is None:
        value = pair.compute_defined_value(pair.champion)
        draws = pair.resample(lambda drawn: [drawn.compute_value(drawn.champion)], BOOTSTRAP_RESAMPLES, seed=0)
        drawn = _read_draws(pair, draws[:, 0], value, confidence)
        return ConfidenceInterval(metric, value, drawn.low, drawn.high, drawn.error, method)
    found = pair.compute_influence(pair.champion)
    error, freedom = compute_standard_error(pair.metric, pair.truth, found, pair.clusters)
    if not _is_spread(error, found.value):
        error = _compute_error_of_lone_row(pair, found)
    low, high = _transform_interval(pair.metric, found.value, error, _get_t_quantile(freedom, confidence))
    return ConfidenceInterval(metric, found.value, low, high, error, method)


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
    """Return an interval of a loss, which stays above 0; symmetric where the loss is not positive.

    Where the error is a multiple of the loss, the logarithm says nothing of the upper end.
    """
    width = quantile * error
    if loss <= 0:
        return loss - width, loss + width
    if width > MAX_LOG_WIDTH * loss:
        return 0.0, loss + width
    factor = float(np.exp(width / loss))
    return loss / factor, loss * factor


def compute_detectable_difference(error: float, confidence: float = 0.95, power: float = 0.8) -> float:
    """Return the smallest true difference that is shown as one with this power, from the standard error."""
    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)) * error


def is_margin_resolved(error: float, margin: float) -> bool:
    """Whether the holdout is large enough to find a loss of two margins 95 % of the time."""
    return margin >= MIN_MARGIN_IN_ERRORS * error


def decide_verdict(found: Difference, counts: RowCounts) -> str:
    """Return the verdict on a candidate that is not the champion itself.

    Parameters
    ----------
    found
        The paired difference in the primary metric.
    counts
        The size of the comparison. Where it is too small for an interval, only a loss beyond doubt is `worse`.

    Returns
    -------
    str
        `better`, `not worse`, `worse` or `inconclusive`.
    """
    loses_margin = found.difference < -found.margin
    if not counts.is_sufficient:
        return "worse" if loses_margin and found.p_value <= BEYOND_DOUBT else "inconclusive"
    if found.low > 0:
        return "better"
    if found.low_with_margin > 0:
        return "not worse"
    if found.high < 0 and loses_margin:
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
    groups: Groups = None,
    cost: CostMatrix | None = None,
    confidence: float = 0.95,
) -> list[SliceComparison]:
    """Compare two models in every slice that has enough rows.

    A slice blocks where the candidate loses more than the margin and the p-value, after Holm's correction for the
    number of slices, is at most 0.625 % (a quarter of what the primary metric may spend), or 0.1 % where the slice has
    too few clusters for an interval.

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
            if not (counts.has_enough_rows and counts.is_even):  # eight effective clusters are at least eight
                continue
            found = _compare(part, confidence, margin)
            slices.append(SliceComparison(column, value, counts, found, found.margin, found.p_value))
    level = SLICES_ALPHA_SHARE * (1 - confidence) / 2
    return _correct_slices(slices, level)


def _correct_slices(slices: list[SliceComparison], level: float) -> list[SliceComparison]:
    """Return the slices with corrected p-values, and with those blocked that are worse at this level."""
    corrected = []
    p_values = adjust_p_values([part.p_value for part in slices])
    for part, p_value in zip(slices, p_values, strict=True):
        needed = level if part.counts.has_enough_clusters else min(level, BEYOND_DOUBT)
        blocks = p_value <= needed and part.difference.difference < -part.margin
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
