"""Two models on the same rows: the difference in a metric, its interval, and what that is worth.

The error of every metric comes from its influence values (`metrics`), summed over groups if there
are any: for the area under the ROC curve that is DeLong's formula, for means the paired error.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from modelyard.core.errors import UserError
from modelyard.statistics.metrics import Array, CostMatrix, Influence, Metric, get_metric, validate_inputs

MIN_UNITS = 50  # rows of the rarest class, and groups: below that no interval here is to be trusted
BOOTSTRAP_RESAMPLES = 1000  # for a metric without a closed form
MIN_MARGIN_IN_ERRORS = 1.81  # a margin of so many errors: a loss of two margins is found 95 times in a hundred
SLICES_ALPHA_SHARE = 0.25  # the part of one side's false alarms that all slices together may cause


@dataclass(frozen=True)
class Difference:
    """Candidate against champion; difference and interval are positive where the candidate wins."""

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
    def chance(self) -> float:
        """How often an equal candidate looks this bad, or worse."""
        from scipy.special import stdtr

        return float(stdtr(self.degrees_of_freedom, self.difference / self.error)) if self.error else 1.0


@dataclass(frozen=True)
class ConfidenceInterval:
    """One model's metric with its interval."""

    metric: str
    value: float
    low: float
    high: float
    error: float
    method: str


@dataclass(frozen=True)
class RowCounts:
    """The size of a comparison: rows, rows of the rarest class, groups (None: rows stand alone)."""

    rows: int
    minority: int
    groups: int | None = None

    @property
    def is_sufficient(self) -> bool:
        """Whether intervals hold: 50 rows of the rarest class and, with groups, 50 of them."""
        return self.minority >= MIN_UNITS and (self.groups is None or self.groups >= MIN_UNITS)


@dataclass(frozen=True)
class SliceComparison:
    """The comparison on the rows of one value; `chance` is corrected for the number of slices."""

    column: str
    value: str
    counts: RowCounts
    difference: Difference
    margin: float
    chance: float
    blocks: bool = False


@dataclass(frozen=True)
class _PairedScores:
    """Both models' scores of the same rows, checked; groups are codes."""

    rule: Metric
    truth: Array
    champion: Array
    candidate: Array
    groups: Array | None
    cost: CostMatrix | None

    def take(self, rows: Array) -> "_PairedScores":
        """The same pair on some of the rows."""
        return replace(
            self,
            truth=self.truth[rows],
            champion=self.champion[rows],
            candidate=self.candidate[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def compute_gain(self) -> float:
        """By how much the candidate is better."""
        old = self.rule.compute_unchecked_value(self.truth, self.champion, self.cost)
        new = self.rule.compute_unchecked_value(self.truth, self.candidate, self.cost)
        return new - old if self.rule.higher_is_better else old - new

    def method(self, name: str) -> str:
        """The method's name, and whether it minds groups."""
        return name if self.groups is None else f"{name}, by group"


def _pair_scores(
    metric: str, truth: Array, champion: Array, candidate: Array, groups: Array | None, cost: CostMatrix | None
) -> _PairedScores:
    """The scores after they were checked; groups become 0, 1, 2, …, rows without a name make one group."""
    rule = get_metric(metric)
    codes, old = validate_inputs(rule.task, truth, champion)
    _, new = validate_inputs(rule.task, truth, candidate)
    if old.shape != new.shape:
        raise UserError(
            f"the champion knows {old.shape[-1]} classes and the candidate {new.shape[-1]}; "
            "give both a column for every class"
        )
    if groups is not None and len(groups) != len(codes):
        raise UserError(f"{len(groups)} group names for {len(codes)} rows; give one to each row")
    teams = None if groups is None else pd.factorize(np.asarray(groups), use_na_sentinel=False)[0]
    return _PairedScores(rule, codes, old, new, teams, cost)


def compute_row_counts(metric: str, truth: Array, scores: Array, groups: Array | None = None) -> RowCounts:
    """The rows, those of the rarest class that the scores know (maybe none), and the groups."""
    return _count_pair_rows(_pair_scores(metric, truth, scores, scores, groups, None))


def _count_pair_rows(pair: _PairedScores) -> RowCounts:
    teams = None if pair.groups is None else len(np.unique(pair.groups))
    if pair.champion.ndim == 1:
        return RowCounts(len(pair.truth), len(pair.truth), teams)
    sizes = np.bincount(pair.truth, minlength=pair.champion.shape[1])
    return RowCounts(len(pair.truth), int(sizes.min()), teams)


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
    """Return the paired difference with its interval: in closed form, or by bootstrap with resamples.

    A metric without a closed form is always resampled.
    """
    pair = _pair_scores(metric, truth, champion, candidate, groups, cost)
    return _compare(pair, confidence, resamples, seed)


def _compare(pair: _PairedScores, confidence: float, resamples: int = 0, seed: int = 0) -> Difference:
    """Return the difference with its interval, by the method that the metric has."""
    if pair.rule.influence_function is None:
        return _bootstrap(pair, _compute_point(pair, confidence), resamples or BOOTSTRAP_RESAMPLES, seed)
    found = _analytic(pair, confidence)
    return _bootstrap(pair, found, resamples, seed) if resamples else found


def _compute_point(pair: _PairedScores, confidence: float) -> Difference:
    """Return the difference without an interval."""
    old = _compute_defined_value(pair, pair.champion)
    new = _compute_defined_value(pair, pair.candidate)
    gain = new - old if pair.rule.higher_is_better else old - new
    return Difference(pair.rule.name, old, new, gain, gain, gain, 0.0, pair.rule.method, confidence=confidence)


def _analytic(pair: _PairedScores, confidence: float) -> Difference:
    """The difference with its error if both were equal; that of a ratio depends on the true one (Fieller)."""
    old, new = (_compute_influence(pair, scores) for scores in (pair.champion, pair.candidate))
    sign = 1 if pair.rule.higher_is_better else -1
    gain, pull = sign * (new.value - old.value), sign * (new.pull - old.pull)

    def error_at(true: float) -> tuple[float, float]:
        moved = pull if new.denominator is None else pull + (gain - true) * new.denominator
        return standard_error(pair.rule, pair.truth, Influence(gain, moved, max(old.event, new.event)), pair.groups)

    error, freedom = error_at(0.0)
    reach = _t_quantile(freedom, confidence)
    low, high = gain - reach * error, gain + reach * error
    if new.denominator is not None:
        low, high = gain - reach * error_at(low)[0], gain + reach * error_at(high)[0]
    return Difference(
        metric=pair.rule.name,
        champion=old.value,
        candidate=new.value,
        difference=gain,
        low=low,
        high=high,
        error=error,
        method=pair.method(pair.rule.method),
        confidence=confidence,
        degrees_of_freedom=freedom,
    )


def _bootstrap(pair: _PairedScores, found: Difference, resamples: int, seed: int) -> Difference:
    """The interval between the quantiles of paired resamples: of rows, or of whole groups."""
    members, rng = None if pair.groups is None else _rows_by_code(pair.groups), np.random.default_rng(seed)
    units = len(pair.truth if members is None else members)

    def rows() -> Array:
        drawn = rng.integers(units, size=units)
        return drawn if members is None else np.concatenate([members[group] for group in drawn])

    draws = np.array([pair.take(rows()).compute_gain() for _ in range(resamples)])
    draws = _keep_finite(pair.rule.name, draws)
    low, high = np.quantile(draws, [(1 - found.confidence) / 2, (1 + found.confidence) / 2])
    return replace(
        found,
        low=float(low),
        high=float(high),
        error=float(draws.std()),
        method=pair.method("paired bootstrap"),
        resamples=len(draws),
        degrees_of_freedom=float("inf"),
    )


def _keep_finite(metric: str, draws: Array) -> Array:
    """Return the resamples that define the metric; a `UserError` where most do not."""
    defined = draws[np.isfinite(draws)]
    if 2 * len(defined) < len(draws):
        raise UserError(f"{metric} is not defined on most resamples of these rows; take a larger holdout")
    return defined


def _bootstrap_interval(pair: _PairedScores, confidence: float) -> ConfidenceInterval:
    """Return one model's metric with the interval between the quantiles of its resamples."""
    members = None if pair.groups is None else _rows_by_code(pair.groups)
    units = len(pair.truth if members is None else members)
    random = np.random.default_rng(0)
    draws = np.empty(BOOTSTRAP_RESAMPLES)
    for place in range(BOOTSTRAP_RESAMPLES):
        drawn = random.integers(units, size=units)
        rows = drawn if members is None else np.concatenate([members[group] for group in drawn])
        draws[place] = pair.rule.compute_unchecked_value(pair.truth[rows], pair.champion[rows], pair.cost)
    draws = _keep_finite(pair.rule.name, draws)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = _compute_defined_value(pair, pair.champion)
    error = float(draws.std())
    return ConfidenceInterval(pair.rule.name, value, float(low), float(high), error, pair.method(pair.rule.method))


def compute_interval(
    metric: str,
    truth: Array,
    scores: Array,
    *,
    groups: Array | None = None,
    cost: CostMatrix | None = None,
    confidence: float = 0.95,
) -> ConfidenceInterval:
    """One model's metric with an interval that stays inside the metric's range."""
    pair = _pair_scores(metric, truth, scores, scores, groups, cost)
    if pair.rule.influence_function is None:
        return _bootstrap_interval(pair, confidence)
    one = _compute_influence(pair, pair.champion)
    error, freedom = standard_error(pair.rule, pair.truth, one, pair.groups)
    if pair.rule.bounded and not error:
        # Where no row errs there is no spread to see: then as if half a rare row did.
        units = _count_pair_rows(pair)
        error = 0.5 / max(min(units.minority, units.groups or units.rows), 1)
    low, high = _transform_interval(pair.rule, one.value, error, _t_quantile(freedom, confidence))
    return ConfidenceInterval(metric, one.value, low, high, error, pair.method(pair.rule.method))


def _transform_interval(rule: Metric, value: float, error: float, reach: float) -> tuple[float, float]:
    """The interval on the logit scale for shares and on the log scale for losses, carried back."""
    if rule.bounded:
        share = float(np.clip(value, min(error, 0.5), max(1 - error, 0.5)))
        odds, width = np.log(share / (1 - share)), reach * error / (share * (1 - share))
        low, high = 1 / (1 + np.exp(width - odds)), 1 / (1 + np.exp(-odds - width))
        return float(min(low, value)), float(max(high, value))
    loss = 1 - value if rule.name == "r2" else value
    if loss <= 0:
        return value - reach * error, value + reach * error
    factor = float(np.exp(reach * error / loss))
    low, high = loss / factor, loss * factor
    return (1 - high, 1 - low) if rule.name == "r2" else (low, high)


def standard_error(rule: Metric, truth: Array, one: Influence, groups: Array | None = None) -> tuple[float, float]:
    """The standard error that the pulls make, and its degrees of freedom (Satterthwaite)."""
    rows = len(one.pull)
    cells = truth if rule.task == "classification" else np.zeros(rows, dtype=np.intp)
    team, cell, size, pull = _sum_by_group(cells, one.pull, groups)
    held = size if rule.by_class else np.bincount(team, size)[team]
    whole = np.bincount(cell, size)[cell] if rule.by_class else rows
    # 1 / (1 - share) is n / (n - 1) for lone rows, G / (G - 1) for equal groups.
    total = np.bincount(team, pull / np.sqrt(np.maximum(1 - held / whole, 0.5))) / rows
    square = float((total**2).sum())
    parts, units = np.bincount(cell, pull**2), np.maximum(np.bincount(cell) - 1, 1)
    freedom = parts.sum() ** 2 / (parts**2 / units).sum() if square else float(units.sum())
    # One row more that pulls like those that matter: few of them make a small error look certain.
    extra = (total**4).sum() / square if square else 0.0
    return float(np.sqrt(square + max(extra, (one.event / rows) ** 2))), float(freedom)


def _sum_by_group(cells: Array, pull: Array, groups: Array | None) -> tuple[Array, Array, Array, Array]:
    """The pulls summed by group and class: group, class, rows and pull of each such part."""
    if groups is None:
        return np.arange(len(pull)), cells, np.ones(len(pull)), pull
    width = int(cells.max()) + 1
    keys, part = np.unique(groups * width + cells, return_inverse=True)
    return keys // width, keys % width, np.bincount(part), np.bincount(part, pull)


def compute_margin(metric: str, champion: float, margin: float | None = None) -> float:
    """The loss that does not matter, in the metric's unit: the default or that of params.yaml."""
    rule = get_metric(metric)
    share = rule.margin if margin is None else margin
    if share < 0:
        raise UserError(f"gate.margin is {share}; it must be 0 or more")
    return share * abs(champion) if rule.relative else share


def compute_detectable_difference(error: float, confidence: float = 0.95, power: float = 0.8) -> float:
    """The smallest true difference that this holdout shows as one, that often."""
    from statistics import NormalDist

    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)) * error


def is_margin_resolved(error: float, margin: float) -> bool:
    """Whether the holdout is large enough to find a loss of two margins 95 % of the time."""
    return margin >= MIN_MARGIN_IN_ERRORS * error


def decide_verdict(found: Difference, margin: float, minority: int, groups: int | None = None) -> str:
    """The verdict's word; models of one digest are "unchanged" and never come here."""
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
    """Every slice with enough rows; it blocks if worse by more than its margin after Holm."""
    pair = _pair_scores(metric, truth, champion, candidate, groups, cost)
    found = []
    for column, values in labels.items():
        for word, part in _iterate_slices(pair, column, values):
            if (size := _count_pair_rows(part)).is_sufficient:
                one = _compare(part, confidence)
                found.append(
                    SliceComparison(column, word, size, one, compute_margin(metric, one.champion, margin), one.chance)
                )
    chances = adjust_p_values([one.chance for one in found])
    level = SLICES_ALPHA_SHARE * (1 - confidence) / 2
    return [
        replace(one, chance=p, blocks=p <= level and one.difference.difference < -one.margin)
        for one, p in zip(found, chances, strict=True)
    ]


def _iterate_slices(pair: _PairedScores, column: str, values: Array) -> Iterator[tuple[str, _PairedScores]]:
    if len(values) != len(pair.truth):
        raise UserError(f"slice {column}: {len(values)} values for {len(pair.truth)} rows")
    codes, names = pd.factorize(np.asarray(values), use_na_sentinel=False)
    for name, rows in zip(names, _rows_by_code(codes), strict=True):
        yield "missing" if pd.isna(name) else str(name), pair.take(rows)


def adjust_p_values(chances: list[float]) -> list[float]:
    """Holm's correction: the chance that any of so many equal things looks this bad."""
    order = np.argsort(chances)
    steps = np.asarray(chances, dtype=float)[order] * np.arange(len(chances), 0, -1)
    adjusted = np.empty(len(chances))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in adjusted]


def _t_quantile(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _compute_influence(pair: _PairedScores, scores: Array) -> Influence:
    one = pair.rule.compute_influence(pair.truth, scores, pair.cost)
    _reject_undefined(pair, one.value)
    return one


def _compute_defined_value(pair: _PairedScores, scores: Array) -> float:
    value = pair.rule.compute_unchecked_value(pair.truth, scores, pair.cost)
    _reject_undefined(pair, value)
    return value


def _reject_undefined(pair: _PairedScores, value: float) -> None:
    """Raise a `UserError` where the rows do not define the metric."""
    if not np.isfinite(value):
        raise UserError(
            f"{pair.rule.name} is not defined on these {len(pair.truth)} rows, since the truth is the "
            "same in all of them; take a larger holdout or another metric"
        )


def _rows_by_code(codes: Array) -> list[Array]:
    """The row numbers of each code, in the order of the codes."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
