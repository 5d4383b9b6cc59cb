from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml

from modelyard.core import files
from modelyard.core.errors import UserError
from modelyard.core.files import write_json
from modelyard.core.model_at import Champion
from modelyard.core.params import DataParams, EvaluateParams, GateParams, Params, TrainParams
from modelyard.core.paths import DVC_LOCK, MODEL_FILE, SCHEMA_YAML, TRAINING_JSON
from modelyard.gate import leakage, pairs, rules, verdict
from modelyard.statistics.comparison import Difference, RowCounts

PARAMS = Params(
    data=DataParams(path="t.parquet", target="y", task="classification", features=["x"]),
    train=TrainParams("sklearn.linear_model.LogisticRegression"),
    evaluate=EvaluateParams("roc_auc"),
)


def found(difference: float, error: float = 0.005) -> Difference:
    low, high = difference - 1.96 * error, difference + 1.96 * error
    return Difference("roc_auc", 0.7, 0.7 + difference, difference, low, high, error, "DeLong")


def ruled(**rules: object) -> Params:
    return msgspec.structs.replace(PARAMS, gate=GateParams(**rules))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("trained", "held", "table", "left_out"),
    [
        ([1, 2], [3, 4], [1, 2, 3, 4], [False, False]),
        ([1, 2, 3], [3, 4], [1, 2, 3, 4], [True, False]),
        ([1, 1], [1, 2], [1, 1, 1, 2], [False, False]),  # three equal rows, two of them trained on
        ([1, 1, 1], [1, 1, 2], [1, 1, 1, 1, 2], [True, False, False]),
    ],
)
def test_leaked_counts_equal_rows(trained: list[int], held: list[int], table: list[int], left_out: list[bool]) -> None:
    arrays = (np.array(values, dtype=np.uint64) for values in (trained, held, table))
    assert leakage.flag_leaked_rows(*arrays).tolist() == left_out


def test_floor_and_ceiling_are_named_when_they_fail() -> None:
    found_rules = rules.check_floors_and_ceiling(ruled(floors={"roc_auc": 0.8}, ceiling=0.6), {"roc_auc": 0.7})
    assert [(rule["name"], rule["passed"]) for rule in found_rules] == [("floor", False), ("ceiling", False)]


def test_floor_of_a_loss_is_an_upper_bound() -> None:
    found_rules = rules.check_floors_and_ceiling(ruled(floors={"log_loss": 0.5}), {"log_loss": 0.4, "roc_auc": 0.7})
    assert found_rules[0]["passed"]


def test_floor_of_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UserError, match="rmse"):
        rules.check_floors_and_ceiling(ruled(floors={"rmse": 1.0}), {"roc_auc": 0.7})


@pytest.mark.parametrize(
    ("word", "decision", "unattended"),
    [
        ("unchanged", "pass", "nothing"),
        ("better", "pass", "open"),
        ("not worse", "pass", "keep"),
        ("worse", "block", "issue"),
        ("inconclusive", "warn", "keep"),
    ],
)
def test_conclusion_follows_the_table(word: str, decision: str, unattended: str) -> None:
    found_verdict = verdict.build_conclusion(PARAMS, word, [], found(0.0), 0.01, "base")
    assert (found_verdict["decision"], found_verdict["unattended"]) == (decision, unattended)


def test_conclusion_blocks_on_a_failed_rule_and_names_it() -> None:
    found_rules = [
        rules.build_rule_result("floor", False, "too low"),
        rules.build_rule_result("dummy", False, "few rows", blocking=False),
    ]
    found_verdict = verdict.build_conclusion(PARAMS, "better", found_rules, found(0.02), 0.01, "base")
    assert found_verdict["decision"] == "block" and found_verdict["sentence"].startswith("Blocked by floor.")


def test_inconclusive_blocks_when_params_say_so() -> None:
    found_verdict = verdict.build_conclusion(ruled(inconclusive="block"), "inconclusive", [], found(0.0), 0.01, "base")
    assert found_verdict["decision"] == "block"


@pytest.mark.parametrize(("model", "failed"), [("this one", ["training memory"]), ("another", [])])
def test_training_has_a_budget_where_it_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, failed: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rules, "sha256", lambda _: "this one")
    write_json(TRAINING_JSON, {"model": model, "seconds": 12.5, "megabytes": 300})
    found_rules = rules.check_training_budgets(ruled(seconds=60, peak=256))
    assert [rule["name"] for rule in found_rules if not rule["passed"]] == failed


@pytest.mark.parametrize(("difference", "passes"), [(-0.015, True), (-0.025, False)])
def test_drop_since_the_promotion_blocks_at_two_margins(difference: float, passes: bool) -> None:
    sides = SimpleNamespace(params=PARAMS)
    (rule,) = rules.check_cumulative_drop(sides, "deployed", found(difference), 0.01)  # type: ignore[arg-type]
    assert rule["passed"] is passes


def test_drop_needs_a_promoted_model() -> None:
    assert rules.check_cumulative_drop(SimpleNamespace(params=PARAMS), "base", found(-1.0), 0.01) == []  # type: ignore[arg-type]


def sensitive(truth: list[int], said: list[int], limit: float | None) -> pairs.PairedPredictions:
    """A hundred rows of two cities, the first half of them from one."""
    data = msgspec.structs.replace(PARAMS.data, sensitive=["city"])
    params = msgspec.structs.replace(PARAMS, data=data, gate=GateParams(fairness=limit))
    rows, codes = pd.DataFrame({"city": np.repeat(["a", "b"], 50)}), np.array(truth)
    return pairs.PairedPredictions(params, rows, codes, np.eye(2)[codes], np.eye(2)[np.array(said)])


def test_fairness_sees_who_is_told_yes_more_often() -> None:
    rule = rules.check_fairness(sensitive([1] * 100, [1] * 50 + [1] * 25 + [0] * 25, 0.2))[0]
    assert not rule["passed"]
    assert rule["sentence"].startswith("city: demographic parity differs by 0.5, equal opportunity differs by 0.5")


def test_fairness_without_a_limit_is_only_shown() -> None:
    rule = rules.check_fairness(sensitive([1, 0] * 50, [1] * 50 + [0] * 50, None))[0]
    assert rule["passed"] and not rule["blocking"]


def test_fairness_minds_no_small_group() -> None:
    assert rules.compute_group_gap(np.array([1.0] * 49 + [0.0] * 50), np.array(["few"] * 49 + ["many"] * 50)) == 0.0


@pytest.mark.parametrize(
    ("size", "said"),
    [(RowCounts(90, 50), ""), (RowCounts(90, 12), "Only 12 rows"), (RowCounts(900, 300, 20), "Only 20 groups")],
)
def test_too_few_rows_are_named(size: RowCounts, said: str) -> None:
    assert " ".join(verdict.build_size_notes(size)).startswith(said) and bool(said) == bool(
        verdict.build_size_notes(size)
    )


def test_a_model_worse_than_the_dummy_fails_whatever_its_classes_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame({"y": [2] * 180 + [10] * 60})  # as text, 10 comes before 2
    dummy = pd.DataFrame({"prediction": "2", "p_10": 0.25, "p_2": 0.75}, index=rows.index)
    monkeypatch.setattr(rules.champion, "predict_dummy", lambda _: dummy)
    mine = pd.DataFrame({"prediction": 2, "p_2": 0.5, "p_10": 0.5}, index=rows.index)
    assert not rules.check_beats_dummy(pairs.PairedPredictions.of(PARAMS, rows, dummy, mine), mine)["passed"]


def test_labels_quarter_numbers_and_keep_texts() -> None:
    rows = pd.DataFrame({"x": range(100), "city": ["a", "b"] * 50})
    labels = rules.label_slices(rows, ["x", "city"])
    assert {name: len(set(values)) for name, values in labels.items()} == {"x": 4, "city": 2}


@pytest.mark.usefixtures("project")
def test_labels_of_a_personal_column_show_no_value() -> None:
    schema = yaml.safe_load(SCHEMA_YAML.read_text())
    name = next(iter(schema["columns"]))
    schema["columns"][name]["personal"] = True
    SCHEMA_YAML.write_text(yaml.safe_dump(schema))
    found = rules.label_slices(pd.DataFrame({name: ["Ann", "Bob", "Ann", None]}), [name])[name]
    assert found.tolist() == ["group 1", "group 2", "group 1", "group 3"]


def test_labels_of_an_unknown_column_are_refused() -> None:
    with pytest.raises(UserError, match=r"gate\.slices names z"):
        rules.label_slices(pd.DataFrame({"x": [1]}), ["z"])


def test_finite_makes_json_of_every_number() -> None:
    assert files.replace_nonfinite({"a": [float("inf"), np.float64(1)], "b": np.bool_(True)}) == {
        "a": [None, 1.0],
        "b": True,
    }


def test_gate_without_a_pipeline_run_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="make pipeline") as problem:
        verdict.main()
    assert problem.value.code == 2


@pytest.mark.usefixtures("project")
def test_gate_refuses_a_model_that_the_pipeline_did_not_make() -> None:
    DVC_LOCK.write_text(f"stages:\n  train:\n    outs:\n    - path: {MODEL_FILE}\n      md5: abc\n", encoding="utf-8")
    with pytest.raises(UserError, match="not the model that"):
        verdict.main()


def test_dummy_champion_has_no_model() -> None:
    assert Champion("dummy").model is None
