"""The scores of two models on the same rows: checked, counted, selected and resampled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelyard.core.errors import UserError
from modelyard.statistics.chance import compute_chance
from modelyard.statistics.clusters import MIN_CLUSTERS, MIN_EFFECTIVE_CLUSTERS, Clusters
from modelyard.statistics.influence import Array, CostMatrix, Influence
from modelyard.statistics.metrics import InvalidScoresError, Metric, get_metric, validate_inputs
from modelyard.statistics.standard_error import Groups

Statistic = Callable[["PairedScores"], Sequence[float]]

MIN_UNITS = 50  # rows that decide a metric: with fewer of them no interval can be trusted


class UndefinedMetricError(UserError):
    """The rows do not define the metric, such as an area under the ROC curve where all rows have one class."""

    def __init__(self, metric: str, rows: int) -> None:
        super().__init__(
            f"{metric} is not defined on these {rows} rows, since the truth is the same in all of them; "
            "take a larger holdout or another metric"
        )
        self.metric = metric
        self.rows = rows


@dataclass(frozen=True)
class RowCounts:
    """The size of a comparison.

    Parameters
    ----------
    rows
        The number of rows.
    minority
        The number of rows of the rarest class; for a regression all rows.
    clusters
        The number of clusters, of two kinds the smaller one; None where each row stands for itself.
    min_clusters
        The number of clusters with which intervals can be trusted.
    effective_clusters
        The number of clusters of one size that would tell as much; infinite where each row stands for itself.
    needs_rare_class
        Whether the metric depends on the rows of the rarest class above all.
    """

    rows: int
    minority: int
    clusters: int | None = None
    min_clusters: int = MIN_CLUSTERS
    needs_rare_class: bool = True
    effective_clusters: float = float("inf")

    @property
    def has_enough_rows(self) -> bool:
        """Whether there are 50 rows, of the rarest class where the metric depends on it."""
        return (self.minority if self.needs_rare_class else self.rows) >= MIN_UNITS

    @property
    def has_enough_clusters(self) -> bool:
        """Whether there are 50 clusters, or 8 of each of two kinds, or none at all, and none holds most rows."""
        return self.is_even and (self.clusters is None or self.clusters >= self.min_clusters)

    @property
    def is_even(self) -> bool:
        """Whether the clusters tell as much as eight of one size."""
        return self.effective_clusters >= MIN_EFFECTIVE_CLUSTERS

    @property
    def is_sufficient(self) -> bool:
        """Whether intervals can be trusted."""
        return self.has_enough_rows and self.has_enough_clusters

    @property
    def units(self) -> int:
        """The number of independent units of the rarest kind, at least 1."""
        return max(min(self.minority, self.rows if self.clusters is None else self.clusters), 1)


@dataclass(frozen=True)
class PairedScores:
    """The scores of champion and candidate on the same n rows, after a check.

    Parameters
    ----------
    metric
        The metric that compares them.
    truth
        Class codes or numbers, shape (n,).
    champion, candidate
        Probabilities, shape (n, k), or numbers, shape (n,).
    clusters
        The clusters of the rows; None where each row stands for itself.
    cost
        `cost[truth][prediction]`, shape (k, k).
    """

    metric: Metric
    truth: Array
    champion: Array
    candidate: Array
    clusters: Clusters | None
    cost: CostMatrix | None

    def select_rows(self, rows: Array) -> "PairedScores":
        """Return the scores of some rows."""
        return replace(
            self,
            truth=self.truth[rows],
            champion=self.champion[rows],
            candidate=self.candidate[rows],
            clusters=None if self.clusters is None else self.clusters.select_rows(rows),
        )

    def count_rows(self) -> RowCounts:
        """Count the rows, those of the rarest class that the scores have a column for (maybe none), and clusters."""
        minority = len(self.truth)
        if self.champion.ndim > 1:
            minority = int(np.bincount(self.truth, minlength=self.champion.shape[1]).min())
        counts = RowCounts(len(self.truth), minority, needs_rare_class=self.metric.needs_rare_class)
        if self.clusters is None:
            return counts
        return replace(
            counts,
            clusters=self.clusters.fewest,
            min_clusters=self.clusters.min_clusters,
            effective_clusters=self.clusters.most_uneven,
        )

    def compute_value(self, scores: Array) -> float:
        """Return the metric of one model's scores; NaN where the rows do not define it."""
        return self.metric.compute_unchecked_value(self.truth, scores, self.cost)

    def compute_defined_value(self, scores: Array) -> float:
        """Return the metric of one model's scores, or raise an `UndefinedMetricError`."""
        value = self.compute_value(scores)
        if not np.isfinite(value):
            raise UndefinedMetricError(self.metric.name, len(self.truth))
        return value

    def compute_influence(self, scores: Array) -> Influence:
        """Return the metric of one model's scores and each row's influence, or raise an `UndefinedMetricError`."""
        found = self.metric.compute_unchecked_influence(self.truth, scores, self.cost)
        if not np.isfinite(found.value):
            raise UndefinedMetricError(self.metric.name, len(self.truth))
        return found

    def compute_chance(self) -> Influence:
        """Return the chance level, with each row's influence on it."""
        n_classes = 0 if self.champion.ndim == 1 else self.champion.shape[1]
        return compute_chance(self.metric, self.truth, n_classes, self.cost)

    def describe_method(self, method: str) -> str:
        """Return the name of a method, with the clusters such as `by carrier and day` where there are any."""
        return method if self.clusters is None else f"{method}, by {' and '.join(self.clusters.names)}"

    def resample(self, statistic: Statistic, resamples: int, seed: int) -> Array:
        """Return numbers computed from rows, or whole clusters, that are drawn with replacement, many times.

        Of clusters of two kinds, those with the larger variance are drawn, and the numbers are stretched around their
        mean to the variance that both kinds and their combinations have together (as in `compute_standard_error`).

        Parameters
        ----------
        statistic
            Takes the drawn scores and returns k numbers, which may be NaN.
        resamples
            The number of draws.
        seed
            The seed of the draws.

        Returns
        -------
        numpy.ndarray
            The draws whose numbers are finite, shape (resamples or fewer, k).

        Raises
        ------
        UserError
            The numbers are not defined on most draws.

        References
        ----------
        Efron & Tibshirani (1993), An Introduction to the Bootstrap.
        """
        if self.clusters is None:
            return self._draw(np.arange(len(self.truth)), statistic, resamples, seed)
        draws = [self._draw(codes, statistic, resamples, seed) for codes in self.clusters.codes]
        variances = [drawn.var(axis=0) for drawn in draws]
        widest = draws[int(np.argmax([variance[0] for variance in variances]))]
        if not self.clusters.is_crossed:
            return widest
        cells = self._draw(self.clusters.cells, statistic, resamples, seed)
        variance = np.maximum(sum(variances) - cells.var(axis=0), np.max(variances, axis=0))
        stretch = np.sqrt(variance / np.maximum(widest.var(axis=0), np.finfo(float).tiny))
        return np.asarray(widest.mean(axis=0) + (widest - widest.mean(axis=0)) * stretch)

    def _draw(self, codes: Array, statistic: Statistic, resamples: int, seed: int) -> Array:
        """Return the numbers of draws of clusters of one kind, of which `codes` is that of each row."""
        distinct, codes = np.unique(codes, return_inverse=True)
        units = len(distinct)
        rows = np.arange(len(codes))
        random = np.random.default_rng(seed)
        values = []
        for _ in range(resamples):
            times_drawn = np.bincount(random.integers(units, size=units), minlength=units)
            values.append(statistic(self.select_rows(np.repeat(rows, times_drawn[codes]))))
        drawn = np.array(values)
        defined = drawn[np.isfinite(drawn).all(axis=1)]
        if 2 * len(defined) < resamples:
            problem = f"{self.metric.name} is not defined on most resamples of these rows"
            raise UserError(f"{problem}; take a larger holdout or another metric")
        return defined


def pair_scores(
    metric: str, truth: Array, champion: Array, candidate: Array, groups: Groups, cost: CostMatrix | None
) -> PairedScores:
    """Check the scores of two models and number their groups; rows without a group make one group.

    Raises
    ------
    InvalidScoresError
        The shapes do not fit each other, or log loss gets probabilities that do not sum to 1.
    """
    found = get_metric(metric)
    codes, champion = validate_inputs(found.task, truth, champion)
    _, candidate = validate_inputs(found.task, truth, candidate)
    if champion.shape != candidate.shape:
        problem = f"the champion knows {champion.shape[-1]} classes and the candidate {candidate.shape[-1]}"
        raise InvalidScoresError(problem, "give both a column for every class")
    clusters = groups if groups is None or isinstance(groups, Clusters) else Clusters.of({"group": groups})
    if clusters is not None and len(clusters) != len(codes):
        problem = f"there are {len(clusters)} group names for {len(codes)} rows"
        raise InvalidScoresError(problem, "give one to each row")
    return PairedScores(found, codes, champion, candidate, clusters, cost)


def split_rows_by_code(codes: Array) -> list[Array]:
    """Return the row numbers of each code, in the order of the codes."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
