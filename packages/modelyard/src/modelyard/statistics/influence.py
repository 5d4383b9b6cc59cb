"""The influence of each row on a metric, from which the standard error of every metric follows.

The influence of row i on a metric T is n · ∂T/∂wᵢ, where wᵢ is the row's weight and n the number of rows; influences
sum to 0. To first order the error of the metric is the error of the mean of its influences, so that one formula
(`modelyard.statistics.comparison.compute_standard_error`) serves all metrics.

Every function here takes the truth and the scores: class codes (n,) and probabilities (n, k), or, for a regression,
numbers (n,) and (n,).

References
----------
Hampel (1974), The influence curve and its role in robust estimation. Journal of the American Statistical Association.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import SettingError

Array = npt.NDArray[Any]
CostMatrix = Array | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Influence:
    """A metric's value and the influence of each row on it.

    Parameters
    ----------
    value
        The metric; NaN where the rows do not define it.
    influence
        The influence of each row, shape (n,).
    label_flip
        The influence that one more wrong label would have; 0 for a metric that needs no labels.
    denominator
        For a ratio: the influence of each row on the denominator, divided by the denominator, shape (n,).
    """

    value: float
    influence: Array
    label_flip: float = 0.0
    denominator: Array | None = None


InfluenceFunction = Callable[[Array, Array, CostMatrix | None], Influence]


def average_rows(rows: Array, label_flip: float = 0.0) -> Influence:
    """Return the mean of one number per row, shape (n,)."""
    value = float(rows.mean())
    return Influence(value, rows - value, label_flip)


def get_undefined(truth: Array) -> Influence:
    """Return the influence of rows that do not define the metric."""
    return Influence(float("nan"), np.zeros(len(truth)))


def average_classes(parts: Iterable[Influence], truth: Array) -> Influence:
    """Return the unweighted mean over classes (macro average), with one class at a time in memory."""
    count = 0
    value = 0.0
    squared_flips = 0.0
    influence = np.zeros(len(truth))
    for part in parts:
        count += 1
        value += part.value
        squared_flips += part.label_flip**2
        influence += part.influence
    if not count:
        return get_undefined(truth)
    return Influence(value / count, influence / count, float(np.sqrt(squared_flips)) / count)


def compare_one_with_rest(binary: Callable[[Array, Array], Influence]) -> InfluenceFunction:
    """Return the metric of any number of classes from that of two.

    With two classes it is the metric of the last one, with more the mean over the classes that the truth holds.
    """

    def average(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
        counts = np.bincount(truth, minlength=scores.shape[1])
        if np.count_nonzero(counts) < 2:
            return get_undefined(truth)
        classes = [1] if len(counts) == 2 else np.flatnonzero(counts)
        return average_classes((binary(truth == code, scores[:, code]) for code in classes), truth)

    return average


def rank_with_ties(positive: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Return each row's rank among the m distinct scores, and the positive and negative rows of each rank.

    Shapes (n,), (m,) and (m,); ranks ascend from 0.
    """
    order = np.argsort(scores)
    ordered = scores[order]
    rank = np.empty(len(scores), dtype=np.intp)
    rank[order] = np.cumsum(np.concatenate([[False], ordered[1:] != ordered[:-1]]))
    positives = np.bincount(rank, weights=positive)
    negatives = np.bincount(rank) - positives
    return rank, positives, negatives


def compute_roc_auc(positive: Array, scores: Array) -> Influence:
    """Compute the area under the ROC curve; `positive` are booleans (n,), `scores` are numbers (n,).

    The influences are DeLong's placements: the share of the other class that a row is ranked above (or below), ties
    counted half.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson (1988), Comparing the areas under two or more correlated receiver operating
    characteristic curves. Biometrics 44. Sun & Xu (2014), Fast implementation of DeLong's algorithm.
    """
    rank, positives, negatives = rank_with_ties(positive, scores)
    n_positive = positives.sum()
    n_negative = negatives.sum()
    share_below = (np.cumsum(negatives) - negatives / 2) / n_negative
    share_above = 1 - (np.cumsum(positives) - positives / 2) / n_positive
    value = float(positives @ share_below / n_positive)
    of_positive = (share_below[rank] - value) / n_positive
    of_negative = (share_above[rank] - value) / n_negative
    return Influence(value, np.where(positive, of_positive, of_negative) * len(scores))


def compute_average_precision(positive: Array, scores: Array) -> Influence:
    """Compute the mean precision at the positive rows; `positive` are booleans (n,), `scores` are numbers (n,).

    A positive row contributes its own precision, and every row changes the precision of the rows ranked below it.
    """
    rank, positives, negatives = rank_with_ties(positive, scores)
    n_positive = positives.sum()
    true_positives = np.cumsum(positives[::-1])[::-1]
    predicted_positives = true_positives + np.cumsum(negatives[::-1])[::-1]
    precision = true_positives / predicted_positives
    value = float(positives @ precision / n_positive)
    gain = np.cumsum(positives * (1 - precision) / predicted_positives)
    loss = np.cumsum(positives * precision / predicted_positives)
    influence = np.where(positive, (precision - value + gain)[rank], -loss[rank])
    return Influence(value, influence * len(scores) / n_positive)


def compute_log_loss(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Compute the mean negative logarithm of the true class's probability, clipped as in scikit-learn."""
    smallest = float(np.spacing(1.0))
    probability = scores[np.arange(len(truth)), truth]
    return average_rows(-np.log(np.clip(probability, smallest, 1 - smallest)))


def compute_brier(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Compute the squared distance of the probabilities to the truth, summed over classes; half of it for two."""
    probability = scores[np.arange(len(truth)), truth]
    rows = (scores**2).sum(axis=1) - 2 * probability + 1
    return average_rows(rows / 2 if scores.shape[1] == 2 else rows)


def compute_accuracy(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Compute the share of rows whose most probable class is the true one."""
    return average_rows((scores.argmax(axis=1) == truth).astype(float), label_flip=1.0)


def compute_balanced_accuracy(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Compute the mean recall of the classes that the truth holds (delta method)."""
    counts = np.bincount(truth)
    if np.count_nonzero(counts) < 2:
        return get_undefined(truth)
    present = counts > 0
    weight = np.where(present, len(truth) / np.maximum(counts, 1), 0.0) / present.sum()
    correct = (scores.argmax(axis=1) == truth).astype(float)
    recall = np.bincount(truth, correct) / np.maximum(counts, 1)
    influence = (correct - recall[truth]) * weight[truth]
    return Influence(float(recall[present].mean()), influence, float(np.sqrt((weight**2).sum())))


def compute_f1(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Compute the F1 score of the last of two classes, or the mean over the classes that the truth holds."""
    predicted = scores.argmax(axis=1)
    counts = np.bincount(truth, minlength=scores.shape[1])
    classes = [1] if len(counts) == 2 else np.flatnonzero(counts)
    present = [code for code in classes if counts[code]]
    return average_classes((compute_binary_f1(truth == code, predicted == code) for code in present), truth)


def compute_binary_f1(positive: Array, predicted: Array) -> Influence:
    """Compute the F1 score of booleans (n,) (delta method)."""
    hits = 2.0 * (positive & predicted)
    sizes = 1.0 * positive + predicted
    value = hits.sum() / sizes.sum()
    weight = len(positive) / sizes.sum()
    # One more correct label at a positive row, and one more wrong label at a negative row.
    label_flip = weight * np.hypot(2 - value, value)
    return Influence(float(value), (hits - value * sizes) * weight, float(label_flip))


def compute_cost(truth: Array, scores: Array, cost: CostMatrix | None) -> Influence:
    """Compute the mean cost when each row gets the label with the least expected cost.

    Raises
    ------
    SettingError
        `evaluate.cost` is missing or is not a square of k numbers.
    """
    cure = "write cost[truth][prediction] in params.yaml, one row and one column per class"
    if cost is None:
        raise SettingError("evaluate.cost", "is missing, but the metric is cost", cure)
    n_classes = scores.shape[1]
    matrix = np.asarray(cost, dtype=float)
    if matrix.shape != (n_classes, n_classes) or not np.isfinite(matrix).all():
        raise SettingError("evaluate.cost", f"is not {n_classes} rows of {n_classes} numbers", cure)
    labels = (scores @ matrix).argmin(axis=1)
    return average_rows(matrix[truth, labels], label_flip=float(np.ptp(matrix, axis=1).max()))


def compute_rmse(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Compute the root of the mean squared error (delta method)."""
    mean_square = average_rows((truth - scores) ** 2)
    value = float(np.sqrt(mean_square.value))
    return Influence(value, mean_square.influence / (2 * value) if value else mean_square.influence)


def compute_mae(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Compute the mean absolute error."""
    return average_rows(np.abs(truth - scores))


def compute_r2(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Compute R², one minus the mean squared error divided by the variance of the truth."""
    squared_error = average_rows((truth - scores) ** 2)
    variance = average_rows((truth - truth.mean()) ** 2)
    if not variance.value:
        return get_undefined(truth)
    ratio = squared_error.value / variance.value
    denominator = variance.influence / variance.value
    influence = ratio * denominator - squared_error.influence / variance.value
    return Influence(1 - ratio, influence, denominator=denominator)
