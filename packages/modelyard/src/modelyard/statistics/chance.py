"""The value of a metric that guessing reaches: that of the best prediction which is the same for all rows."""

from collections.abc import Iterator

import numpy as np

from modelyard.statistics.influence import Array, CostMatrix, Influence, get_undefined
from modelyard.statistics.metrics import CLASSIFICATION, METRICS, Metric, get_metric

MEDIAN_METRICS = ("mae",)  # minimized by the median; every other metric of numbers by the mean
LABEL_METRICS = ("f1",)  # of labels, and a label other than the most frequent one may be the best guess


def compute_chance_level(metric: str, truth: Array, cost: CostMatrix | None = None) -> float:
    """Return the best value of a metric that one prediction for all rows can reach; NaN where it is not defined.

    That is 0.5 for the area under the ROC curve, the prevalence for average precision, the share of the largest class
    for accuracy, the entropy of the shares for log loss and their Gini impurity for the Brier score (half of it for
    two classes), 1/k for balanced accuracy, 2p/(1 + p) for F1, the cost of the best label, 0 for R², and the error of
    the mean (RMSE) or of the median (MAE).

    Parameters
    ----------
    metric
        The name of a metric.
    truth
        Class codes or numbers, shape (n,).
    cost
        `cost[truth][prediction]`, shape (k, k), for the metric `cost`.
    """
    found = get_metric(metric)
    return compute_chance(found, truth, _count_classes(found, truth, cost), cost).value


def compute_chance(metric: Metric, truth: Array, n_classes: int, cost: CostMatrix | None) -> Influence:
    """Return the chance level with the influence of each row on it, shape (n,).

    A best guess is where the derivative by the prediction is zero, so that the influence is that of rows whose
    prediction does not depend on them. A project's own metric without an influence function has zeros.
    """
    best = get_undefined(truth)
    for scores in _iterate_constant_predictions(metric, truth, n_classes):
        if metric.influence_function is None:
            value = metric.compute_unchecked_value(truth, scores, cost)
            found = Influence(value, np.zeros(len(truth)))
        else:
            found = metric.compute_unchecked_influence(truth, scores, cost)
        sign = 1 if metric.higher_is_better else -1
        if np.isfinite(found.value) and not sign * found.value <= sign * best.value:
            best = found
    return best


def _count_classes(metric: Metric, truth: Array, cost: CostMatrix | None) -> int:
    """Return the number of classes that the truth or the costs have, at least 2; 0 for a regression."""
    if metric.task != CLASSIFICATION:
        return 0
    return max(2, int(np.max(truth)) + 1, 0 if cost is None else len(cost))


def _iterate_constant_predictions(metric: Metric, truth: Array, n_classes: int) -> Iterator[Array]:
    """Yield the predictions, the same for all rows, of which one is the best: shape (n, k) or (n,)."""
    rows = len(truth)
    if not n_classes:
        middle = np.median(truth) if metric.name in MEDIAN_METRICS else np.mean(truth)
        yield np.full(rows, float(middle))
        return
    shares = np.bincount(truth, minlength=n_classes) / rows
    yield np.broadcast_to(shares, (rows, n_classes))
    if metric.name in LABEL_METRICS or metric.name not in METRICS:
        for label in np.eye(n_classes):
            yield np.broadcast_to(label, (rows, n_classes))
