"""The standard error that follows from the influence of each row, summed over clusters where there are any."""

from typing import NamedTuple

import numpy as np

from modelyard.statistics.clusters import Clusters
from modelyard.statistics.influence import Array, Influence
from modelyard.statistics.metrics import CLASSIFICATION, Metric

Groups = Array | Clusters | None


class VarianceParts(NamedTuple):
    """The variance by one kind of cluster, what one more cluster adds to it, and its degrees of freedom."""

    variance: float
    one_more: float
    degrees_of_freedom: float


def compute_standard_error(
    metric: Metric, truth: Array, found: Influence, groups: Groups = None
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
        The clusters, or the number of each row's group, shape (n,).

    Returns
    -------
    tuple of float
        Infinite and 1 where all rows are one cluster, since nothing then shows how clusters differ.

    Notes
    -----
    The influences are summed by cluster g and divided by √(1 - h), where h is the cluster's share of the rows (Bell &
    McCaffrey 2002): for lone rows the factor of the variance is n / (n - 1), for clusters of one size G / (G - 1). The
    degrees of freedom are Satterthwaite's (1946) over the classes, at most G - 1. One more row like those that matter
    is added, since few rows make a small error look certain (Agresti & Min 2005).

    Of clusters of two kinds the variance is that of the first plus that of the second minus that of their combinations
    (Cameron, Gelbach & Miller 2011), but not below either of the first two; the degrees of freedom are the smaller.
    """
    rows = len(found.influence)
    classes = truth if metric.task == CLASSIFICATION else np.zeros(rows, dtype=np.intp)
    if groups is None:
        parts = [compute_one_way(metric, classes, found.influence, None)]
    else:
        clusters = groups if isinstance(groups, Clusters) else Clusters.of({"group": groups})
        parts = [compute_one_way(metric, classes, found.influence, codes) for codes in clusters.codes]
    if rows < 2 or (groups is not None and clusters.fewest < 2):
        return float("inf"), 1.0
    variance = max(part.variance for part in parts)
    one_more = max(part.one_more for part in parts)
    if len(parts) > 1:
        cells = compute_one_way(metric, classes, found.influence, clusters.cells)
        variance = max(variance, sum(part.variance for part in parts) - cells.variance)
        one_more = cells.one_more
    error = np.sqrt(variance + max(one_more, (found.label_flip / rows) ** 2))
    return float(error), min(part.degrees_of_freedom for part in parts)


def compute_one_way(metric: Metric, classes: Array, influence: Array, codes: Array | None) -> VarianceParts:
    """Return the variance by one kind of cluster; `codes` is the number of each row's, or None for lone rows."""
    rows = len(influence)
    part_cluster, part_class, part_size, part_influence = sum_by_cluster(classes, influence, codes)
    cluster_size = np.bincount(part_cluster, part_size)
    if metric.by_class:
        share = part_size / np.bincount(part_class, part_size)[part_class]
    else:
        share = cluster_size[part_cluster] / rows
    cluster_error = np.bincount(part_cluster, part_influence / np.sqrt(np.maximum(1 - share, 0.5))) / rows
    variance = float((cluster_error**2).sum())
    one_more = float((cluster_error**4).sum() / variance) if variance else 0.0
    freedom = compute_degrees_of_freedom(part_class, part_influence)
    most = max(int(np.count_nonzero(cluster_size)) - 1, 1)
    return VarianceParts(variance, one_more, min(freedom, most))


def compute_degrees_of_freedom(part_class: Array, part_influence: Array) -> float:
    """Return Satterthwaite's degrees of freedom over the classes."""
    units = np.maximum(np.bincount(part_class) - 1, 1)
    squares = np.bincount(part_class, part_influence**2)
    if not squares.sum():
        return float(units.sum())
    return float(squares.sum() ** 2 / (squares**2 / units).sum())


def sum_by_cluster(classes: Array, influence: Array, codes: Array | None) -> tuple[Array, Array, Array, Array]:
    """Return cluster, class, number of rows and summed influence of each combination of cluster and class."""
    if codes is None:
        return np.arange(len(influence)), classes, np.ones(len(influence)), influence
    width = int(classes.max()) + 1
    key = codes * width + classes
    size = np.bincount(key)
    used = np.flatnonzero(size)
    return used // width, used % width, size[used], np.bincount(key, influence)[used]
