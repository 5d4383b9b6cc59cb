import copy
from typing import Any

import pytest

from modelyard.core.dvc_lock import diff_locks, find_stale_entries
from modelyard.delivery import chain
from modelyard.delivery.chain import main
from modelyard.provenance import reproduce
from modelyard.provenance.reproduce import find_metric_mismatches

LOCK: dict[str, Any] = {
    "schema": "2.0",
    "stages": {
        "split": {
            "cmd": "split",
            "deps": [{"path": "data/raw/table.parquet", "md5": "raw"}],
            "params": {"params.yaml": {"split": {"seed": 0}}},
            "outs": [{"path": "data/train.parquet", "md5": "train"}],
        },
        "train": {
            "cmd": "train",
            "deps": [{"path": "data/train.parquet", "md5": "train"}, {"path": "src/train.py", "md5": "code"}],
            "outs": [{"path": "models/model.skops", "md5": "model"}],
        },
        "evaluate": {
            "cmd": "evaluate",
            "deps": [{"path": "models/model.skops", "md5": "model"}],
            "outs": [{"path": "reports/metrics.json", "md5": "metrics"}],
        },
    },
}


def changed(stage: str, part: str, place: int, digest: str = "new") -> dict[str, Any]:
    """The lock with one digest replaced."""
    lock = copy.deepcopy(LOCK)
    lock["stages"][stage][part][place]["md5"] = digest
    return lock


def test_diff_locks_of_equal_ones_is_empty() -> None:
    assert diff_locks(LOCK, copy.deepcopy(LOCK)) == []


def test_diff_locks_names_stage_part_and_file() -> None:
    assert [str(d) for d in diff_locks(LOCK, changed("train", "deps", 1))] == ["train deps src/train.py"]


def test_diff_locks_sees_parameters_and_stages() -> None:
    lock = copy.deepcopy(LOCK)
    lock["stages"]["split"]["params"]["params.yaml"]["split"] = {"seed": 1}
    del lock["stages"]["evaluate"]
    assert {str(d) for d in diff_locks(LOCK, lock)} == {"split params split", "evaluate stage"}


def test_other_data_invalidates_a_lock_and_another_model_does_not() -> None:
    (model,) = diff_locks(LOCK, changed("train", "outs", 0))
    (data,) = diff_locks(LOCK, changed("split", "outs", 0))
    assert not model.invalidates_lock and data.invalidates_lock


def test_find_stale_entries_ignores_what_stages_made() -> None:
    assert [d.name for d in find_stale_entries(LOCK, changed("train", "deps", 1))] == ["src/train.py"]
    assert find_stale_entries(LOCK, changed("train", "outs", 0)) == []
    assert find_stale_entries(LOCK, changed("evaluate", "deps", 0)) == []


@pytest.mark.parametrize(
    ("made", "gaps"),
    [
        ({"auc": 0.7}, []),
        ({"auc": 0.7 + 1e-9}, []),
        ({"auc": 0.71}, ["auc 0.7 but 0.71"]),
        ({}, ["auc 0.7 but None"]),
        ({"auc": 0.7, "f1": 0.5}, ["f1 None but 0.5"]),
    ],
)
def test_find_metric_mismatches_allows_rounding(made: dict[str, float], gaps: list[str]) -> None:
    assert find_metric_mismatches({"auc": 0.7}, made, 1e-6) == gaps


@pytest.fixture
def commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit whose dvc.lock says LOCK, and that nothing touched since."""
    files = {"dvc.lock": LOCK, "reports/metrics.json": {"auc": 0.7}}
    for module in (chain, reproduce):
        monkeypatch.setattr(module, "read_yaml_at", lambda revision, path: files[str(path)])
    monkeypatch.setattr(reproduce, "load_lock", lambda: LOCK)
    monkeypatch.setattr(reproduce, "run_git", lambda *words: "README.md" if words[0] == "diff" else "flights/")


@pytest.mark.usefixtures("commit")
def test_main_confirms_a_true_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "rerun_pipeline", lambda: (LOCK, {"auc": 0.7}))
    assert main() == 0


@pytest.mark.usefixtures("commit")
def test_main_rejects_a_false_lock(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(chain, "rerun_pipeline", lambda: (LOCK, {"auc": 0.6}))
    assert main() == 1
    assert "it is false: auc 0.7 but 0.6" in capsys.readouterr().out


@pytest.mark.usefixtures("commit")
def test_main_accepts_another_model(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(chain, "rerun_pipeline", lambda: (changed("train", "outs", 0), {"auc": 0.7}))
    assert main() == 0
    assert "another model" in capsys.readouterr().out


@pytest.mark.usefixtures("commit")
def test_main_runs_nothing_where_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "rerun_pipeline", lambda: pytest.fail("ran again"))
    assert main(base="abc") == 0


@pytest.mark.usefixtures("commit")
def test_main_warns_of_a_stale_lock_and_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "load_lock", lambda: changed("train", "deps", 1))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(rerun_all=False) == 0
    assert capsys.readouterr().out.startswith("::warning file=flights/dvc.lock,title=dvc.lock::it is stale (train deps")


@pytest.mark.usefixtures("commit")
def test_main_rejects_a_lock_of_other_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(chain, "rerun_pipeline", lambda: (changed("split", "outs", 0), {"auc": 0.7}))
    assert main() == 1
    assert "it is false: split outs data/train.parquet" in capsys.readouterr().out
