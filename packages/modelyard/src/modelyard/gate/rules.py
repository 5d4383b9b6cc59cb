"""TODO doc."""

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.files import read_json, sha256
from modelyard.core.params import Params
from modelyard.core.paths import MODEL_FILE, TRAINING_JSON
from modelyard.data.schema_fields import read_personal_columns
from modelyard.gate import champion
from modelyard.gate.pairs import PairedPredictions
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.statistics.comparison import Difference, compare_slices
from modelyard.statistics.metrics import get_metric

SliceResults = list[dict[str, Any]]


def build_rule_result(name: str, passed: bool, sentence: str, *, blocking: bool = True) -> dict[str, Any]:
    """One further rule's line in the verdict."""
    return {"name": name, "passed": bool(passed), "blocking": blocking, "sentence": sentence}


def check_floors_and_ceiling(params: Params, metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Floors and the leakage ceiling: what the candidate must reach, and what is too good to be true."""
    found = []
    for name, floor in params.gate.floors.items():
        if name not in metrics:
            raise UserError(f"gate.floors names {name}, which this task does not have: {', '.join(metrics)}")
        higher = get_metric(name).higher_is_better
        holds = metrics[name] >= floor if higher else metrics[name] <= floor
        found.append(
            build_rule_result("floor", holds, f"{name} {metrics[name]:.4g} {'≥' if higher else '≤'} {floor:g}")
        )
    name, ceiling = params.evaluate.metric, params.gate.ceiling
    if ceiling is not None:
        holds = metrics[name] <= ceiling if get_metric(name).higher_is_better else metrics[name] >= ceiling
        found.append(
            build_rule_result("ceiling", holds, f"{name} {metrics[name]:.4g}; beyond {ceiling:g} a leak is likely")
        )
    return found


def check_beats_dummy(sides: PairedPredictions, mine: pd.DataFrame) -> dict[str, Any]:
    """The candidate beats a model without features; with too few rows to tell, that is only shown."""
    metric = sides.params.evaluate.metric
    metric = "log_loss" if metric in ("roc_auc", "average_precision") else metric
    against = PairedPredictions.of(sides.params, sides.rows, champion.predict_dummy(sides.rows), mine).compare_metric(
        metric
    )
    sentence = f"{metric} {against.candidate:.4g} against {against.champion:.4g} of a dummy model"
    return build_rule_result("dummy", against.low > 0, sentence, blocking=sides.size().is_sufficient)


def check_budgets(params: Params, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The model's size, and the CPU time of one row through the model as it is."""
    from threadpoolctl import threadpool_limits

    found = []
    if params.gate.megabytes is not None:
        size = MODEL_FILE.stat().st_size / 1e6
        found.append(
            build_rule_result("size", size <= params.gate.megabytes, f"{size:.2f} MB of {params.gate.megabytes:g}")
        )
    if params.gate.milliseconds is not None:
        pipeline, one, spent = load_model(MODEL_FILE), select_features(params, rows.head(1)), []
        with threadpool_limits(1):
            for _ in range(9):
                start = time.process_time()
                predict_frame(pipeline, one)
                spent.append(1000 * (time.process_time() - start))
        took = min(spent)  # what the model costs, not what else the machine was doing
        budget = params.gate.milliseconds
        found.append(build_rule_result("latency", took <= budget, f"{took:.1f} ms a row of {budget:g}"))
    return [*found, *check_training_budgets(params)]


def check_training_budgets(params: Params) -> list[dict[str, Any]]:
    """The CPU seconds and the memory of learning, where this model was learned here."""
    took = read_json(TRAINING_JSON) if TRAINING_JSON.exists() else {}
    if took.get("model") != sha256(MODEL_FILE):
        return []
    limits = [
        ("training time", took["seconds"], params.gate.seconds, "CPU s"),
        ("training memory", took["megabytes"], params.gate.peak, "MB"),
    ]
    return [
        build_rule_result(name, spent <= budget, f"{spent:,.4g} {unit} of {budget:,.6g}")
        for name, spent, budget, unit in limits
        if budget is not None
    ]


def label_slices(rows: pd.DataFrame, names: list[str]) -> dict[str, np.ndarray]:
    """The slice of each row for each named column: its value, or its quarter where it is a number."""
    found, hidden = {}, read_personal_columns()
    for name in names:
        if name not in rows:
            raise UserError(f"gate.slices names {name}, which the data does not have")
        values = rows[name]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 10:
            values = pd.qcut(values, 4, duplicates="drop")
        elif pd.api.types.is_datetime64_any_dtype(values):
            values = values.dt.to_period("M")
        text = values.astype(str)
        if name in hidden:
            text = "group " + text.rank(method="dense", na_option="bottom").astype(int).astype(str)
        found[name] = text.to_numpy()
    return found


def build_slice_results(sides: PairedPredictions) -> SliceResults:
    """The same paired test in every slice that has enough rows, corrected for their number."""
    gate = sides.params.gate
    columns = list(dict.fromkeys([*gate.slices, *sides.params.data.sensitive]))
    found = sides.apply_comparison(
        compare_slices, sides.params.evaluate.metric, label_slices(sides.rows, columns), gate.margin
    )
    return [asdict(item) for item in found]


def compute_group_gap(values: np.ndarray, groups: np.ndarray) -> float:
    """The largest difference between the means of groups with at least 50 rows; 0 where there are not two."""
    means = pd.Series(np.asarray(values, float)).groupby(groups).agg(["mean", "size"]).query("size >= 50")["mean"]
    return float(means.max() - means.min()) if len(means) else 0.0


def check_fairness(sides: PairedPredictions) -> list[dict[str, Any]]:
    """The gaps between the groups of each sensitive column.

    Of a classifier how often it says the last class: to all (demographic parity), and to those that
    are of it (equal opportunity); of a regressor the mean prediction and the mean error.
    """
    last, found = sides.candidate.shape[-1] - 1, []
    for name, groups in label_slices(sides.rows, sides.params.data.sensitive).items():
        if sides.candidate.ndim == 2:
            said, true = sides.candidate.argmax(1) == last, sides.truth == last
            gaps = {
                "demographic parity": compute_group_gap(said, groups),
                "equal opportunity": compute_group_gap(said[true], groups[true]),
            }
        else:
            errors = sides.candidate - sides.truth
            gaps = {
                "mean prediction": compute_group_gap(sides.candidate, groups),
                "mean error": compute_group_gap(errors, groups),
            }
        limit = sides.params.gate.fairness
        holds = limit is None or max(gaps.values()) <= limit
        text = f"{name}: {', '.join(f'{kind} differs by {value:.3g}' for kind, value in gaps.items())}"
        found.append(build_rule_result("fairness", holds, f"{text} between its groups", blocking=limit is not None))
    return found


def check_cumulative_drop(
    sides: PairedPredictions, source: str, primary: Difference, margin: float
) -> list[dict[str, Any]]:
    """Small losses must not add up: the loss since the last promotion stays within a few margins."""
    if source not in ("deployed", "rebuilt"):
        return []
    limit = -sides.params.gate.drop * margin
    text = f"{primary.difference:+.4g} since the last promotion; {limit:.4g} blocks"
    return [build_rule_result("drop", not (primary.difference <= limit and primary.high < 0), text)]


def check_all_rules(
    sides: PairedPredictions, mine: pd.DataFrame, source: str, primary: Difference, margin: float, parts: SliceResults
) -> list[dict[str, Any]]:
    """Every rule beside the verdict's word, a line each."""
    params = sides.params
    worse = ", ".join(f"{part['column']} = {part['value']}" for part in parts if part["blocks"])
    sliced = build_rule_result(
        "slices", not worse, f"worse in {worse}" if worse else f"none of {len(parts)} slices became worse"
    )
    return [
        *check_floors_and_ceiling(params, sides.metrics(sides.candidate)),
        check_beats_dummy(sides, mine),
        *check_cumulative_drop(sides, source, primary, margin),
        *([sliced] if parts else []),
        *check_fairness(sides),
        *check_budgets(params, sides.rows),
    ]
