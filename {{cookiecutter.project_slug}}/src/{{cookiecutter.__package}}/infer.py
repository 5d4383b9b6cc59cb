"""What a table is for: its task, the columns that must stay out, the estimator, the metric; each with its reason."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .config import UserError
from .facts import CLASSES, Facts, repeated, sample

FEW_ROWS = 30
FEW_VALUES = 20
LINEAR_BELOW = 2000  # rows; a linear model learns more from so few
GIVES_AWAY, SUSPECT, LIKE_TARGET = 0.995, 0.9, 0.5  # the share of the target that one column tells
IDS = frozenset(("id", "ids", "uuid", "guid", "number", "nr", "no"))  # as the last word of a name
ALONE = frozenset(("index", "key", "row"))  # as the whole name
CLASSES_PER_TREE = 1500
BOOSTING = {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 15, "l2_regularization": 1.0}
SPACES: dict[str, dict[str, Any]] = {
    "HistGradientBoosting": {
        "learning_rate": {"low": 0.01, "high": 0.2, "log": True},
        "max_leaf_nodes": {"low": 7, "high": 63, "log": True},
        "l2_regularization": {"low": 0.01, "high": 10.0, "log": True},
    },
    "LogisticRegression": {"C": {"low": 0.001, "high": 100.0, "log": True}},
    "Ridge": {"alpha": {"low": 0.01, "high": 1000.0, "log": True}},
}


@dataclass(frozen=True)
class Wishes:
    """What a person said about the table."""

    target: str
    time: str | None = None
    group: str | None = None
    sensitive: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    task: str | None = None

    @property
    def named(self) -> list[str]:
        """Every column that was named."""
        return [name for name in (self.target, self.time, self.group, *self.sensitive, *self.key) if name]


@dataclass(frozen=True)
class Findings:
    """What params.yaml will say, and why."""

    rows: int
    task: str
    features: list[str]
    left_out: dict[str, str]
    key: list[str]
    metric: str
    floor: float
    estimator: str
    arguments: dict[str, Any]
    space: dict[str, Any]
    slices: list[str]
    reasons: dict[str, str]
    notes: list[str]


def words(name: str) -> list[str]:
    """The words of a column name: `customerId` and `customer_id` have the same two."""
    return re.findall(r"[a-z]+|[0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def task_of(target: Facts, wanted: str | None) -> tuple[str, str]:
    """Classification or regression, with the reason; a target that is neither is a `UserError`."""
    count = len(target.values) if target.values is not None else CLASSES + 1
    shown = f"{count:,} values" if count <= CLASSES else f"more than {CLASSES:,} values"
    if wanted not in (None, "classification", "regression"):
        raise UserError(f"TASK={wanted} is no task; say TASK=classification or TASK=regression")
    if count == 1:
        raise UserError(f"every row says {target.name} = {target.distinct[0]}; there is nothing to tell apart")
    if target.type == "datetime64[us]":
        raise UserError(f"{target.name} holds times; a target is a number or a class")
    if wanted == "regression" and not target.numeric:
        raise UserError(f"{target.name} is text, and regression predicts numbers; leave TASK out")
    few = not target.numeric or (target.whole and count <= FEW_VALUES and count <= target.rows / 5)
    task = wanted or ("classification" if few else "regression")
    if task == "classification" and count > min(CLASSES, target.rows / 2):
        raise UserError(
            f"{target.name} has {shown} in {target.rows:,} rows, too many for classes; group them, or predict a number"
        )
    kind = "text" if not target.numeric else "whole numbers" if target.whole else "numbers"
    return task, "as you said" if wanted else f"{target.name} holds {kind}, {shown}"


def identifier(facts: Facts, values: pd.Series) -> str | None:
    """Why a column names rows rather than describing them, or None."""
    full = values.dropna()
    count = full.nunique()
    many = len(full) >= FEW_ROWS and count > 0.9 * len(full)
    named = words(facts.name) or [""]
    counts = named[-1] in IDS or (len(named) == 1 and named[0] in ALONE) or "unnamed" in named
    if facts.type == "str":
        prose = many and full.str.count(r"\s").mean() > 3
        if many:
            return "free text" if prose else "identifier"
    elif facts.type != "int64":
        return None
    elif many and facts.high - facts.low + 1 == facts.rows:
        return "row number"
    if not counts or count <= FEW_VALUES:
        return None
    return "identifier" if many else f"identifier that repeats: GROUP={facts.name} keeps its rows together"


def told_by(column: pd.Series, target: np.ndarray, classes: bool) -> float:
    """The share of the target that one column alone tells, on rows that were not learned from: 1 is all of it."""
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if pd.api.types.is_numeric_dtype(column):
        codes = column.to_numpy(dtype=float)
    else:
        codes = pd.Categorical(column, sorted(column.dropna().unique())).codes.astype(float)
    tree = (DecisionTreeClassifier if classes else DecisionTreeRegressor)(random_state=0)
    said = cross_val_predict(tree, codes[:, None], target, cv=KFold(3, shuffle=True, random_state=0))
    if classes:
        usual = float(np.bincount(target).max()) / len(target)
        return 1 - float((said != target).mean()) / max(1 - usual, 1 / len(target))
    return 1 - float(((said - target) ** 2).mean() / max(target.var(), np.finfo(float).tiny))


def leaks(rows: pd.DataFrame, target: str, task: str, skip: set[str]) -> tuple[dict[str, str], list[str]]:
    """Columns that give the target away, and a sentence for each that nearly does."""
    classes, found, notes = task == "classification", dict[str, str](), list[str]()
    truth = rows[target].astype("category").cat.codes.to_numpy() if classes else rows[target].to_numpy(dtype=float)
    for name in (str(name) for name in rows if name not in skip and name != target):
        told = told_by(rows[name], truth, classes)
        alike = len(words(target)) > 0 and set(words(target)) <= set(words(name))
        if told >= GIVES_AWAY:
            found[name] = f"gives {target} away"
        elif alike and told >= LIKE_TARGET:
            found[name] = f"is named like {target} and tells {told:.0%} of it"
        elif told >= SUSPECT:
            notes.append(f"{name} alone tells {told:.0%} of {target}; leave it out if it is known only afterwards")
    return found, notes


def left_out(path: Path, facts: dict[str, Facts], wishes: Wishes, task: str) -> tuple[dict[str, str], list[str]]:
    """The columns that the model must not see, each with the reason, and sentences about doubtful ones."""
    rows = sample(path, max(200, min(10_000, 2_000_000 // len(facts))))
    found: dict[str, str] = {}
    for name, column in facts.items():
        if column.gaps == column.rows:
            found[name] = "empty"
        elif column.gaps == 0 and column.values is not None and len(column.values) == 1:
            found[name] = "constant"
        elif name != wishes.time and (reason := identifier(column, rows[name])):
            found[name] = reason
    found |= dict.fromkeys(wishes.sensitive, "sensitive: watched, not learned from")
    if wishes.group:
        found[wishes.group] = "group"
    found.pop(wishes.target, None)
    named, notes = leaks(rows, wishes.target, task, {*found, wishes.time or ""})
    return {name: reason for name, reason in {**found, **named}.items() if name != wishes.time}, notes


def key_of(path: Path, facts: dict[str, Facts], wishes: Wishes, gone: dict[str, str]) -> list[str]:
    """The columns that tell rows apart: those named, else a single identifier that every row has."""
    if wishes.key:
        if count := repeated(path, wishes.key):
            raise UserError(f"KEY={','.join(wishes.key)} does not tell rows apart: {count:,} repeat an earlier one")
        return wishes.key
    ids = [n for n, why in gone.items() if why == "identifier" and not facts[n].gaps]
    unique = [name for name in ids if not repeated(path, [name])]
    return unique[:1]


def recipe(task: str, rows: int, classes: int) -> tuple[str, dict[str, Any], str]:
    """An estimator with its arguments that suits the task and the number of rows, and why."""
    classifies = task == "classification"
    if rows < LINEAR_BELOW:
        why = f"fewer than {LINEAR_BELOW:,} rows: linear"
        if classifies:
            return "sklearn.linear_model.LogisticRegression", {"C": 1.0, "max_iter": 1000}, why
        return "sklearn.linear_model.Ridge", {"alpha": 1.0}, why
    kind = "Classifier" if classifies else "Regressor"
    rounds = max(20, min(150, CLASSES_PER_TREE // classes)) if classes > 2 else 150
    arguments = {**BOOSTING, "max_iter": rounds, "max_leaf_nodes": 31 if rows > 100_000 else 15}
    return f"sklearn.ensemble.HistGradientBoosting{kind}", arguments, "gaps, categories and many rows are no trouble"


def measure(task: str, target: Facts, values: pd.Series) -> tuple[str, float, str]:
    """The primary metric, what guessing reaches in it, and why this one."""
    if task == "regression":
        return "rmse", round_up(float(values.std(ddof=0))), f"in units of {target.name}"
    shares = values.value_counts(normalize=True).to_numpy()
    if len(shares) == 2:
        return "roc_auc", 0.5, "two classes: how well one is ranked above the other"
    return "log_loss", round_up(float(-(shares * np.log(shares)).sum())), f"{len(shares)} classes: how sure and right"


def round_up(value: float) -> float:
    """The next number of three digits: the sample's is not the holdout's."""
    return float(f"{value * 1.05:.3g}")


def slices_of(facts: dict[str, Facts], features: list[str], share: float) -> list[str]:
    """At most two features whose few values part the holdout into slices of 50 rows and more."""
    found = []
    for name in features:
        column = facts[name]
        few = column.values is not None and 2 <= len(column.values) <= 12 and not column.gaps
        if few and column.type == "str" and column.rows * share / len(column.values or ()) >= 50:
            found.append(name)
    return found[:2]


def infer(path: Path, facts: dict[str, Facts], wishes: Wishes, share: float) -> Findings:
    """Everything that params.yaml needs to know about a table; what cannot be learned from is a `UserError`."""
    target = facts[wishes.target]
    if target.rows < FEW_ROWS:
        raise UserError(f"there are {target.rows} rows with a {target.name}; bring {FEW_ROWS} at the least")
    task, why_task = task_of(target, wishes.task)
    gone, notes = left_out(path, facts, wishes, task)
    features = [name for name in facts if name not in gone and name != wishes.target]
    if not features:
        listed = ", ".join(f"{name}: {why}" for name, why in gone.items())
        raise UserError(f"no column is left to learn from ({listed}); bring others")
    values = sample(path, 1_000_000, [wishes.target])[wishes.target]
    classes = len(target.values or ()) if task == "classification" else 0
    metric, floor, why_metric = measure(task, target, values)
    estimator, arguments, why_estimator = recipe(task, target.rows, classes)
    rare = values.value_counts().lt(10).sum() if classes else 0
    if rare:
        notes.append(f"{rare} of {classes} classes have fewer than 10 rows; nobody can tell how well they are known")
    space = next(space for name, space in SPACES.items() if name in estimator)
    reasons = {"task": why_task, "metric": why_metric, "estimator": why_estimator}
    key, parts = key_of(path, facts, wishes, gone), slices_of(facts, features, share)
    return Findings(
        target.rows, task, features, gone, key, metric, floor, estimator, arguments, space, parts, reasons, notes
    )
