"""The scores of two models on the same rows: checked, counted, selected and resampled."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from modelyard.core.errors import UserError
from modelyard.statistics.influence import Array, CostMatrix, Influence
from modelyard.statistics.metrics import InvalidScoresError, Metric, get_metric, validate_inputs

MIN_UNITS = 50  # rows of the rarest class, and groups: with fewer of them no interval can be trusted


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
    groups
        The number of groups; None where each row stands for itself.
    """

    rows: int
    minority: int
    groups: int | None = None

    @property
    def is_sufficient(self) -> bool:
        """Whether intervals can be trusted: 50 rows of the rarest class and, with groups, 50 groups."""
        return self.minority >= MIN_UNITS and (self.groups is None or self.groups >= MIN_UNITS)


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
    groups
        The number of each row's group, shape (n,); None where each row stands for itself.
    cost
        `cost[truth][prediction]`, shape (k, k).
    """

    metric: Metric
    truth: Array
    champion: Array
    candidate: Array
    groups: Array | None
    cost: CostMatrix | None

    def select_rows(self, rows: Array) -> "PairedScores":
        """Return the scores of some rows."""
        return replace(
            self,
            truth=self.truth[rows],
            champion=self.champion[rows],
            candidate=self.candidate[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def count_rows(self) -> RowCounts:
        """Count the rows, those of the rarest class that the scores have a column for (maybe none), and the groups."""
        rows = len(self.truth)
        groups = None if self.groups is None else len(np.unique(self.groups))
        if self.champion.ndim == 1:
            return RowCounts(rows, rows, groups)
        class_sizes = np.bincount(self.truth, minlength=self.champion.shape[1])
        return RowCounts(rows, int(class_sizes.min()), groups)

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

    def compute_gain(self) -> float:
        """Return by how much the candidate is better than the champion."""
        champion = self.compute_value(self.champion)
        candidate = self.compute_value(self.candidate)
        return candidate - champion if self.metric.higher_is_better else champion - candidate

    def describe_method(self, method: str) -> str:
        """Return the name of a method, with `by group` where groups count."""
        return method if self.groups is None else f"{method}, by group"

    def resample(self, statistic: Callable[["PairedScores"], float], resamples: int, seed: int) -> Array:
        """Return a statistic of rows, or of whole groups, that are drawn with replacement, many times.

        Parameters
        ----------
        statistic
            Takes the drawn scores and returns a number, which may be NaN.
        resamples
            The number of draws.
        seed
            The seed of the draws.

        Returns
        -------
        numpy.ndarray
            The finite values, at most `resamples` of them.

        Raises
        ------
        UserError
            The statistic is not defined on most draws.

        References
        ----------
        Efron & Tibshirani (1993), An Introduction to the Bootstrap.
        """
        members = None if self.groups is None else split_rows_by_code(self.groups)
        units = len(self.truth) if members is None else len(members)
        random = np.random.default_rng(seed)
        values = np.empty(resamples)
        for place in range(resamples):
            drawn = random.integers(units, size=units)
            rows = drawn if members is None else np.concatenate([members[group] for group in drawn])
            values[place] = statistic(self.select_rows(rows))
        defined = values[np.isfinite(values)]
        if 2 * len(defined) < resamples:
            problem = f"{self.metric.name} is not defined on most resamples of these rows"
            raise UserError(f"{problem}; take a larger holdout or another metric")
        return defined


def pair_scores(
    metric: str, truth: Array, champion: Array, candidate: Array, groups: Array | None, cost: CostMatrix | None
) -> PairedScores:
    """Check the scores of two models and number their groups; rows without a group make one group.

    Raises
    ------
    InvalidScoresError
        The shapes do not fit each other.
    """
    found = get_metric(metric)
    codes, champion = validate_inputs(found.task, truth, champion)
    _, candidate = validate_inputs(found.task, truth, candidate)
    if champion.shape != candidate.shape:
        problem = f"the champion knows {champion.shape[-1]} classes and the candidate {candidate.shape[-1]}"
        raise InvalidScoresError(problem, "give both a column for every class")
    if groups is None:
        return PairedScores(found, codes, champion, candidate, None, cost)
    if len(groups) != len(codes):
        raise InvalidScoresError(f"there are {len(groups)} group names for {len(codes)} rows", "give one to each row")
    group_codes, _ = pd.factorize(np.asarray(groups), use_na_sentinel=False)
    return PairedScores(found, codes, champion, candidate, group_codes, cost)


def split_rows_by_code(codes: Array) -> list[Array]:
    """Return the row numbers of each code, in the order of the codes."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
