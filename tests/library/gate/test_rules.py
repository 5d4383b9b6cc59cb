from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from modelyard.core.errors import SettingError
from modelyard.core.files import write_json
from modelyard.core.params import EvaluateParams
from modelyard.core.paths import SCHEMA_YAML, TRAINING_JSON
from modelyard.core.predictions import Predictions
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.gate import rules
from modelyard.gate.pairs import PairedPredictions
from modelyard.gate.rules import RuleResult
from modelyard.pipeline import model_file
from modelyard.statistics.comparison import ConfidenceInterval
from modelyard.statistics.metrics import METRICS, Metric
from tests.library.gate.support import PARAMS, make_difference, make_params


def draw_rows(rows: int, lift: float, share: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features, shape (rows, 4), and classes; the larger `lift`, the more the features tell."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(rows) < share).astype(int)
    features = rng.normal(size=(rows, 4))
    features[:, 0] += lift * truth
    return features, truth


def fit_and_check(model: BaseEstimator, metric: str, lift: float, share: float = 0.2) -> RuleResult:
    """Train a model on 2,000 rows, and return the line of the dummy rule on 1,000 others."""
    features, truth = draw_rows(3000, lift, share)
    model.fit(features[:2000], truth[:2000])
    shares = np.bincount(truth[:2000]) / 2000
    return check_scores(metric, truth[2000:], model.predict_proba(features[2000:]), shares)


def check_scores(metric: str, truth: np.ndarray, scores: np.ndarray, shares: np.ndarray) -> RuleResult:
    """Return the line of the dummy rule."""
    params = msgspec.structs.replace(PARAMS, evaluate=EvaluateParams(metric))
    dummy = np.tile(shares, (len(truth), 1))
    return rules.check_difference_to_dummy(PairedPredictions(params, pd.DataFrame(), truth, dummy, scores))


def make_limited_pairs(scores: np.ndarray, truth: np.ndarray, **gate: object) -> PairedPredictions:
    """Pair one model with itself."""
    return PairedPredictions(make_params(**gate), pd.DataFrame(), truth, scores, scores)


def make_sensitive_pairs(predicted: np.ndarray, cities: np.ndarray, limit: float | None) -> PairedPredictions:
    """Pair one model with itself on rows of several cities, all of the last class."""
    params = msgspec.structs.replace(
        make_params(fairness=limit), data=msgspec.structs.replace(PARAMS.data, sensitive=["city"])
    )
    scores = np.eye(2)[predicted.astype(int)]
    return PairedPredictions(params, pd.DataFrame({"city": cities}), np.ones(len(cities), int), scores, scores)


def make_interval(value: float, error: float, metric: str = "roc_auc") -> ConfidenceInterval:
    return ConfidenceInterval(metric, value, value - 2 * error, value + 2 * error, error, "DeLong")


@pytest.mark.parametrize(
    ("value", "passed", "blocking"),
    [(0.81, True, True), (0.79, False, False), (0.77, False, True)],
)
def test_floor_blocks_where_the_interval_misses_it_and_warns_where_the_value_does(
    value: float, passed: bool, blocking: bool
) -> None:
    rule = rules.check_floor(make_interval(value, 0.01), 0.8)
    assert (rule["passed"], rule["blocking"]) == (passed, blocking)


@pytest.mark.parametrize(
    ("value", "passed", "blocking"), [(0.49, True, True), (0.51, False, False), (0.53, False, True)]
)
def test_floor_of_a_loss_is_an_upper_bound(value: float, passed: bool, blocking: bool) -> None:
    rule = rules.check_floor(make_interval(value, 0.01, "log_loss"), 0.5)
    assert (rule["passed"], rule["blocking"]) == (passed, blocking)


def test_floors_are_checked_on_the_candidates_predictions() -> None:
    truth = np.arange(1000) % 2
    pairs = make_limited_pairs(np.eye(2)[1 - truth], truth, floors={"accuracy": 0.5})
    (rule,) = rules.check_floors(pairs, {"accuracy": 0.0})
    assert not rule["passed"] and rule["blocking"] and "accuracy 0 [" in rule["sentence"]


def test_floor_of_an_unknown_metric_is_refused() -> None:
    pairs = make_limited_pairs(np.eye(2), np.arange(2), floors={"rmse": 1.0})
    with pytest.raises(SettingError, match="rmse") as refusal:
        rules.check_floors(pairs, {"roc_auc": 0.7})
    assert refusal.value.setting == "gate.floors"


@pytest.mark.parametrize(
    ("gain", "ceiling", "passed", "blocking"),
    [(0.0, 0.99, True, True), (0.0, 0.84, False, False), (0.1, 0.84, False, True), (0.0, 0.6, False, True)],
    ids=["below", "beyond by chance", "a jump", "beyond beyond doubt"],
)
def test_ceiling_blocks_a_jump_and_what_is_surely_beyond_it(
    gain: float, ceiling: float, passed: bool, blocking: bool
) -> None:
    features, truth = draw_rows(1000, 1.5)
    chance = expit(features[:, 0])
    pairs = make_limited_pairs(np.column_stack([1 - chance, chance]), truth, ceiling=ceiling)
    (rule,) = rules.check_ceiling(pairs, make_difference(gain))
    assert 0.84 < roc_auc_score(truth, chance) < 0.86
    assert (rule["passed"], rule["blocking"]) == (passed, blocking)


def test_without_a_ceiling_nothing_is_too_good() -> None:
    pairs = make_limited_pairs(np.eye(2), np.arange(2))
    assert rules.check_ceiling(pairs, make_difference(0.3)) == []


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
    (rule,) = rules.check_retarget(make_params(retarget=switch), ["predicts `b`"])
    assert (rule["passed"], rule["blocking"]) == (False, blocking)
    assert rules.check_retarget(make_params(retarget=switch), []) == []


def test_slices_name_those_that_became_worse() -> None:
    slices = [{"column": "city", "value": value, "blocks": value == "b"} for value in "ab"]
    (rule,) = rules.check_slices(slices)
    assert (rule["passed"], rule["sentence"]) == (False, "worse in city = b")
    assert rules.check_slices(slices[:1])[0]["passed"]
    assert rules.check_slices([]) == []


def test_fairness_sees_who_is_told_yes_more_often() -> None:
    predicted = np.array([1] * 100 + [1, 0] * 50)
    found = rules.check_fairness(make_sensitive_pairs(predicted, np.repeat(["a", "b"], 100), 0.2))
    failed = [rule["sentence"] for rule in found if not rule["passed"]]
    assert failed[0].startswith("city: demographic parity differs by 0.5 [0.3")
    assert "between a and b, limit 0.2" in failed[0]
    assert all(rule["blocking"] for rule in found) and len(found) == 4


def test_fairness_does_not_block_a_gap_that_chance_explains() -> None:
    predicted = np.array([1, 1, 0, 0] * 50 + [1, 0, 0, 0] * 15)
    found = rules.check_fairness(make_sensitive_pairs(predicted, np.repeat(["a", "b"], [200, 60]), 0.2))
    assert all(rule["passed"] for rule in found)
    assert "no more than chance explains" in found[0]["sentence"]


def test_fairness_without_a_limit_is_only_shown() -> None:
    found = rules.check_fairness(make_sensitive_pairs(np.repeat([1, 0], 50), np.repeat(["a", "b"], 50), None))
    assert all(rule["passed"] and not rule["blocking"] for rule in found)


def test_fairness_says_where_no_two_groups_have_the_rows() -> None:
    found = rules.check_fairness(make_sensitive_pairs(np.ones(100), np.repeat(["a", "b"], [60, 40]), 0.1))
    assert all(rule["passed"] for rule in found)
    assert found[0]["sentence"] == "city: fewer than two groups have the rows for demographic parity"


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "balanced_accuracy", "f1"])
def test_balanced_class_weights_pass_the_dummy_rule(metric: str) -> None:
    rule = fit_and_check(LogisticRegression(class_weight="balanced"), metric, 1.5, share=0.1)
    assert rule["passed"] and "not shown" not in rule["sentence"]


@pytest.mark.parametrize("lift", [0.43, 1.5])
def test_default_model_passes_the_dummy_rule_when_accuracy_is_the_metric(lift: float) -> None:
    assert fit_and_check(LogisticRegression(), "accuracy", lift)["passed"]


def test_a_model_that_always_names_the_largest_class_passes_with_a_note() -> None:
    truth = np.repeat([0, 1], [950, 50])
    chance = np.linspace(0.01, 0.4, 1000)
    rule = check_scores("accuracy", truth, np.column_stack([1 - chance, chance]), np.array([0.94, 0.06]))
    assert rule["passed"] and rule["sentence"].endswith("not shown to be better")


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1"])
def test_weak_models_pass_the_dummy_rule(metric: str) -> None:
    """The area under the ROC curve of this model is 0.62."""
    for seed in range(20):
        features, truth = draw_rows(1000, 0.44, seed=seed)
        chance = expit(0.44 * features[:, 0] - 0.1 + np.log(0.25))
        scores = np.column_stack([1 - chance, chance])
        assert check_scores(metric, truth, scores, np.array([0.8, 0.2]))["passed"]


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss", "accuracy", "f1"])
def test_a_model_that_is_wrong_more_often_than_guessing_fails(metric: str) -> None:
    features, truth = draw_rows(2000, 1.5, share=0.4)
    chance = expit(1.5 * (0.6 - features[:, 0]))
    rule = check_scores(metric, truth, np.column_stack([1 - chance, chance]), np.array([0.6, 0.4]))
    assert not rule["passed"] and rule["blocking"]


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy"])
def test_a_model_that_says_the_same_for_every_row_fails(metric: str) -> None:
    _, truth = draw_rows(1000, 0.0)
    rule = check_scores(metric, truth, np.tile([0.7, 0.3], (1000, 1)), np.array([0.8, 0.2]))
    assert not rule["passed"] and rule["sentence"].endswith("the prediction is the same for all rows")


@pytest.mark.parametrize(("lift", "blocking"), [(0.7, False), (4.0, True)])
def test_with_few_rows_of_the_rarest_class_only_what_is_beyond_doubt_blocks(lift: float, blocking: bool) -> None:
    truth = np.repeat([0, 1], [180, 20])
    chance = expit(np.random.default_rng(3).normal(size=200) - lift * truth)
    rule = check_scores("roc_auc", truth, np.column_stack([1 - chance, chance]), np.array([0.9, 0.1]))
    assert not rule["passed"] and rule["blocking"] is blocking


def test_a_metric_of_ones_own_that_guessing_does_not_define_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def correlate(truth: np.ndarray, scores: np.ndarray) -> float:
        return float(np.corrcoef(truth, scores[:, 1])[0, 1]) if np.ptp(scores[:, 1]) else float("nan")

    own = Metric("correlation", "classification", True, 0.01, value_function=correlate)
    monkeypatch.setitem(METRICS, "correlation", own)
    _, truth = draw_rows(200, 0.0)
    rule = check_scores("correlation", truth, np.eye(2)[truth], np.array([0.8, 0.2]))
    assert rule["passed"] and "not defined for a model without features" in rule["sentence"]


def test_a_model_worse_than_the_dummy_fails_whatever_its_classes_are_called() -> None:
    rows = pd.DataFrame({"y": [2] * 180 + [10] * 60})  # as text, 10 comes before 2
    dummy = Predictions.from_probabilities(np.tile([0.25, 0.75], (240, 1)), ["10", "2"])
    candidate = Predictions.from_probabilities(np.full((240, 2), 0.5), [2, 10])
    params = msgspec.structs.replace(PARAMS, evaluate=EvaluateParams("log_loss"))
    pairs = PairedPredictions.of(params, rows, dummy, candidate)
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
