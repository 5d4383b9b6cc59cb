"""Infer from a table what it can be used for: its task, the columns to leave out, the estimator and the metric."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from modelyard.core.errors import OptionError, UserError
from modelyard.core.params import DataParams
from modelyard.data.duplicates import duplicate_hashes
from modelyard.data.profiling import MAX_DISTINCT_KEPT, ColumnProfile, sample_rows

MIN_ROWS = 30
FEW_DISTINCT_VALUES = 20
UNIQUE_SHARE = 0.9  # of the values that differ: from here on they name rows
MIN_PROSE_SPACES = 3  # on average: more make a text prose
MIN_BOOSTING_ROWS = 2000  # with fewer rows, a linear model learns more
LEAKAGE_SHARE, SUSPICIOUS_SHARE = 0.995, 0.9  # of the target that one column explains
MAX_SLICE_VALUES = 12
SAMPLE_ROWS = (200, 10_000)
SAMPLE_CELLS = 2_000_000
IDENTIFIER_WORDS = frozenset(("id", "ids", "uuid", "guid", "number", "nr", "no", "key"))


class EstimatorDefaults(NamedTuple):
    """The arguments that an estimator starts with, and the space that a search looks for better ones in."""

    arguments: dict[str, Any]
    space: dict[str, Any]


BOOSTING_DEFAULTS = EstimatorDefaults(
    {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 15, "l2_regularization": 1.0},
    {
        "learning_rate": {"low": 0.01, "high": 0.2, "log": True},
        "max_leaf_nodes": {"low": 7, "high": 63, "log": True},
        "l2_regularization": {"low": 0.01, "high": 10.0, "log": True},
    },
)
BOOSTED_CLASSIFIER = "sklearn.ensemble.HistGradientBoostingClassifier"
BOOSTED_REGRESSOR = "sklearn.ensemble.HistGradientBoostingRegressor"
LINEAR_CLASSIFIER = "sklearn.linear_model.LogisticRegression"
LINEAR_REGRESSOR = "sklearn.linear_model.Ridge"
ESTIMATOR_DEFAULTS = {
    BOOSTED_CLASSIFIER: BOOSTING_DEFAULTS,
    BOOSTED_REGRESSOR: BOOSTING_DEFAULTS,
    LINEAR_CLASSIFIER: EstimatorDefaults(
        {"C": 1.0, "max_iter": 1000}, {"C": {"low": 0.001, "high": 100.0, "log": True}}
    ),
    LINEAR_REGRESSOR: EstimatorDefaults({"alpha": 1.0}, {"alpha": {"low": 0.01, "high": 1000.0, "log": True}}),
}
ParamBlocks = dict[str, dict[str, Any]]


class Inferred(NamedTuple):
    """A value that was inferred, and why."""

    value: str
    reason: str


class InferredMetric(NamedTuple):
    """The primary metric, the value that guessing surely reaches in it, and why this metric."""

    name: str
    floor: float
    reason: str


@dataclass
class ExcludedColumns:
    """The columns that the model must not see.

    Attributes
    ----------
    reasons
        The reason for each of these columns.
    notes
        Sentences about columns that are doubtful, but stay.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class InferredParams(NamedTuple):
    """What params.yaml is to hold.

    Attributes
    ----------
    blocks
        The values by block.
    reasons
        The reason for task, metric and estimator.
    notes
        Sentences about what its owner should look at.
    """

    blocks: ParamBlocks
    reasons: dict[str, str]
    notes: list[str]


def describe_distinct(profile: ColumnProfile) -> str:
    """Return how many values a column has, in words."""
    if profile.distinct_count <= MAX_DISTINCT_KEPT:
        return f"{profile.distinct_count:,} values"
    return f"more than {MAX_DISTINCT_KEPT:,} values"


def check_target(target: ColumnProfile, wanted: str) -> None:
    """Raise an error where a target cannot be predicted.

    Raises
    ------
    OptionError
        If the wanted task is none.
    UserError
        If the target has one value only, or does not suit the task.
    """
    if wanted not in ("", "classification", "regression"):
        raise OptionError("TASK", f"{wanted} is no task", "say TASK=classification or TASK=regression")
    if target.distinct_count == 1:
        (value,) = target.values or (None,)
        raise UserError(f"every row says {target.name} = {value}; there is nothing to tell apart")
    if target.type == "datetime64[us]" or (wanted == "regression" and not target.is_numeric):
        raise UserError(f"{target.name} holds no numbers; a target is a number or, without TASK=regression, a class")


def infer_task(target: ColumnProfile, wanted: str) -> Inferred:
    """Infer whether a target is a class or a number.

    Parameters
    ----------
    target
        The profile of the target.
    wanted
        The task that its owner names; empty to infer it.

    Returns
    -------
    Inferred
        `classification` or `regression`.

    Raises
    ------
    OptionError
        If the wanted task is none.
    UserError
        If the target suits neither task.
    """
    check_target(target, wanted)
    is_few = target.is_whole and target.distinct_count <= min(FEW_DISTINCT_VALUES, target.rows / 5)
    task = wanted
    if not task:
        task = "classification" if is_few or not target.is_numeric else "regression"
    shown = describe_distinct(target)
    if task == "classification" and target.distinct_count > min(MAX_DISTINCT_KEPT, target.rows / 2):
        raise UserError(
            f"{target.name} has {shown} in {target.rows:,} rows, too many for classes; group them, or predict a number"
        )
    if wanted:
        return Inferred(task, "as you said")
    if not target.is_numeric:
        kind = "text"
    else:
        kind = "whole numbers" if target.is_whole else "numbers"
    return Inferred(task, f"{target.name} holds {kind}, {shown}")


def is_identifier_name(name: str) -> bool:
    """Return whether a name ends as those of identifiers do, such as `customerId` or `order_no`."""
    separated = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    words = re.findall(r"[a-z]+", separated)
    return bool(words) and words[-1] in IDENTIFIER_WORDS


def find_identifier_reason(profile: ColumnProfile, values: pd.Series) -> str | None:
    """Return why a column names rows rather than describing them, or None where it does not.

    Parameters
    ----------
    profile
        The profile of the whole column.
    values
        A sample of its values.
    """
    present = values.dropna()
    distinct = present.nunique()
    is_unique = len(present) >= MIN_ROWS and distinct > UNIQUE_SHARE * len(present)
    if profile.type == "str":
        if not is_unique:
            return None
        is_prose = present.str.count(r"\s").mean() > MIN_PROSE_SPACES
        return "free text" if is_prose else "identifier"
    if profile.type != "int64" or distinct <= FEW_DISTINCT_VALUES:
        return None
    if is_identifier_name(profile.name):
        repeated = f"identifier that repeats: GROUP={profile.name} keeps its rows together"
        return "identifier" if is_unique else repeated
    is_row_number = is_unique and profile.high - profile.low + 1 == profile.rows
    return "row number" if is_row_number else None


def compute_leakage(column: pd.Series, target: np.ndarray, is_classification: bool) -> float:
    """Compute the share of the target that one column alone explains.

    A tree predicts the target from the column, for rows that it did not learn from (three folds). Its error is compared
    with that of guessing the commonest class, or the mean.

    Parameters
    ----------
    column
        The column, of length n.
    target
        The class codes or the numbers of the target, of shape (n,).
    is_classification
        Whether the target is a class.

    Returns
    -------
    float
        One minus the ratio of the errors: 1 explains all of the target, 0 none of it.
    """
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if not pd.api.types.is_numeric_dtype(column):
        column = column.astype("category").cat.codes
    codes = column.to_numpy(dtype=float)[:, None]
    folds = KFold(3, shuffle=True, random_state=0)
    if is_classification:
        predicted = cross_val_predict(DecisionTreeClassifier(random_state=0), codes, target, cv=folds)
        error = np.mean(target != predicted)
        worst = np.mean(target != np.bincount(target).argmax())
    else:
        predicted = cross_val_predict(DecisionTreeRegressor(random_state=0), codes, target, cv=folds)
        error = np.mean((target - predicted) ** 2)
        worst = np.mean((target - target.mean()) ** 2)
    return 1 - float(error / worst) if worst else 1.0


def find_plain_reason(profile: ColumnProfile, values: pd.Series, wish: DataParams) -> str | None:
    """Return why the model must not see a column, without a look at the target; None where there is no reason."""
    if profile.name == wish.group:
        return "group"
    if profile.name in wish.sensitive:
        return "sensitive: watched, not learned from"
    is_constant = profile.distinct_count < 2 and profile.missing_count in (0, profile.rows)
    if is_constant:
        return "constant" if profile.distinct_count else "empty"
    return find_identifier_reason(profile, values)


def find_excluded_columns(
    rows: pd.DataFrame, profiles: dict[str, ColumnProfile], wish: DataParams, task: str
) -> ExcludedColumns:
    """Find the columns that the model must not see.

    Parameters
    ----------
    rows
        A sample of the table.
    profiles
        The profile of each column.
    wish
        What the table's owner says of it.
    task
        `classification` or `regression`.

    Returns
    -------
    ExcludedColumns
        These columns with their reasons, and notes on doubtful ones.
    """
    excluded = ExcludedColumns()
    is_classification = task == "classification"
    target = rows[wish.target]
    truth = target.astype("category").cat.codes.to_numpy() if is_classification else target.to_numpy(dtype=float)
    for name, profile in profiles.items():
        if name in (wish.target, wish.time):
            continue
        reason = find_plain_reason(profile, rows[name], wish)
        if reason:
            excluded.reasons[name] = reason
            continue
        leakage = compute_leakage(rows[name], truth, is_classification)
        if leakage >= LEAKAGE_SHARE:
            excluded.reasons[name] = f"gives {wish.target} away"
        elif leakage >= SUSPICIOUS_SHARE:
            note = f"{name} alone tells {leakage:.0%} of {wish.target}; leave it out if it is known only afterwards"
            excluded.notes.append(note)
    return excluded


def choose_metric(task: str, target: pd.Series) -> InferredMetric:
    """Choose the primary metric.

    Parameters
    ----------
    task
        `classification` or `regression`.
    target
        A sample of the target.
    """
    if task == "regression":
        return InferredMetric("rmse", 1.05 * float(target.std()), f"in units of {target.name}")
    shares = target.value_counts(normalize=True).to_numpy()
    if len(shares) == 2:
        return InferredMetric("roc_auc", 0.5, "two classes: how well one is ranked above the other")
    entropy = -float((shares * np.log(shares)).sum())
    return InferredMetric("log_loss", 1.05 * entropy, f"{len(shares)} classes: how sure and right")


def choose_estimator(task: str, target: ColumnProfile) -> tuple[str, dict[str, Any]]:
    """Choose an estimator that suits the task and the number of rows.

    Returns
    -------
    tuple[str, dict[str, Any]]
        The estimator's full name, and its arguments. Boosting fits as many trees a round as there are classes, so many
        classes get fewer rounds.
    """
    is_small = target.rows < MIN_BOOSTING_ROWS
    if task == "classification":
        name = LINEAR_CLASSIFIER if is_small else BOOSTED_CLASSIFIER
    else:
        name = LINEAR_REGRESSOR if is_small else BOOSTED_REGRESSOR
    arguments = dict(ESTIMATOR_DEFAULTS[name].arguments)
    if name == BOOSTED_CLASSIFIER and target.distinct_count >= 3:
        arguments["max_iter"] = max(20, min(150, 1500 // target.distinct_count))
    return name, arguments


def sample_for_inference(path: Path, column_count: int) -> pd.DataFrame:
    """Return so many rows that looking at each column takes seconds."""
    least, most = SAMPLE_ROWS
    return sample_rows(path, max(least, min(most, SAMPLE_CELLS // column_count)))


def select_features(profiles: dict[str, ColumnProfile], wish: DataParams, excluded: ExcludedColumns) -> list[str]:
    """Return the columns that the model may see.

    Raises
    ------
    UserError
        If there is none.
    """
    features = [name for name in profiles if name not in excluded.reasons and name != wish.target]
    if not features:
        listed = ", ".join(f"{name}: {reason}" for name, reason in excluded.reasons.items())
        sentence = f"no column is left to learn from ({listed}); bring others"
        raise UserError(sentence + suggest_time(excluded, profiles))
    return features


def suggest_time(excluded: ExcludedColumns, profiles: dict[str, ColumnProfile]) -> str:
    """Return the option for a column that may be the time of a row; empty where none may be."""
    named = [name for name in excluded.reasons if not name.startswith("unnamed_")]
    for type_ in ("datetime64[us]", "int64"):
        for name in named:
            if profiles[name].type == type_:
                return f", or say TIME={shlex.quote(name)} where that is the time of a row"
    return ""


def infer_params(path: Path, profiles: dict[str, ColumnProfile], wish: DataParams) -> InferredParams:
    """Infer what params.yaml is to hold for a table.

    Parameters
    ----------
    path
        The table as a Parquet file.
    profiles
        The profile of each column.
    wish
        What the table's owner says of it.

    Returns
    -------
    InferredParams
        The values of its blocks, with reasons.

    Raises
    ------
    UserError
        If nothing can be learned from the table.
    """
    target = profiles[wish.target]
    if target.rows < MIN_ROWS:
        raise UserError(f"there are {target.rows} rows with a {target.name}; bring {MIN_ROWS} at the least")
    task, task_reason = infer_task(target, wish.task)
    rows = sample_for_inference(path, len(profiles))
    excluded = find_excluded_columns(rows, profiles, wish, task)
    features = select_features(profiles, wish, excluded)
    metric = choose_metric(task, rows[wish.target])
    estimator, arguments = choose_estimator(task, target)
    texts = [name for name in features if profiles[name].type == "str"]
    slices = [name for name in texts if 2 <= profiles[name].distinct_count <= MAX_SLICE_VALUES]
    roles = {"target": wish.target, "time": wish.time, "group": wish.group}
    columns = {"features": features, "left_out": excluded.reasons, "sensitive": wish.sensitive}
    gate = {"slices": slices[:2], "floors": {metric.name: float(f"{metric.floor:.3g}")}}
    blocks: ParamBlocks = {
        "data": {"path": wish.path, "task": task, **roles, **columns},
        "train": {"estimator": estimator, "arguments": arguments, "window": "all", "start": None},
        "evaluate": {"metric": metric.name, "cost": None},
        "gate": {"margin": None, "ceiling": None, **gate},
        "sweep": {"space": ESTIMATOR_DEFAULTS[estimator].space},
    }
    estimator_reason = f"{target.rows:,} rows" + (": linear" if target.rows < MIN_BOOSTING_ROWS else "")
    reasons = {"task": task_reason, "metric": metric.reason, "estimator": estimator_reason}
    return InferredParams(blocks, reasons, excluded.notes)


def find_key(path: Path, profiles: dict[str, ColumnProfile], left_out: dict[str, str]) -> list[str]:
    """Find a single column that tells rows apart.

    Parameters
    ----------
    path
        The table as a Parquet file.
    profiles
        The profile of each column.
    left_out
        The columns that the model does not see, with the reason.

    Returns
    -------
    list[str]
        The name of an identifier, by its name too, that no two rows share; empty where there is none.
    """
    for name, reason in left_out.items():
        is_candidate = reason == "identifier" and is_identifier_name(name) and not profiles[name].missing_count
        if is_candidate and not duplicate_hashes(path, [name]).size:
            return [name]
    return []
