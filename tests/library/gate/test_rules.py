from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import SettingError
from modelyard.core.files import write_json
from modelyard.core.paths import SCHEMA_YAML, TRAINING_JSON
from modelyard.core.predictions import Predictions
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.gate import rules
from modelyard.gate.pairs import PairedPredictions
from modelyard.pipeline import model_file
from tests.library.gate.support import PARAMS, make_params


def make_sensitive_pairs(truth: list[int], predicted: list[int], limit: float | None) -> PairedPredictions:
    """A hundred rows of two cities, the first half of them from one."""
    params = msgspec.structs.replace(
        make_params(fairness=limit), data=msgspec.structs.replace(PARAMS.data, sensitive=["city"])
    )
    rows = pd.DataFrame({"city": np.repeat(["a", "b"], 50)})
    codes = np.array(truth)
    return PairedPredictions(params, rows, codes, np.eye(2)[codes], np.eye(2)[np.array(predicted)])


def test_floor_and_ceiling_fail_by_name() -> None:
    params = make_params(floors={"roc_auc": 0.8}, ceiling=0.6)
    results = [*rules.check_floors(params, {"roc_auc": 0.7}), *rules.check_ceiling(params, {"roc_auc": 0.7})]
    assert [(rule["name"], rule["passed"]) for rule in results] == [("floor", False), ("ceiling", False)]


def test_floor_of_a_loss_is_an_upper_bound() -> None:
    (rule,) = rules.check_floors(make_params(floors={"log_loss": 0.5}), {"log_loss": 0.4, "roc_auc": 0.7})
    assert rule["passed"]


def test_floor_of_an_unknown_metric_is_refused() -> None:
    with pytest.raises(SettingError, match="rmse") as refusal:
        rules.check_floors(make_params(floors={"rmse": 1.0}), {"roc_auc": 0.7})
    assert refusal.value.setting == "gate.floors"


@pytest.mark.parametrize(("model", "failed"), [("this one", ["training memory"]), ("another", [])])
def test_training_has_a_budget_where_it_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, failed: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rules, "sha256", lambda _: "this one")
    write_json(TRAINING_JSON, {"model": model, "seconds": 12.5, "megabytes": 300})
    results = rules.check_training_budgets(make_params(seconds=60, peak=256))
    assert [rule["name"] for rule in results if not rule["passed"]] == failed


@pytest.mark.usefixtures("project")
def test_size_and_latency_have_budgets() -> None:
    params = make_params(megabytes=0.000001, milliseconds=5.0)
    results = [*rules.check_size(params), *rules.check_latency(params, 6.5)]
    assert [(rule["name"], rule["passed"]) for rule in results] == [("size", False), ("latency", False)]


@pytest.mark.usefixtures("project")
def test_types_are_those_that_the_project_of_the_judge_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules.check_types() == []
    monkeypatch.setattr(model_file, "TRUSTED_TYPES", frozenset())
    (rule,) = rules.check_types()
    assert (rule["name"], rule["passed"], rule["blocking"]) == ("types", False, True)


@pytest.mark.parametrize(("switch", "blocking"), [("block", True), ("warn", False)])
def test_another_target_blocks_unless_the_base_allows_it(switch: str, blocking: bool) -> None:
    (rule,) = rules.check_retarget(make_params(retarget=switch), "predicts `b`")
    assert (rule["passed"], rule["blocking"]) == (False, blocking)
    assert rules.check_retarget(make_params(retarget=switch), "") == []


def test_slices_name_those_that_became_worse() -> None:
    slices = [{"column": "city", "value": value, "blocks": value == "b"} for value in "ab"]
    (rule,) = rules.check_slices(slices)
    assert (rule["passed"], rule["sentence"]) == (False, "worse in city = b")
    assert rules.check_slices(slices[:1])[0]["passed"]
    assert rules.check_slices([]) == []


def test_fairness_sees_who_is_told_yes_more_often() -> None:
    rule = rules.check_fairness(make_sensitive_pairs([1] * 100, [1] * 50 + [1] * 25 + [0] * 25, 0.2))[0]
    assert not rule["passed"]
    assert rule["sentence"].startswith("city: demographic parity differs by 0.5, equal opportunity differs by 0.5")


def test_fairness_without_a_limit_is_only_shown() -> None:
    rule = rules.check_fairness(make_sensitive_pairs([1, 0] * 50, [1] * 50 + [0] * 50, None))[0]
    assert rule["passed"] and not rule["blocking"]


def test_fairness_of_numbers_compares_predictions_and_errors() -> None:
    groups = np.repeat(["a", "b"], 50)
    gaps = rules.compute_fairness_gaps(np.zeros(100), np.repeat([1.0, 3.0], 50), groups)
    assert gaps == {"mean prediction": 2.0, "mean error": 2.0}


def test_fairness_ignores_small_groups() -> None:
    groups = np.array(["few"] * 49 + ["many"] * 50)
    assert rules.compute_group_gap(np.array([1.0] * 49 + [0.0] * 50), groups) == 0.0


def test_a_model_worse_than_the_dummy_fails_whatever_its_classes_are_called() -> None:
    rows = pd.DataFrame({"y": [2] * 180 + [10] * 60})  # as text, 10 comes before 2
    dummy = Predictions.from_probabilities(np.tile([0.25, 0.75], (240, 1)), ["10", "2"])
    candidate = Predictions.from_probabilities(np.full((240, 2), 0.5), [2, 10])
    pairs = PairedPredictions.of(PARAMS, rows, dummy, candidate)
    assert not rules.check_beats_dummy(pairs, candidate, dummy)["passed"]


def test_labels_quarter_numbers_and_keep_texts() -> None:
    rows = pd.DataFrame({"x": range(100), "city": ["a", "b"] * 50})
    labels = rules.label_slices(rows, ["x", "city"])
    assert {name: len(set(values)) for name, values in labels.items()} == {"x": 4, "city": 2}


def test_labels_of_times_are_months() -> None:
    rows = pd.DataFrame({"day": pd.to_datetime(["2024-01-31", "2024-02-01"])})
    assert rules.label_slices(rows, ["day"])["day"].tolist() == ["2024-01", "2024-02"]


@pytest.mark.usefixtures("project")
def test_labels_of_a_personal_column_show_no_value() -> None:
    schema = read_yaml(SCHEMA_YAML)
    name = next(iter(schema["columns"]))
    schema["columns"][name]["personal"] = True
    SCHEMA_YAML.write_text(dump_yaml(schema), encoding="utf-8")
    labels = rules.label_slices(pd.DataFrame({name: ["Ann", "Bob", "Ann", None]}), [name])[name]
    assert labels.tolist() == ["group 1", "group 2", "group 1", "group 3"]


def test_labels_of_an_unknown_column_are_refused() -> None:
    with pytest.raises(SettingError, match="names z") as refusal:
        rules.label_slices(pd.DataFrame({"x": [1]}), ["z"])
    assert refusal.value.setting == "gate.slices"
