"""The rules of the gate beside the verdict: floors, ceiling, dummy, slices, fairness and budgets."""

from collections.abc import Sequence
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
from modelyard.gate.fairness import FairnessGap, compute_fairness_gaps
from modelyard.gate.pairs import PairedPredictions
from modelyard.pipeline.model_file import list_untrusted_types
from modelyard.statistics.comparison import BEYOND_DOUBT, ConfidenceInterval, Difference, compute_interval
from modelyard.statistics.metrics import get_metric
from modelyard.statistics.paired_scores import UndefinedMetricError

RuleResult = dict[str, Any]  # name, passed, blocking, sentence
SliceResults = list[dict[str, Any]]
# F1 rewards whoever often says yes: labels that know nothing are told by the mean of both classes' shares found.
CHANCE_METRICS = {"f1": "balanced_accuracy"}
MAX_DISTINCT_LABELS = 10  # a number with more distinct values is sliced by its quarters


def build_rule_result(name: str, passed: bool, sentence: str, *, blocking: bool = True) -> RuleResult:
    """Return the line of one rule in the verdict."""
    return {"name": name, "passed": bool(passed), "blocking": blocking, "sentence": sentence}


def check_all_rules(
    pairs: PairedPredictions,
    candidate: Predictions,
    dummy: Predictions,
    primary: Difference,
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
    primary
        The difference in the primary metric.
    slices
        The comparisons by slice.
    """
    metrics = pairs.compute_metrics(pairs.candidate)
    results = check_floors(pairs, metrics)
    results += check_ceiling(pairs, primary)
    results.append(check_beats_dummy(pairs, candidate, dummy))
    results += check_slices(slices)
    results += check_fairness(pairs)
    results += check_size(pairs.params)
    results += check_training_budgets(pairs.params)
    return results


def check_floors(pairs: PairedPredictions, metrics: dict[str, float]) -> list[RuleResult]:
    """Check that the candidate reaches the values of `gate.floors`.

    Raises
    ------
    SettingError
        A floor names a metric that the task does not have.
    """
    results = []
    for name, floor in pairs.params.gate.floors.items():
        if name not in metrics:
            raise SettingError("gate.floors", f"names {name}", f"this task has {', '.join(metrics)}")
        found = compute_interval(name, pairs.truth, pairs.candidate, **pairs.options)
        results.append(check_floor(found, floor))
    return results


def check_floor(found: ConfidenceInterval, floor: float) -> RuleResult:
    """Check one floor: block where the whole interval misses it, and warn where only the value does."""
    if get_metric(found.metric).higher_is_better:
        is_missed = found.value < floor
        is_shown = found.high < floor
        sentence = f"{describe_interval(found)}, at least {floor:g}"
    else:
        is_missed = found.value > floor
        is_shown = found.low > floor
        sentence = f"{describe_interval(found)}, at most {floor:g}"
    if is_missed and not is_shown:
        sentence += "; missed, but by no more than chance explains"
    return build_rule_result("floor", not is_missed, sentence, blocking=is_shown or not is_missed)


def check_ceiling(pairs: PairedPredictions, primary: Difference) -> list[RuleResult]:
    """Check that the candidate is not too good to be true.

    A value beyond `gate.ceiling` blocks where its whole interval is beyond it, or where the candidate is better than
    the champion: a leak is a jump. Else it warns, so that a good model is not blocked by chance.
    """
    ceiling = pairs.params.gate.ceiling
    if ceiling is None:
        return []
    found = compute_interval(primary.metric, pairs.truth, pairs.candidate, **pairs.options)
    if get_metric(found.metric).higher_is_better:
        is_beyond = found.value > ceiling
        is_shown = found.low > ceiling
    else:
        is_beyond = found.value < ceiling
        is_shown = found.high < ceiling
    blocking = is_shown or primary.low > 0 or not is_beyond
    sentence = f"{describe_interval(found)}; beyond {ceiling:g} a leak is likely"
    return [build_rule_result("ceiling", not is_beyond, sentence, blocking=blocking)]


def describe_interval(found: ConfidenceInterval) -> str:
    """Return a metric's value and interval as text."""
    return f"{found.metric} {found.value:.4g} [{found.low:.4g}, {found.high:.4g}]"


def check_beats_dummy(pairs: PairedPredictions, candidate: Predictions, dummy: Predictions) -> RuleResult:
    """Check that the candidate is not worse than a model without features, in the primary metric."""
    return check_difference_to_dummy(PairedPredictions.of(pairs.params, pairs.rows, dummy, candidate))


def check_difference_to_dummy(pairs: PairedPredictions) -> RuleResult:
    """Check a candidate that is paired with a dummy as its champion.

    The dummy's value is the metric's chance level: 0.5 for the area under the ROC curve, the share of positive rows
    for average precision, the share of the largest class for accuracy. Only a candidate that is shown to be no better
    is blocked: the interval of the difference does not reach above 0, or the prediction is the same for all rows.
    """
    metric = CHANCE_METRICS.get(pairs.params.evaluate.metric, pairs.params.evaluate.metric)
    try:
        found = pairs.compare_metric(metric)
    except UndefinedMetricError:
        return build_rule_result("dummy", True, f"{metric} is not defined for a model without features")
    is_constant = not np.ptp(pairs.candidate, axis=0).any()
    passed = found.high > 0 and not is_constant
    blocking = passed or pairs.count_rows().is_sufficient or found.p_value <= BEYOND_DOUBT
    sentence = f"{metric} {found.candidate:.4g} against {found.champion:.4g} of a dummy model"
    if is_constant:
        sentence += "; the prediction is the same for all rows"
    elif found.low <= 0 < found.high:
        sentence += "; not shown to be better"
    return build_rule_result("dummy", passed, sentence, blocking=blocking)


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
    labels = label_slices(pairs.rows, pairs.params.data.sensitive)
    results = []
    for column, groups in labels.items():
        gaps = compute_fairness_gaps(
            pairs.truth,
            pairs.candidate,
            groups,
            pairs.clusters,
            confidence=pairs.params.gate.confidence,
            columns=len(labels),
        )
        results += [check_gap(column, gap, pairs.params.gate.fairness) for gap in gaps]
    return results


def check_gap(column: str, found: FairnessGap, limit: float | None) -> RuleResult:
    """Check the gap of one column in one measure: block where its whole interval is beyond the limit."""
    if not found.groups:
        sentence = f"{column}: fewer than two groups have the rows for {found.measure}"
        return build_rule_result("fairness", True, sentence, blocking=limit is not None)
    interval = f"{found.gap:.3g} [{found.low:.3g}, {found.high:.3g}]"
    sentence = f"{column}: {found.measure} differs by {interval} between {' and '.join(found.groups)}"
    if limit is None:
        return build_rule_result("fairness", True, sentence, blocking=False)
    sentence += f", limit {limit:g}"
    if found.low <= limit < found.gap:
        sentence += "; beyond it, but by no more than chance explains"
    return build_rule_result("fairness", found.low <= limit, sentence)


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


def check_retarget(params: Params, obstacles: Sequence[str]) -> list[RuleResult]:
    """Check that the base's rules fit the branch; what happens else is for `gate.retarget` of the base."""
    if not obstacles:
        return []
    sentence = f"this branch {' and '.join(obstacles)}; `gate.retarget: warn` on the base allows it"
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
