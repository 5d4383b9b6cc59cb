"""The rules of the gate beside the verdict: floors, ceiling, dummy, slices, fairness and budgets."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.errors import SettingError
from modelyard.core.files import read_json, sha256
from modelyard.core.params import Params
from modelyard.core.paths import MODEL_FILE, TRAINING_JSON
from modelyard.core.predictions import Predictions
from modelyard.data.schema_fields import read_personal_columns
from modelyard.gate.pairs import PairedPredictions
from modelyard.pipeline.model_file import list_untrusted_types
from modelyard.statistics.metrics import get_metric

RuleResult = dict[str, Any]  # name, passed, blocking, sentence
SliceResults = list[dict[str, Any]]
RANKING_METRICS = ("roc_auc", "average_precision")  # a dummy ranks nothing
MAX_DISTINCT_LABELS = 10  # a number with more distinct values is sliced by its quarters
MIN_GROUP_ROWS = 50


def build_rule_result(name: str, passed: bool, sentence: str, *, blocking: bool = True) -> RuleResult:
    """Return the line of one rule in the verdict."""
    return {"name": name, "passed": bool(passed), "blocking": blocking, "sentence": sentence}


def check_all_rules(
    pairs: PairedPredictions,
    candidate: Predictions,
    dummy: Predictions,
    slices: SliceResults,
) -> list[RuleResult]:
    """Return a line for each rule beside the verdict.

    Parameters
    ----------
    pairs
        The predictions of both models, n rows.
    candidate
        The candidate's predictions of the same rows.
    dummy
        Those of a model without features.
    slices
        The comparisons by slice.
    """
    metrics = pairs.compute_metrics(pairs.candidate)
    results = check_floors(pairs.params, metrics)
    results += check_ceiling(pairs.params, metrics)
    results.append(check_beats_dummy(pairs, candidate, dummy))
    results += check_slices(slices)
    results += check_fairness(pairs)
    results += check_size(pairs.params)
    results += check_training_budgets(pairs.params)
    return results


def check_floors(params: Params, metrics: dict[str, float]) -> list[RuleResult]:
    """Check that the candidate reaches the values of `gate.floors`.

    Raises
    ------
    SettingError
        A floor names a metric that the task does not have.
    """
    results = []
    for name, floor in params.gate.floors.items():
        if name not in metrics:
            raise SettingError("gate.floors", f"names {name}", f"this task has {', '.join(metrics)}")
        value = metrics[name]
        if get_metric(name).higher_is_better:
            results.append(build_rule_result("floor", value >= floor, f"{name} {value:.4g} ≥ {floor:g}"))
        else:
            results.append(build_rule_result("floor", value <= floor, f"{name} {value:.4g} ≤ {floor:g}"))
    return results


def check_ceiling(params: Params, metrics: dict[str, float]) -> list[RuleResult]:
    """Check that the candidate is not too good to be true."""
    ceiling = params.gate.ceiling
    if ceiling is None:
        return []
    name = params.evaluate.metric
    value = metrics[name]
    passed = value <= ceiling if get_metric(name).higher_is_better else value >= ceiling
    return [build_rule_result("ceiling", passed, f"{name} {value:.4g}; beyond {ceiling:g} a leak is likely")]


def check_beats_dummy(pairs: PairedPredictions, candidate: Predictions, dummy: Predictions) -> RuleResult:
    """Check that the candidate beats a model without features; too few rows to tell only warn."""
    metric = pairs.params.evaluate.metric
    if metric in RANKING_METRICS:
        metric = "log_loss"
    found = PairedPredictions.of(pairs.params, pairs.rows, dummy, candidate).compare_metric(metric)
    sentence = f"{metric} {found.candidate:.4g} against {found.champion:.4g} of a dummy model"
    return build_rule_result("dummy", found.low > 0, sentence, blocking=pairs.count_rows().is_sufficient)


def check_slices(slices: SliceResults) -> list[RuleResult]:
    """Check that no slice became worse."""
    if not slices:
        return []
    worse = [f"{part['column']} = {part['value']}" for part in slices if part["blocks"]]
    if worse:
        return [build_rule_result("slices", False, f"worse in {', '.join(worse)}")]
    return [build_rule_result("slices", True, f"none of {len(slices)} slices became worse")]


def build_slice_results(pairs: PairedPredictions) -> SliceResults:
    """Compare both models in every slice of the columns in `gate.slices` and `data.sensitive`."""
    columns = [*pairs.params.gate.slices, *pairs.params.data.sensitive]
    labels = label_slices(pairs.rows, list(dict.fromkeys(columns)))
    return [asdict(part) for part in pairs.compare_slices(labels)]


def label_slices(rows: pd.DataFrame, columns: list[str]) -> dict[str, np.ndarray]:
    """Return the slice of each row for each column, shape (n,).

    A slice is a value, the quarter of a number, or the month of a time. The values of a personal column are numbered,
    so that the report shows none of them.

    Raises
    ------
    SettingError
        The data does not have the column.
    """
    personal = read_personal_columns()
    labels = {}
    for column in columns:
        if column not in rows:
            raise SettingError("gate.slices", f"names {column}, which the data does not have", "name another column")
        text = _label_values(rows[column])
        if column in personal:
            numbers = text.rank(method="dense", na_option="bottom").astype(int)
            text = "group " + numbers.astype(str)
        labels[column] = text.to_numpy()
    return labels


def _label_values(values: pd.Series) -> "pd.Series[str]":
    """Return the slice of each value of a column."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > MAX_DISTINCT_LABELS:
        return pd.qcut(values, 4, duplicates="drop").astype(str)
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.to_period("M").astype(str)
    return values.astype(str)


def check_fairness(pairs: PairedPredictions) -> list[RuleResult]:
    """Check that the groups of each sensitive column are treated alike; without `gate.fairness` that only informs."""
    limit = pairs.params.gate.fairness
    results = []
    for column, groups in label_slices(pairs.rows, pairs.params.data.sensitive).items():
        gaps = compute_fairness_gaps(pairs.truth, pairs.candidate, groups)
        passed = limit is None or max(gaps.values()) <= limit
        differences = [f"{name} differs by {gap:.3g}" for name, gap in gaps.items()]
        sentence = f"{column}: {', '.join(differences)} between its groups"
        results.append(build_rule_result("fairness", passed, sentence, blocking=limit is not None))
    return results


def compute_fairness_gaps(truth: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Return the largest differences between groups by fairness measure.

    For classes these are how often the last class is predicted in a group (demographic parity), and how often in its
    rows of that class (equal opportunity); for numbers the mean prediction and the mean error.

    Parameters
    ----------
    truth
        Class codes or numbers, shape (n,).
    scores
        Probabilities, shape (n, k), or numbers, shape (n,).
    groups
        The group of each row, shape (n,).
    """
    if scores.ndim == 1:
        return {
            "mean prediction": compute_group_gap(scores, groups),
            "mean error": compute_group_gap(scores - truth, groups),
        }
    last_class = scores.shape[1] - 1
    predicted = scores.argmax(axis=1) == last_class
    actual = truth == last_class
    return {
        "demographic parity": compute_group_gap(predicted, groups),
        "equal opportunity": compute_group_gap(predicted[actual], groups[actual]),
    }


def compute_group_gap(values: np.ndarray, groups: np.ndarray) -> float:
    """Return the largest difference between the means of groups with at least 50 rows; 0 where there are not two."""
    by_group = pd.Series(np.asarray(values, float)).groupby(groups).agg(["mean", "size"])
    means = by_group["mean"][by_group["size"] >= MIN_GROUP_ROWS]
    return float(means.max() - means.min()) if len(means) else 0.0


def check_size(params: Params) -> list[RuleResult]:
    """Check the size of the model's file against `gate.megabytes`."""
    budget = params.gate.megabytes
    if budget is None:
        return []
    size = MODEL_FILE.stat().st_size / 1e6
    return [build_rule_result("size", size <= budget, f"{size:.2f} MB of {budget:g}")]


def check_latency(params: Params, milliseconds: float | None) -> list[RuleResult]:
    """Check the CPU time of one row, as the candidate's own process measured it, against `gate.milliseconds`."""
    budget = params.gate.milliseconds
    if budget is None or milliseconds is None:
        return []
    return [build_rule_result("latency", milliseconds <= budget, f"{milliseconds:.1f} ms a row of {budget:g}")]


def check_types() -> list[RuleResult]:
    """Check that the model file holds only types that the library or the base's `TRUSTED_TYPES` lists."""
    strangers = list_untrusted_types(MODEL_FILE)
    if not strangers:
        return []
    sentence = f"{', '.join(strangers)} is not a reviewed type; bring it to TRUSTED_TYPES of the base first"
    return [build_rule_result("types", False, sentence)]


def check_retarget(params: Params, obstacle: str) -> list[RuleResult]:
    """Check that the base's rules fit the branch; what happens else is for `gate.retarget` of the base."""
    if not obstacle:
        return []
    sentence = f"this branch {obstacle}; `gate.retarget: warn` on the base allows it"
    return [build_rule_result("retarget", False, sentence, blocking=params.gate.retarget == "block")]


def check_training_budgets(params: Params) -> list[RuleResult]:
    """Check the CPU seconds and the memory of the training, where this model was trained on this machine."""
    training = read_json(TRAINING_JSON) if TRAINING_JSON.exists() else {}
    if training.get("model") != sha256(MODEL_FILE):
        return []
    budgets = (
        ("training time", training["seconds"], params.gate.seconds, "CPU s"),
        ("training memory", training["megabytes"], params.gate.peak, "MB"),
    )
    results = []
    for name, spent, budget, unit in budgets:
        if budget is not None:
            results.append(build_rule_result(name, spent <= budget, f"{spent:,.4g} {unit} of {budget:,.6g}"))
    return results
