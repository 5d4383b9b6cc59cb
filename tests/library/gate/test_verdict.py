from pathlib import Path

import numpy as np
import pytest

from modelyard.core import files
from modelyard.core.errors import MissingFileError, UserError
from modelyard.core.files import md5, read_json, sha256, write_json
from modelyard.core.params import GATE_RULES_VARIABLE
from modelyard.core.paths import (
    DVC_LOCK,
    HOLDOUT_PARQUET,
    MODEL_FILE,
    PREDICTIONS_PARQUET,
    ROW_HASHES_FILE,
    TRAIN_PARQUET,
    VERDICT_JSON,
)
from modelyard.gate import rules, verdict
from modelyard.gate.curves import CURVES_PARQUET
from modelyard.statistics.paired_scores import RowCounts
from tests.library.gate.support import PARAMS, commit_all, make_difference, make_params


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
    found = verdict.build_conclusion(PARAMS, word, [], make_difference(0.0), "base")
    assert (found["decision"], found["unattended"]) == (decision, unattended)


def test_conclusion_blocks_on_a_failed_rule_and_names_it() -> None:
    results = [
        rules.build_rule_result("floor", False, "too low"),
        rules.build_rule_result("dummy", False, "few rows", blocking=False),
    ]
    found = verdict.build_conclusion(PARAMS, "better", results, make_difference(0.02), "base")
    assert found["decision"] == "block" and found["sentence"].startswith("Blocked by floor.")


def test_inconclusive_blocks_when_params_say_so() -> None:
    params = make_params(inconclusive="block")
    found = verdict.build_conclusion(params, "inconclusive", [], make_difference(0.0), "base")
    assert found["decision"] == "block"


@pytest.mark.parametrize(
    ("counts", "beginning"),
    [
        (RowCounts(90, 50), ""),
        (RowCounts(90, 12), "Only 12 rows of the rarest class"),
        (RowCounts(90, 12, needs_rare_class=False), ""),
        (RowCounts(40, 12, needs_rare_class=False), "Only 40 rows"),
        (RowCounts(900, 300, 20), "Only 20 groups"),
    ],
)
def test_too_few_rows_are_named(counts: RowCounts, beginning: str) -> None:
    notes = verdict.build_size_notes(counts, "roc_auc")
    assert " ".join(notes).startswith(beginning)
    assert bool(beginning) == bool(notes)


def test_notes_name_left_out_rows() -> None:
    notes = verdict.build_notes(["How."], np.array([True, False]))
    assert notes == [
        "How.",
        "1 of 2 holdout rows were left out: one of the models was trained on them.",
    ]


def test_finite_makes_json_of_every_number() -> None:
    assert files.replace_nonfinite({"a": [float("inf"), np.float64(1)], "b": np.bool_(True)}) == {
        "a": [None, 1.0],
        "b": True,
    }


def test_gate_without_a_pipeline_run_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="make pipeline") as problem:
        verdict.main()
    assert problem.value.code == 2


@pytest.mark.usefixtures("project")
def test_gate_refuses_a_model_that_the_pipeline_did_not_make() -> None:
    DVC_LOCK.write_text(f"stages:\n  train:\n    outs:\n    - path: {MODEL_FILE}\n      md5: abc\n", encoding="utf-8")
    with pytest.raises(UserError, match="not the model that"):
        verdict.main()


@pytest.mark.usefixtures("project")
def test_first_model_is_judged_against_a_dummy() -> None:
    base = commit_all()
    assert verdict.main(base) in (0, 1)
    found = read_json(VERDICT_JSON)
    assert (found["base"], found["champion"]["source"]) == (base, "dummy")
    assert found["candidate"]["model"] == sha256(MODEL_FILE)
    assert found["rows"]["compared"] <= found["rows"]["holdout"]
    assert CURVES_PARQUET.exists()


@pytest.mark.usefixtures("project")
def test_the_champion_itself_is_unchanged() -> None:
    lock = f"stages:\n  train:\n    outs:\n    - path: {MODEL_FILE}\n      md5: {md5(MODEL_FILE)}\n"
    DVC_LOCK.write_text(lock, encoding="utf-8")
    base = commit_all()
    verdict.main(base)
    found = read_json(VERDICT_JSON)
    assert (found["verdict"], found["champion"]["source"], found["slices"]) == ("unchanged", "base", [])
    assert found["primary"]["difference"] == 0


@pytest.mark.usefixtures("project")
def test_gate_needs_nothing_of_the_pipeline_but_the_model() -> None:
    for path in (PREDICTIONS_PARQUET, TRAIN_PARQUET, HOLDOUT_PARQUET):
        path.unlink()
    assert verdict.main(commit_all()) in (0, 1)


@pytest.mark.usefixtures("project")
def test_gate_needs_the_hashes_of_the_training_rows() -> None:
    base = commit_all()
    ROW_HASHES_FILE.unlink()
    with pytest.raises(MissingFileError) as refusal:
        verdict.main(base)
    assert refusal.value.code == 2


@pytest.mark.usefixtures("project")
def test_verdict_names_whose_rules_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    base = commit_all()
    monkeypatch.setenv(GATE_RULES_VARIABLE, "another commit")
    assert verdict.build_verdict(base)["rules_from"] == "another commit"


@pytest.mark.usefixtures("project")
def test_verdict_is_loaded_only_for_this_model() -> None:
    with pytest.raises(MissingFileError):
        verdict.load_verdict()
    write_json(VERDICT_JSON, {"candidate": {"model": "another"}})
    with pytest.raises(UserError, match="another model"):
        verdict.load_verdict()
    write_json(VERDICT_JSON, {"candidate": {"model": sha256(MODEL_FILE)}})
    assert verdict.load_verdict()["candidate"]["model"] == sha256(MODEL_FILE)
