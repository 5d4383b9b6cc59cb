"""What a table is for: its task, the columns that must stay out, the estimator, the metric; each with its reason."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.params import DataParams
from modelyard.data.duplicates import duplicate_hashes
from modelyard.data.profiling import MAX_DISTINCT_KEPT, ColumnProfile, sample_rows

MIN_ROWS = 30
FEW_DISTINCT_VALUES = 20
MIN_BOOSTING_ROWS = 2000  # rows; a linear model learns more from so few
LEAKAGE_SHARE, SUSPICIOUS_SHARE = 0.995, 0.9  # the share of the target that one column tells
IDENTIFIER_WORDS = frozenset(("id", "ids", "uuid", "guid", "number", "nr", "no", "key"))
EstimatorDefaults = tuple[dict[str, Any], dict[str, Any]]  # arguments and their search space
BOOSTING_DEFAULTS: EstimatorDefaults = (
    {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 15, "l2_regularization": 1.0},
    {
        "learning_rate": {"low": 0.01, "high": 0.2, "log": True},
        "max_leaf_nodes": {"low": 7, "high": 63, "log": True},
        "l2_regularization": {"low": 0.01, "high": 10.0, "log": True},
    },
)
ESTIMATOR_DEFAULTS: dict[str, EstimatorDefaults] = {
    "sklearn.ensemble.HistGradientBoostingClassifier": BOOSTING_DEFAULTS,
    "sklearn.ensemble.HistGradientBoostingRegressor": BOOSTING_DEFAULTS,
    "sklearn.linear_model.LogisticRegression": (
        {"C": 1.0, "max_iter": 1000},
        {"C": {"low": 0.001, "high": 100.0, "log": True}},
    ),
    "sklearn.linear_model.Ridge": ({"alpha": 1.0}, {"alpha": {"low": 0.01, "high": 1000.0, "log": True}}),
}
ParamBlocks = dict[str, dict[str, Any]]


def infer_task(target: ColumnProfile, wanted: str) -> tuple[str, str]:
    """Classification or regression, with the reason; a target that is neither is a `UserError`."""
    shown = (
        f"{target.count:,} values" if target.count <= MAX_DISTINCT_KEPT else f"more than {MAX_DISTINCT_KEPT:,} values"
    )
    if wanted not in ("", "classification", "regression"):
        raise UserError(f"TASK={wanted} is no task; say TASK=classification or TASK=regression")
    if target.count == 1:
        raise UserError(
            f"every row says {target.name} = {next(iter(target.values or ()))}; there is nothing to tell apart"
        )
    if target.type == "datetime64[us]" or (wanted == "regression" and not target.is_numeric):
        raise UserError(f"{target.name} holds no numbers; a target is a number or, without TASK=regression, a class")
    few = not target.is_numeric or (target.whole and target.count <= min(FEW_DISTINCT_VALUES, target.rows / 5))
    task = wanted or ("classification" if few else "regression")
    if task == "classification" and target.count > min(MAX_DISTINCT_KEPT, target.rows / 2):
        raise UserError(
            f"{target.name} has {shown} in {target.rows:,} rows, too many for classes; group them, or predict a number"
        )
    kind = "text" if not target.is_numeric else "whole numbers" if target.whole else "numbers"
    return task, "as you said" if wanted else f"{target.name} holds {kind}, {shown}"


def is_identifier_name(name: str) -> bool:
    """Whether a name ends like those of identifiers: `customerId`, `order_no`."""
    return bool(IDENTIFIER_WORDS & set(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())[-1:]))


def find_identifier_reason(facts: ColumnProfile, values: pd.Series) -> str | None:
    """Why a column names rows rather than describing them, or None."""
    full = values.dropna()
    count = full.nunique()
    unique = len(full) >= MIN_ROWS and count > 0.9 * len(full)
    if facts.type == "str":
        prose = unique and full.str.count(r"\s").mean() > 3
        return ("free text" if prose else "identifier") if unique else None
    if facts.type != "int64" or count <= FEW_DISTINCT_VALUES:
        return None
    if is_identifier_name(facts.name):
        return "identifier" if unique else f"identifier that repeats: GROUP={facts.name} keeps its rows together"
    return "row number" if unique and facts.high - facts.low + 1 == facts.rows else None


def compute_leakage(column: pd.Series, target: np.ndarray, classes: bool) -> float:
    """The share of the target that one column alone tells, on rows that were not learned from: 1 is all of it."""
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    numeric = pd.api.types.is_numeric_dtype(column)
    codes = column.to_numpy(dtype=float) if numeric else column.astype("category").cat.codes.to_numpy(dtype=float)
    tree = (DecisionTreeClassifier if classes else DecisionTreeRegressor)(random_state=0)
    said = cross_val_predict(tree, codes[:, None], target, cv=KFold(3, shuffle=True, random_state=0))
    guess = np.bincount(target).argmax() if classes else target.mean()
    wrong, worst = (np.mean(target != x if classes else (target - x) ** 2) for x in (said, guess))
    return 1 - float(wrong / worst) if worst else 1.0


def find_excluded_columns(
    rows: pd.DataFrame, facts: dict[str, ColumnProfile], wish: DataParams, task: str
) -> tuple[dict[str, str], list[str]]:
    """The columns that the model must not see, each with the reason, and sentences about doubtful ones."""
    found, notes, classes = dict[str, str](), list[str](), task == "classification"
    target = rows[wish.target]
    truth = target.astype("category").cat.codes.to_numpy() if classes else target.to_numpy(dtype=float)
    for name in (name for name in facts if name not in (wish.target, wish.time)):
        if name == wish.group:
            found[name] = "group"
        elif name in wish.sensitive:
            found[name] = "sensitive: watched, not learned from"
        elif facts[name].count < 2 and facts[name].missing_count in (0, facts[name].rows):
            found[name] = "constant" if facts[name].count else "empty"
        elif reason := find_identifier_reason(facts[name], rows[name]):
            found[name] = reason
        elif (told := compute_leakage(rows[name], truth, classes)) >= LEAKAGE_SHARE:
            found[name] = f"gives {wish.target} away"
        elif told >= SUSPICIOUS_SHARE:
            notes.append(f"{name} alone tells {told:.0%} of {wish.target}; leave it out if it is known only afterwards")
    return found, notes


def choose_metric(task: str, target: pd.Series) -> tuple[str, float, str]:
    """The primary metric, what guessing surely reaches in it, and why this one."""
    if task == "regression":
        return "rmse", 1.05 * float(target.std()), f"in units of {target.name}"
    shares = target.value_counts(normalize=True).to_numpy()
    if len(shares) == 2:
        return "roc_auc", 0.5, "two classes: how well one is ranked above the other"
    return "log_loss", -1.05 * float((shares * np.log(shares)).sum()), f"{len(shares)} classes: how sure and right"


def choose_estimator(task: str, target: ColumnProfile) -> tuple[str, dict[str, Any]]:
    """An estimator that suits the task and the number of rows, and its arguments; many classes are many trees."""
    few, classes = target.rows < MIN_BOOSTING_ROWS, target.count if task == "classification" else 1
    word = ("Logistic" if few else "Classifier") if classes > 1 else ("Ridge" if few else "Regressor")
    name = next(name for name in ESTIMATOR_DEFAULTS if word in name)
    rounds = {} if few or classes < 3 else {"max_iter": max(20, min(150, 1500 // classes))}
    return name, ESTIMATOR_DEFAULTS[name][0] | rounds


def infer_params(
    path: Path, facts: dict[str, ColumnProfile], wish: DataParams
) -> tuple[ParamBlocks, dict[str, str], list[str]]:
    """What params.yaml shall say, why, and what to look at; a table that cannot be learned from is a `UserError`."""
    target = facts[wish.target]
    if target.rows < MIN_ROWS:
        raise UserError(f"there are {target.rows} rows with a {target.name}; bring {MIN_ROWS} at the least")
    task, why_task = infer_task(target, wish.task)
    rows = sample_rows(path, max(200, min(10_000, 2_000_000 // len(facts))))
    gone, notes = find_excluded_columns(rows, facts, wish, task)
    features = [name for name in facts if name not in gone and name != wish.target]
    if not features:
        listed = ", ".join(f"{name}: {why}" for name, why in gone.items())
        raise UserError(f"no column is left to learn from ({listed}); bring others")
    metric, floor, why_metric = choose_metric(task, rows[wish.target])
    estimator, arguments = choose_estimator(task, target)
    slices = [name for name in features if facts[name].type == "str" and 2 <= facts[name].count <= 12]
    blocks: ParamBlocks = {
        "data": {"path": wish.path, "task": task, "target": wish.target, "time": wish.time, "group": wish.group}
        | {"features": features, "left_out": gone, "sensitive": wish.sensitive},
        "train": {"estimator": estimator, "arguments": arguments, "window": "all", "start": None},
        "evaluate": {"metric": metric, "cost": None},
        "gate": {"margin": None, "slices": slices[:2], "floors": {metric: float(f"{floor:.3g}")}, "ceiling": None},
        "sweep": {"space": ESTIMATOR_DEFAULTS[estimator][1]},
    }
    why = {
        "task": why_task,
        "metric": why_metric,
        "estimator": f"{target.rows:,} rows" + ": linear" * (target.rows < MIN_BOOSTING_ROWS),
    }
    return blocks, why, notes


def find_key(path: Path, facts: dict[str, ColumnProfile], gone: dict[str, str]) -> list[str]:
    """A single column that tells rows apart: an identifier, also by its name, that every row has but once."""
    names = (
        n for n, why in gone.items() if why == "identifier" and is_identifier_name(n) and not facts[n].missing_count
    )
    return next(([name] for name in names if not duplicate_hashes(path, [name]).size), [])
