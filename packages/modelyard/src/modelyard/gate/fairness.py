"""How differently a model treats the groups of a sensitive column: the largest gap in a mean, with its interval.

docs/gate.md explains the measures and the interval.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from modelyard.statistics.clusters import MIN_CROSSED_CLUSTERS, Clusters
from modelyard.statistics.influence import Array

MIN_GROUP_ROWS = 50


@dataclass(frozen=True)
class RowMean:
    """A mean that is compared between groups.

    Parameters
    ----------
    values
        One number for each row, shape (n,).
    rows
        The rows that the mean is taken over, booleans of shape (n,).
    label_flip
        By how much one other label changes a value; 0 for numbers that are no labels.
    """

    values: Array
    rows: Array
    label_flip: float


class MeanErrors(NamedTuple):
    """The errors of the means of k groups by one kind of cluster.

    Parameters
    ----------
    covariance
        The covariance of the means, shape (k, k).
    clusters
        The number of clusters in each group, shape (k,).
    """

    covariance: Array
    clusters: Array


@dataclass(frozen=True)
class FairnessGap:
    """The largest difference between two groups in a fairness measure, and the ends of its interval.

    Parameters
    ----------
    measure
        The name of the measure.
    gap
        The largest difference; 0 where fewer than two groups are large enough.
    low, high
        The ends of the interval, which holds for all pairs of groups at once.
    groups
        The group with the larger and the one with the smaller mean; empty where fewer than two are large enough.
    """

    measure: str
    gap: float = 0.0
    low: float = 0.0
    high: float = 0.0
    groups: tuple[str, ...] = ()


def compute_fairness_gaps(
    truth: Array,
    scores: Array,
    groups: Array,
    clusters: Clusters | None = None,
    *,
    confidence: float = 0.95,
    columns: int = 1,
) -> list[FairnessGap]:
    """Return the largest gap between groups in every fairness measure.

    Parameters
    ----------
    truth
        Class codes or numbers, shape (n,).
    scores
        Probabilities, shape (n, k), or numbers, shape (n,).
    groups
        The group of each row, shape (n,); rows where it is missing are left out.
    clusters
        The clusters of the rows; None where each row stands for itself.
    confidence
        How often all intervals of all measures and columns hold together.
    columns
        The number of sensitive columns.
    """
    measures = build_measures(truth, scores)
    distinct = {id(mean) for means in measures.values() for mean in means}
    alpha = (1 - confidence) / (columns * len(distinct))
    codes, names = pd.factorize(groups)
    gaps = []
    for measure, means in measures.items():
        found = [compute_group_gap(measure, mean, codes, names, clusters, alpha) for mean in means]
        gaps.append(merge_gaps(found))
    return gaps


def build_measures(truth: Array, scores: Array) -> dict[str, list[RowMean]]:
    """Return the means that each fairness measure compares between groups.

    For classes these are how often the last class is predicted (demographic parity), how often in the rows of that
    class (equal opportunity), how often there and how often in the others (equalised odds), and the mean probability
    of that class minus its share (calibration). For numbers they are the mean prediction and the mean error.
    """
    everywhere = np.ones(len(truth), dtype=bool)
    if scores.ndim == 1:
        return {
            "mean prediction": [RowMean(scores, everywhere, 0.0)],
            "mean error": [RowMean(scores - truth, everywhere, 0.0)],
        }
    last_class = scores.shape[1] - 1
    predicted = (scores.argmax(axis=1) == last_class).astype(float)
    actual = truth == last_class
    true_positives = RowMean(predicted, actual, 1.0)
    return {
        "demographic parity": [RowMean(predicted, everywhere, 1.0)],
        "equal opportunity": [true_positives],
        "equalised odds": [true_positives, RowMean(predicted, ~actual, 1.0)],
        "calibration": [RowMean(scores[:, last_class] - actual, everywhere, 1.0)],
    }


def merge_gaps(gaps: list[FairnessGap]) -> FairnessGap:
    """Return the largest gap, with the interval of the largest of them all."""
    largest = max(gaps, key=lambda gap: gap.gap)
    low = max(gap.low for gap in gaps)
    high = max(gap.high for gap in gaps)
    return FairnessGap(largest.measure, largest.gap, low, high, largest.groups)


def compute_group_gap(
    measure: str, mean: RowMean, codes: Array, names: Array, clusters: Clusters | None, alpha: float
) -> FairnessGap:
    """Return the largest difference between the means of groups that are large enough, with its interval.

    Parameters
    ----------
    measure
        The name of the measure.
    mean
        The mean to compare.
    codes
        The number of each row's group, shape (n,); -1 where it is not known, and the row is left out.
    names
        The groups, shape (k,).
    clusters
        The clusters of the rows; None where each row stands for itself.
    alpha
        How often the interval may miss the true gap.
    """
    known = mean.rows & (codes >= 0)
    used_clusters = None if clusters is None else clusters.select_rows(known)
    is_large = find_large_groups(codes[known], len(names), used_clusters)
    if is_large.sum() < 2:
        return FairnessGap(measure)
    kept = known & is_large[codes]
    kept_mean = RowMean(mean.values[kept], kept, mean.label_flip)
    kept_codes = (np.cumsum(is_large) - 1)[codes[kept]]
    kept_clusters = None if clusters is None else clusters.select_rows(kept)
    return compare_group_means(measure, kept_mean, kept_codes, names[is_large], kept_clusters, alpha)


def compare_group_means(
    measure: str, mean: RowMean, codes: Array, names: Array, clusters: Clusters | None, alpha: float
) -> FairnessGap:
    """Return the largest difference between the means of all groups; for the parameters see `compute_group_gap`.

    Notes
    -----
    Each of the k (k - 1) / 2 differences of two groups gets an interval with the error `alpha` divided by their number
    (Bonferroni). If all of them hold, the largest true difference lies between the largest lower and the largest upper
    end.
    """
    means = np.bincount(codes, mean.values) / np.bincount(codes)
    pairs = np.triu_indices(len(means), 1)
    differences = np.abs(means[pairs[0]] - means[pairs[1]])
    width = compute_half_widths(mean.values, codes, clusters, mean.label_flip, pairs, alpha / len(differences))
    largest = names[np.argsort(means)[[-1, 0]]]
    return FairnessGap(
        measure=measure,
        gap=float(differences.max()),
        low=float(max((differences - width).max(), 0.0)),
        high=float((differences + width).max()),
        groups=tuple(str(name) for name in largest),
    )


def find_large_groups(codes: Array, count: int, clusters: Clusters | None) -> Array:
    """Return whether each group has at least 50 rows, and eight clusters of each kind, booleans of shape (count,)."""
    is_large = np.bincount(codes, minlength=count) >= MIN_GROUP_ROWS
    for units in () if clusters is None else clusters.codes:
        group_of_pair = np.unique(units * count + codes) % count
        is_large &= np.bincount(group_of_pair, minlength=count) >= MIN_CROSSED_CLUSTERS
    return is_large


def compute_half_widths(
    values: Array,
    codes: Array,
    clusters: Clusters | None,
    label_flip: float,
    pairs: tuple[Array, Array],
    alpha: float,
) -> Array:
    """Return half the width of the interval of each difference between two groups, shape (number of pairs,).

    Parameters
    ----------
    values
        The numbers of which means are compared, shape (n,).
    codes
        The number of each row's group, shape (n,).
    clusters
        The clusters of the rows; None where each row stands for itself.
    label_flip
        By how much one other label changes a value.
    pairs
        The numbers of the first and of the second group of each pair.
    alpha
        The error of one interval.

    Notes
    -----
    By Student's t with the degrees of freedom of Welch (1947). Of clusters of two kinds the variance is that of
    Cameron, Gelbach & Miller (2011), as in `modelyard.statistics.standard_error`.
    """
    from scipy.special import stdtrit

    kinds = (np.arange(len(values)),) if clusters is None else clusters.codes
    errors = [estimate_mean_errors(values, codes, units, label_flip) for units in kinds]
    variances = [compute_variance_of_differences(found, pairs) for found in errors]
    variance = np.max(variances, axis=0)
    if clusters is not None and clusters.is_crossed:
        cells = estimate_mean_errors(values, codes, clusters.cells, label_flip)
        variance = np.maximum(variance, np.sum(variances, axis=0) - compute_variance_of_differences(cells, pairs))
    freedom = np.min([compute_degrees_of_freedom(found, pairs) for found in errors], axis=0)
    return np.asarray(stdtrit(freedom, 1 - alpha / 2) * np.sqrt(variance))


def estimate_mean_errors(values: Array, codes: Array, units: Array, label_flip: float) -> MeanErrors:
    """Return the covariance of the means of groups, by clusters of one kind.

    Notes
    -----
    The deviations from a group's mean are summed by cluster; a cluster with rows of several groups makes their means
    depend on each other. A sum is divided by √(1 - h), where h is the cluster's share of the group's rows (Bell &
    McCaffrey 2002), and one more row like those that matter is added, as in `modelyard.statistics.standard_error`.
    """
    from scipy.sparse import csr_array

    sizes = np.bincount(codes)
    means = np.bincount(codes, values) / sizes
    deviations = (values - means[codes]) / sizes[codes]
    sums = csr_array((deviations, (units, codes)))  # adds the rows of one cluster and group
    rows = csr_array((np.ones(len(values)), (units, codes)))
    group_of_sum = sums.indices
    sums.data = sums.data / np.sqrt(np.maximum(1 - rows.data / sizes[group_of_sum], 0.5))
    squares = np.bincount(group_of_sum, sums.data**2)
    fourths = np.bincount(group_of_sum, sums.data**4)
    one_more_row = fourths / np.where(squares > 0, squares, 1.0)
    one_more_flip = (label_flip / sizes) ** 2
    covariance = (sums.T @ sums).toarray() + np.diag(np.maximum(one_more_row, one_more_flip))
    return MeanErrors(covariance, np.bincount(group_of_sum))


def compute_variance_of_differences(found: MeanErrors, pairs: tuple[Array, Array]) -> Array:
    """Return the variance of the difference of each pair of groups, shape (number of pairs,)."""
    variances = np.diag(found.covariance)
    first, second = pairs
    return np.maximum(variances[first] + variances[second] - 2 * found.covariance[first, second], 0.0)


def compute_degrees_of_freedom(found: MeanErrors, pairs: tuple[Array, Array]) -> Array:
    """Return the degrees of freedom of the difference of each pair of groups (Welch 1947), at least 1."""
    variances = np.diag(found.covariance)
    first, second = pairs
    squares = variances**2 / (found.clusters - 1)
    smallest = np.finfo(float).tiny  # variances of 0 have no degrees of freedom
    freedom = (variances[first] + variances[second]) ** 2 / np.maximum(squares[first] + squares[second], smallest)
    return np.maximum(freedom, 1.0)
