"""Metrics: each is a number and, for every row, how hard that row pulls at it (its influence).

The pull is the metric's derivative by the row's weight, times the number of rows. It turns every
metric into a mean, so that `compare` needs one formula for the error of all of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import HookError, UserError
from modelyard.core.hooks import METRICS as METRICS_HOOK
from modelyard.core.project import Project

Array = npt.NDArray[Any]
CostMatrix = Array | Sequence[Sequence[float]]
_CLASSIFICATION, _REGRESSION, _DELTA_METHOD, _PAIRED_MEAN = (
    "classification",
    "regression",
    "delta method",
    "paired mean",
)


@dataclass(frozen=True)
class Influence:
    """A metric's value (NaN if undefined), the pull of each row, and that of one changed label.

    Where the value is a ratio, `scale` is each row's pull at the denominator, as a share of it.
    """

    value: float
    pull: Array
    event: float = 0.0
    denominator: Array | None = None


InfluenceFunction = Callable[[Array, Array, CostMatrix | None], Influence]
ValueFunction = Callable[[Array, Array], float]
RowFunction = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Metric:
    """A metric of models.

    A metric of a project's own gives `value_function`, and gets its interval from the bootstrap. A metric that is a
    mean over rows is made by `mean_metric`, which gets it in closed form.

    Parameters
    ----------
    name
        The name in params.yaml, reports/metrics.json and the report.
    task
        `classification` or `regression`; empty for both.
    higher_is_better
        Whether a larger value is better.
    margin
        The loss that does not matter, in the metric's unit; a share of the champion's value if `relative`.
    relative
        Whether the margin is a share.
    method
        How the interval is computed, as the report names it.
    influence_function
        The value with the influence of each row, of truth, scores and cost matrix.
    by_class
        Whether the influence is weighted by class.
    bounded
        Whether the value lies between 0 and 1.
    value_function
        The value, of truth and scores. For classes: codes (n,) and probabilities (n, classes); else numbers (n,), (n,).
    """

    name: str
    task: str
    higher_is_better: bool
    margin: float
    relative: bool = False
    method: str = "bootstrap"
    influence_function: InfluenceFunction | None = None
    by_class: bool = False
    bounded: bool = False
    value_function: ValueFunction | None = None

    def compute_value(self, truth: Array, scores: Array, cost: CostMatrix | None = None) -> float:
        """Return the value on these rows; NaN where these rows do not define it."""
        truth, scores = validate_inputs(self.task, truth, scores)
        return self.compute_unchecked_value(truth, scores, cost)

    def compute_unchecked_value(self, truth: Array, scores: Array, cost: CostMatrix | None = None) -> float:
        """Return the value on rows that were checked before."""
        if self.value_function is not None:
            return call_own_metric(self.name, self.value_function, truth, scores)
        if self.influence_function is None:
            raise HookError("metrics.py", self.name, "computes nothing; give it a value_function")
        return self.influence_function(truth, scores, cost).value

    def compute_influence(self, truth: Array, scores: Array, cost: CostMatrix | None = None) -> Influence:
        """Return the value with the influence of each row, after a check of the input."""
        if self.influence_function is None:
            raise UserError(f"{self.name} is no mean over rows: its interval comes from the bootstrap")
        truth, scores = validate_inputs(self.task, truth, scores)
        return self.influence_function(truth, scores, cost)


def call_own_metric(name: str, function: ValueFunction, truth: Array, scores: Array) -> float:
    """Return what a project's own metric computes; a `HookError` where that is not one number."""
    value = np.asarray(function(truth, scores), dtype=float)
    if value.ndim:
        raise HookError("metrics.py", name, f"returns an array of shape {value.shape}; it must return one number")
    return float(value)


def mean_metric(
    name: str,
    per_row: RowFunction,
    higher_is_better: bool,
    margin: float,
    *,
    task: str = "",
    relative: bool = False,
) -> Metric:
    """Return a metric that is the mean of a number per row, so that its interval has a closed form.

    Parameters
    ----------
    name
        The name in params.yaml, reports/metrics.json and the report.
    per_row
        Takes truth and scores and returns one number per row, shape (n,). For classes the truth is codes (n,) and the
        scores are probabilities (n, classes); else both are numbers (n,).
    higher_is_better
        Whether a larger mean is better.
    margin
        The loss that does not matter, in the metric's unit; a share of the champion's value if `relative`.
    task
        `classification` or `regression`; empty for both.
    relative
        Whether the margin is a share.

    Examples
    --------
    >>> mean_metric("within_an_hour", lambda truth, scores: abs(truth - scores) < 60, True, 0.01)  # doctest: +SKIP
    """

    def compute(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
        rows = np.asarray(per_row(truth, scores), dtype=float)
        if rows.shape != truth.shape or not np.isfinite(rows).all():
            found = f"shape {rows.shape}" if rows.shape != truth.shape else "missing or infinite values"
            raise HookError("metrics.py", name, f"returns {found}; per_row must return one number for each row")
        is_share = bool(np.isin(rows, (0, 1)).all())
        return _mean_influence(rows, event=1.0 if is_share else 0.0)

    return Metric(name, task, higher_is_better, margin, relative, _PAIRED_MEAN, compute)


def load_own_metrics(task: str) -> dict[str, Metric]:
    """Return the metrics of the project's own metrics.py for a task, by name.

    Raises
    ------
    HookError
        Where METRICS holds something else, or a name that is taken.
    """
    hooks = Project.load().hooks
    found: dict[str, Metric] = {}
    for metric in hooks.metrics:
        if not isinstance(metric, Metric):
            problem = f"holds a {type(metric).__name__}; write modelyard.Metric(…) or modelyard.mean_metric(…)"
            raise hooks.error(METRICS_HOOK, problem)
        if metric.name in METRICS or metric.name in found:
            raise hooks.error(METRICS_HOOK, f"has a second metric named {metric.name}; choose another name")
        if metric.task in ("", task):
            found[metric.name] = replace(metric, task=task)
    return found


def get_metric(name: str) -> Metric:
    """Return the metric of that name, of the library or of the project; a `UserError` lists those there are."""
    if name in METRICS:
        return METRICS[name]
    own = load_own_metrics(Project.load().params.data.task)
    if name not in own:
        raise UserError(f"there is no metric {name!r}; choose one of {', '.join([*METRICS, *own])}")
    return own[name]


def compute_all_metrics(task: str, truth: Array, scores: Array, cost: CostMatrix | None = None) -> dict[str, float]:
    """Return every metric of the task that these rows define; one class alone defines no ranking."""
    found = {}
    for metric in [*METRICS.values(), *load_own_metrics(task).values()]:
        if metric.task == task and (metric.name != "cost" or cost is not None):
            value = metric.compute_value(truth, scores, cost)
            if np.isfinite(value):
                found[metric.name] = float(value)
    return found


def validate_inputs(task: str, truth: Array, scores: Array) -> tuple[Array, Array]:
    """Truth and scores with the types and shapes that the task needs, or a `UserError`."""
    try:
        truth, scores = np.asarray(truth), np.asarray(scores, dtype=float)
        truth = truth if truth.dtype.kind in "biu" else truth.astype(float)
    except (TypeError, ValueError):
        raise UserError("true values and predictions must be numbers; encode the classes as 0, 1, 2, …") from None
    if not truth.size or len(truth) != len(scores):
        raise UserError(
            f"{len(truth)} true values but {len(scores)} predictions: score the same rows, and at least one"
        )
    if not np.isfinite(scores).all():
        raise UserError("some predictions are missing or infinite; look at what the model returns")
    if task == "regression":
        if scores.ndim != 1:
            raise UserError("a regression is scored by one number a row; is data.task right in params.yaml?")
        if not np.isfinite(truth).all():
            raise UserError("some true values are missing or infinite; leave those rows out")
        return truth.astype(float), scores
    if not np.array_equal(truth, np.floor(truth)):
        raise UserError("classes must be codes 0, 1, 2, …; is data.task right in params.yaml?")
    scores = scores if scores.ndim == 2 else np.column_stack([1 - scores, scores])
    codes, classes = truth.astype(np.int64), scores.shape[1]
    if codes.min() < 0 or codes.max() >= classes:
        raise UserError(
            f"class codes run from {codes.min()} to {codes.max()}, but the scores have "
            f"{classes} columns; every class needs its own"
        )
    return codes, scores


def _mean_influence(rows: Array, event: float = 0.0) -> Influence:
    value = float(rows.mean())
    return Influence(value, rows - value, event)


def _undefined_influence(truth: Array) -> Influence:
    return Influence(float("nan"), np.zeros(len(truth)))


def _macro_average(parts: Iterable[Influence], truth: Array) -> Influence:
    """The plain mean over classes (macro), one class at a time in memory."""
    count, value, square, pull = 0, 0.0, 0.0, np.zeros(len(truth))
    for part in parts:
        count, value, square = count + 1, value + part.value, square + part.event**2
        pull += part.pull
    if not count:
        return _undefined_influence(truth)
    return Influence(value / count, pull / count, float(np.sqrt(square)) / count)


def _one_vs_rest(kernel: Callable[[Array, Array], Influence]) -> InfluenceFunction:
    """Two classes: the last against the first. More: the mean over those that the truth holds."""

    def averaged(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
        counts = np.bincount(truth, minlength=scores.shape[1])
        if np.count_nonzero(counts) < 2:
            return _undefined_influence(truth)
        classes = [1] if len(counts) == 2 else np.flatnonzero(counts)
        return _macro_average((kernel(truth == c, scores[:, c]) for c in classes), truth)

    return averaged


def _rank_with_ties(positive: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Each row's rank among the distinct scores, and the positive and negative rows at a rank."""
    order = np.argsort(scores)
    ordered = scores[order]
    rank = np.empty(len(scores), dtype=np.intp)
    rank[order] = np.cumsum(np.concatenate([[False], ordered[1:] != ordered[:-1]]))
    hits = np.bincount(rank, weights=positive)
    return rank, hits, np.bincount(rank) - hits


def _roc_auc(positive: Array, scores: Array) -> Influence:
    """DeLong's placements: the share of the other class that a row beats, ties counted half."""
    rank, hits, misses = _rank_with_ties(positive, scores)
    ones, zeros = hits.sum(), misses.sum()
    above = (np.cumsum(misses) - misses / 2) / zeros
    below = 1 - (np.cumsum(hits) - hits / 2) / ones
    value = float(hits @ above / ones)
    pull = np.where(positive, (above[rank] - value) / ones, (below[rank] - value) / zeros)
    return Influence(value, pull * len(scores))


def _average_precision(positive: Array, scores: Array) -> Influence:
    """The mean precision at the positive rows; a row also changes the precision below it."""
    rank, hits, misses = _rank_with_ties(positive, scores)
    found = np.cumsum(hits[::-1])[::-1]
    taken = found + np.cumsum(misses[::-1])[::-1]
    precision = found / taken
    value = float(hits @ precision / hits.sum())
    gain = np.cumsum(hits * (1 - precision) / taken)
    loss = np.cumsum(hits * precision / taken)
    pull = np.where(positive, (precision - value + gain)[rank], -loss[rank])
    return Influence(value, pull * len(scores) / hits.sum())


def _log_loss(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    tiny = float(np.spacing(1.0))
    chance = scores[np.arange(len(truth)), truth]
    return _mean_influence(-np.log(np.clip(chance, tiny, 1 - tiny)))


def _brier(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """Squared distance to the truth, summed over classes; halved for two, as is the custom."""
    chance = scores[np.arange(len(truth)), truth]
    rows = (scores**2).sum(axis=1) - 2 * chance + 1
    return _mean_influence(rows / 2 if scores.shape[1] == 2 else rows)


def _accuracy(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    return _mean_influence((scores.argmax(axis=1) == truth).astype(float), event=1.0)


def _balanced_accuracy(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    counts = np.bincount(truth)
    if np.count_nonzero(counts) < 2:
        return _undefined_influence(truth)
    present = counts > 0
    weight = np.where(present, len(truth) / np.maximum(counts, 1), 0.0) / present.sum()
    hit = (scores.argmax(axis=1) == truth).astype(float)
    recall = np.bincount(truth, hit) / np.maximum(counts, 1)
    pull = (hit - recall[truth]) * weight[truth]
    return Influence(float(recall[present].mean()), pull, float(np.sqrt((weight**2).sum())))


def _f1(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    """The last class's F1 for two classes; else the mean over the classes that the truth holds."""
    said, counts = scores.argmax(axis=1), np.bincount(truth, minlength=scores.shape[1])
    classes = [1] if len(counts) == 2 else np.flatnonzero(counts)
    return _macro_average((_binary_f1(truth == c, said == c) for c in classes if counts[c]), truth)


def _binary_f1(positive: Array, said: Array) -> Influence:
    hit, size = 2.0 * (positive & said), 1.0 * positive + said
    value = hit.sum() / size.sum()
    weight = len(positive) / size.sum()
    # One more label right at a positive row, one more wrong at a negative one.
    event = weight * np.hypot(2 - value, value)
    return Influence(float(value), (hit - value * size) * weight, float(event))


def _cost(truth: Array, scores: Array, cost: CostMatrix | None) -> Influence:
    """The mean cost when each row is given the label of least expected cost."""
    classes, matrix = scores.shape[1], np.asarray(cost, dtype=float)
    if cost is None:
        raise UserError("the metric cost needs evaluate.cost in params.yaml: cost[truth][prediction]")
    if matrix.shape != (classes, classes) or not np.isfinite(matrix).all():
        raise UserError(f"evaluate.cost must be {classes} rows of {classes} numbers, one per class")
    rows = matrix[truth, (scores @ matrix).argmin(axis=1)]
    return _mean_influence(rows, event=float(np.ptp(matrix, axis=1).max()))


def _rmse(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    square = _mean_influence((truth - scores) ** 2)
    value = float(np.sqrt(square.value))
    return Influence(value, square.pull / (2 * value) if value else square.pull)


def _mae(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    return _mean_influence(np.abs(truth - scores))


def _r2(truth: Array, scores: Array, _: CostMatrix | None) -> Influence:
    square, spread = _mean_influence((truth - scores) ** 2), _mean_influence((truth - truth.mean()) ** 2)
    if not spread.value:
        return _undefined_influence(truth)
    left, scale = square.value / spread.value, spread.pull / spread.value
    return Influence(1 - left, left * scale - square.pull / spread.value, denominator=scale)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("roc_auc", _CLASSIFICATION, True, 0.01, False, "DeLong", _one_vs_rest(_roc_auc), True, True),
        Metric(
            "average_precision",
            _CLASSIFICATION,
            True,
            0.02,
            False,
            _DELTA_METHOD,
            _one_vs_rest(_average_precision),
            bounded=True,
        ),
        Metric("log_loss", _CLASSIFICATION, False, 0.02, True, _PAIRED_MEAN, _log_loss),
        Metric("brier", _CLASSIFICATION, False, 0.02, True, _PAIRED_MEAN, _brier),
        Metric("accuracy", _CLASSIFICATION, True, 0.01, False, _PAIRED_MEAN, _accuracy, bounded=True),
        Metric("balanced_accuracy", _CLASSIFICATION, True, 0.02, False, _DELTA_METHOD, _balanced_accuracy, True, True),
        Metric("f1", _CLASSIFICATION, True, 0.02, False, _DELTA_METHOD, _f1, bounded=True),
        Metric("cost", _CLASSIFICATION, False, 0.05, True, _PAIRED_MEAN, _cost),
        Metric("rmse", _REGRESSION, False, 0.02, True, _DELTA_METHOD, _rmse),
        Metric("mae", _REGRESSION, False, 0.02, True, _PAIRED_MEAN, _mae),
        Metric("r2", _REGRESSION, True, 0.02, False, _DELTA_METHOD, _r2),
    )
}
