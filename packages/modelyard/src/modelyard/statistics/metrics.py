"""The metrics of models, those of the library and those of a project's own metrics.py.

Most metrics also have the influence of each row (`modelyard.statistics.influence`), from which their interval follows
in closed form; a metric without it gets its interval from the bootstrap.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from modelyard.core.errors import HookError, UserError
from modelyard.core.hooks import METRICS as METRICS_HOOK
from modelyard.core.project import Project
from modelyard.statistics import influence
from modelyard.statistics.influence import Array, CostMatrix, Influence, InfluenceFunction, average_rows

CLASSIFICATION = "classification"
REGRESSION = "regression"
DELTA_METHOD = "delta method"
PAIRED_MEAN = "paired mean"
SUM_TOLERANCE = 1e-4  # of a row of probabilities; models that compute in single precision need some
ValueFunction = Callable[[Array, Array], float]
RowFunction = Callable[[Array, Array], Array]


class UnknownMetricError(UserError):
    """There is no metric of that name, neither in the library nor in the project's metrics.py."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"there is no metric {name!r}; choose one of {', '.join(known)}")
        self.name = name
        self.known = known


class InvalidScoresError(UserError):
    """The truth and the predictions do not have the types or shapes that the task needs."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem}; {cure}")
        self.problem = problem


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
    needs_rare_class
        Whether the value depends on the rows of the rarest class above all, so that few of them decide it.
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
    needs_rare_class: bool = True
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
        truth, scores = validate_inputs(self.task, truth, scores)
        return self.compute_unchecked_influence(truth, scores, cost)

    def compute_unchecked_influence(self, truth: Array, scores: Array, cost: CostMatrix | None = None) -> Influence:
        """Return the value with the influence of each row, on rows that were checked before."""
        if self.influence_function is None:
            raise UserError(f"{self.name} has no influence function; use the bootstrap")
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
        return average_rows(rows, label_flip=1.0 if is_share else 0.0)

    return Metric(name, task, higher_is_better, margin, relative, PAIRED_MEAN, compute, needs_rare_class=False)


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
    """Return the metric of that name, of the library or of the project.

    Raises
    ------
    UnknownMetricError
        There is none; the error lists those there are.
    """
    if name in METRICS:
        return METRICS[name]
    own = load_own_metrics(Project.load().params.data.task)
    if name not in own:
        raise UnknownMetricError(name, [*METRICS, *own])
    return own[name]


def compute_all_metrics(task: str, truth: Array, scores: Array, cost: CostMatrix | None = None) -> dict[str, float]:
    """Return the value of every metric of the task that these rows define.

    Parameters
    ----------
    task
        `classification` or `regression`.
    truth
        Class codes or numbers, shape (n,).
    scores
        Probabilities, shape (n, k), or numbers, shape (n,).
    cost
        `cost[truth][prediction]`, shape (k, k); without it the metric `cost` is left out.
    """
    values = {}
    for metric in [*METRICS.values(), *load_own_metrics(task).values()]:
        if metric.task != task or (metric.name == "cost" and cost is None):
            continue
        value = metric.compute_value(truth, scores, cost)
        if np.isfinite(value):
            values[metric.name] = float(value)
    return values


def validate_inputs(task: str, truth: Array, scores: Array) -> tuple[Array, Array]:
    """Return truth and scores with the types and shapes that the task needs.

    Parameters
    ----------
    task
        `classification` or `regression`.
    truth
        Class codes 0 to k - 1 or numbers, shape (n,).
    scores
        Probabilities, shape (n, k), or those of the second of two classes, shape (n,); or numbers, shape (n,).

    Returns
    -------
    tuple
        Codes (n,) of integers and probabilities (n, k), or numbers (n,) and (n,).

    Raises
    ------
    InvalidScoresError
        They have other types, shapes or values.
    """
    truth, scores = _convert_to_numbers(truth, scores)
    if not truth.size or len(truth) != len(scores):
        counts = f"{len(truth)} true values but {len(scores)} predictions"
        raise InvalidScoresError(counts, "score the same rows, and at least one")
    if not np.isfinite(scores).all():
        raise InvalidScoresError("some predictions are missing or infinite", "look at what the model returns")
    return _validate_numbers(truth, scores) if task == REGRESSION else _validate_classes(truth, scores)


def _convert_to_numbers(truth: Array, scores: Array) -> tuple[Array, Array]:
    try:
        scores = np.asarray(scores, dtype=float)
        truth = np.asarray(truth)
        return (truth if truth.dtype.kind in "biu" else truth.astype(float)), scores
    except (TypeError, ValueError):
        problem = "true values and predictions must be numbers"
        raise InvalidScoresError(problem, "encode the classes as 0, 1, 2, …") from None


def _validate_numbers(truth: Array, scores: Array) -> tuple[Array, Array]:
    """Return the true and predicted numbers of a regression."""
    if scores.ndim != 1:
        problem = "the predictions of a regression must be one number per row"
        raise InvalidScoresError(problem, "check data.task in params.yaml")
    if not np.isfinite(truth).all():
        raise InvalidScoresError("some true values are missing or infinite", "leave those rows out")
    return truth.astype(float), scores


def _validate_classes(truth: Array, scores: Array) -> tuple[Array, Array]:
    """Return the class codes and the probabilities of a classification."""
    if not np.array_equal(truth, np.floor(truth)):
        raise InvalidScoresError("classes must be codes 0, 1, 2, …", "check data.task in params.yaml")
    if scores.ndim == 1:
        scores = np.column_stack([1 - scores, scores])
    codes = truth.astype(np.int64)
    n_classes = scores.shape[1]
    if codes.min() < 0 or codes.max() >= n_classes:
        problem = f"class codes run from {codes.min()} to {codes.max()}, but the scores have {n_classes} columns"
        raise InvalidScoresError(problem, "give every class a column of its own")
    return codes, scores


def compute_checked_log_loss(truth: Array, scores: Array, cost: CostMatrix | None) -> Influence:
    """Compute log loss of probabilities that sum to 1; without that a model could call every class certain.

    Raises
    ------
    InvalidScoresError
        Some rows do not sum to 1.
    """
    wrong = int((np.abs(scores.sum(axis=1) - 1) > SUM_TOLERANCE).sum())
    if wrong:
        problem = f"the probabilities of {wrong:,} rows do not sum to 1, which log_loss needs"
        raise InvalidScoresError(problem, "look at what the model's predict_proba returns")
    return influence.compute_log_loss(truth, scores, cost)


def average_over_rows(
    name: str,
    compute: InfluenceFunction,
    margin: float,
    *,
    higher_is_better: bool = False,
    relative: bool = False,
    bounded: bool = False,
) -> Metric:
    """Return a metric of classes that is a mean over rows; a loss, unless an option says otherwise."""
    return Metric(
        name=name,
        task=CLASSIFICATION,
        higher_is_better=higher_is_better,
        margin=margin,
        relative=relative,
        method=PAIRED_MEAN,
        influence_function=compute,
        needs_rare_class=False,
        bounded=bounded,
    )


LIBRARY_METRICS = (
    Metric(
        name="roc_auc",
        task=CLASSIFICATION,
        higher_is_better=True,
        margin=0.01,
        method="DeLong",
        influence_function=influence.compare_one_with_rest(influence.compute_roc_auc),
        by_class=True,
        bounded=True,
    ),
    Metric(
        name="average_precision",
        task=CLASSIFICATION,
        higher_is_better=True,
        margin=0.02,
        method=DELTA_METHOD,
        influence_function=influence.compare_one_with_rest(influence.compute_average_precision),
        bounded=True,
    ),
    average_over_rows("log_loss", compute_checked_log_loss, 0.02, relative=True),
    average_over_rows("brier", influence.compute_brier, 0.02, relative=True),
    average_over_rows("accuracy", influence.compute_accuracy, 0.01, higher_is_better=True, bounded=True),
    Metric(
        name="balanced_accuracy",
        task=CLASSIFICATION,
        higher_is_better=True,
        margin=0.02,
        method=DELTA_METHOD,
        influence_function=influence.compute_balanced_accuracy,
        by_class=True,
        bounded=True,
    ),
    Metric("f1", CLASSIFICATION, True, 0.02, False, DELTA_METHOD, influence.compute_f1, bounded=True),
    average_over_rows("cost", influence.compute_cost, 0.05, relative=True),
    Metric("rmse", REGRESSION, False, 0.02, True, DELTA_METHOD, influence.compute_rmse),
    Metric("mae", REGRESSION, False, 0.02, True, PAIRED_MEAN, influence.compute_mae),
    Metric("r2", REGRESSION, True, 0.02, False, DELTA_METHOD, influence.compute_r2),
)
METRICS = {metric.name: metric for metric in LIBRARY_METRICS}
