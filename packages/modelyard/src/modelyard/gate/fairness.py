"""How differently a model treats the groups of a sensitive column: the largest gap in a mean, with its interval.

docs/gate.md explains the measures and the interval.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from modelyard.statistics.influence import Array

MIN_GROUP_ROWS = 50
MIN_GROUP_CLUSTERS = 10  # fewer days or customers do not show how much a group's mean varies


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


@dataclass(frozen=True)
class GroupMeans:
    """The mean of each of k groups.

    Parameters
    ----------
    names
        The groups, shape (k,).
    means
        Their means, shape (k,).
    covariance
        The covariance of the means, shape (k, k).
    clusters
        The number of clusters in each group, shape (k,); without clusters the number of rows.
    """

    names: Array
    means: Array
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
    clusters: Array | None = None,
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
        The group of each row, shape (n,).
    clusters
        The cluster of each row, shape (n,); None where each row stands for itself.
    confidence
        How often all intervals of all measures and columns hold together.
    columns
        The number of sensitive columns.
    """
    measures = build_measures(truth, scores)
    distinct = {id(mean) for means in measures.values() for mean in means}
    alpha = (1 - confidence) / (columns * len(distinct))
    gaps = []
    for name, means in measures.items():
        found = [compute_group_gap(name, mean, groups, clusters, alpha) for mean in means]
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


def compute_group_gap(measure: str, mean: RowMean, groups: Array, clusters: Array | None, alpha: float) -> FairnessGap:
    """Return the largest difference between the means of groups that are large enough, with its interval.

    Notes
    -----
    Each of the k (k - 1) / 2 differences of two groups gets an interval with the error `alpha` divided by their number
    (Bonferroni), by Student's t with the degrees of freedom of Welch (1947). If all of them hold, the largest true
    difference lies between the largest lower and the largest upper end.
    """
    large = find_large_groups(groups[mean.rows], None if clusters is None else clusters[mean.rows])
    if len(large) < 2:
        return FairnessGap(measure)
    kept = mean.rows & pd.Series(groups).isin(large).to_numpy()
    kept_clusters = None if clusters is None else clusters[kept]
    found = estimate_group_means(mean.values[kept], groups[kept], kept_clusters, mean.label_flip)
    first, second = np.triu_indices(len(found.names), 1)
    differences = np.abs(found.means[first] - found.means[second])
    width = compute_half_widths(found, first, second, alpha / len(first))
    largest = np.argsort(found.means)[[-1, 0]]
    return FairnessGap(
        measure=measure,
        gap=float(differences.max()),
        low=float(max((differences - width).max(), 0.0)),
        high=float((differences + width).max()),
        groups=tuple(str(name) for name in found.names[largest]),
    )


def find_large_groups(groups: Array, clusters: Array | None) -> Array:
    """Return the groups with at least 50 rows and ten clusters, shape (k,)."""
    table = pd.DataFrame({"group": groups, "cluster": np.arange(len(groups)) if clusters is None else clusters})
    counts = table.groupby("group")["cluster"].agg(["size", "nunique"])
    is_large = (counts["size"] >= MIN_GROUP_ROWS) & (counts["nunique"] >= MIN_GROUP_CLUSTERS)
    return counts.index[is_large].to_numpy()


def estimate_group_means(values: Array, groups: Array, clusters: Array | None, label_flip: float) -> GroupMeans:
    """Return the mean of each group, with the covariance that follows from the clusters.

    Notes
    -----
    The deviations from a group's mean are summed by cluster; a cluster with rows of several groups makes their means
    depend on each other. As in `modelyard.statistics.comparison.compute_standard_error` a sum is divided by √(1 - h)
    (Bell & McCaffrey 2002), and one more row like those that matter is added.
    """
    from scipy.sparse import csr_array

    codes, names = pd.factorize(groups)
    units = np.arange(len(values)) if clusters is None else pd.factorize(clusters)[0]
    sizes = np.bincount(codes, minlength=len(names))
    means = np.bincount(codes, values, len(names)) / sizes
    deviations = (values - means[codes]) / sizes[codes]
    sums = csr_array((deviations, (units, codes)))
    rows = csr_array((np.ones(len(values)), (units, codes)))
    group_of_sum = sums.indices
    sums.data = sums.data / np.sqrt(np.maximum(1 - rows.data / sizes[group_of_sum], 0.5))
    squares = np.bincount(group_of_sum, sums.data**2, len(names))
    fourths = np.bincount(group_of_sum, sums.data**4, len(names))
    one_more_row = fourths / np.where(squares > 0, squares, 1.0)
    one_more_flip = (label_flip / sizes) ** 2
    covariance = (sums.T @ sums).toarray() + np.diag(np.maximum(one_more_row, one_more_flip))
    return GroupMeans(names, means, covariance, np.bincount(group_of_sum, minlength=len(names)))


def compute_half_widths(found: GroupMeans, first: Array, second: Array, alpha: float) -> Array:
    """Return half the width of the interval of each difference of two groups, shape (number of pairs,)."""
    from scipy.special import stdtrit

    variances = np.diag(found.covariance)
    variance = variances[first] + variances[second] - 2 * found.covariance[first, second]
    squares = variances**2 / (found.clusters - 1)
    freedom = (variances[first] + variances[second]) ** 2 / np.maximum(squares[first] + squares[second], 1e-300)
    quantile = stdtrit(np.maximum(freedom, 1.0), 1 - alpha / 2)  # variances of 0 have no degrees of freedom
    return np.asarray(quantile * np.sqrt(np.maximum(variance, 0.0)))
