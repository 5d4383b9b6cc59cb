import json
import shutil
import subprocess
from pathlib import Path

import pytest

from modelyard.core.errors import UserError
from modelyard.core.process import run_git
from modelyard.workspace import resolve
from modelyard.workspace.resolve import OtherConflictsError

CONFLICT = "<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> theirs\n"


def commit(lock: str, auc: float) -> None:
    Path("dvc.lock").write_text(lock, encoding="utf-8")
    Path("reports/metrics.json").write_text(json.dumps({"auc": auc}), encoding="utf-8")
    run_git("add", "--all")
    run_git("commit", "--quiet", "--message", lock)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two branches with different files dvc.lock, and a pipeline that writes a third one."""
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    Path("params.yaml").write_text("seed: 0\n", encoding="utf-8")
    monkeypatch.setattr(resolve, "load_params", lambda: None)
    run_git("init", "--quiet", "--initial-branch", "main")
    run_git("config", "user.name", "a")
    run_git("config", "user.email", "a@example.org")
    commit("a: 0\n", 0.5)
    run_git("checkout", "--quiet", "-b", "theirs")
    commit("a: 2\n", 0.7)
    run_git("checkout", "--quiet", "main")
    commit("a: 1\n", 0.6)

    def repro(*words: str, shown: bool) -> subprocess.CompletedProcess[str]:
        assert words == ("repro", "--quiet") and shown
        assert not Path("dvc.lock").exists()
        Path("dvc.lock").write_text("a: 3\n", encoding="utf-8")
        Path("reports/metrics.json").write_text('{"auc": 0.75}', encoding="utf-8")
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(resolve, "run_dvc", repro)


def merge() -> None:
    with pytest.raises(UserError):
        run_git("merge", "--quiet", "theirs")


def test_without_a_conflict_there_is_nothing_to_do() -> None:
    with pytest.raises(UserError, match="not in conflict; there is nothing to resolve"):
        resolve.main()


def test_a_lock_in_conflict_is_made_again_staged_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    merge()
    assert resolve.main() == 0
    assert run_git("diff", "--name-only", "--diff-filter=U") == ""
    assert Path("dvc.lock").read_text(encoding="utf-8") == "a: 3\n"
    assert capsys.readouterr().out.splitlines()[1].split() == ["auc", "0.6", "0.7", "0.75"]
    run_git("commit", "--quiet", "--message", "merge")


def test_conflict_markers_that_were_added_to_git_are_found() -> None:
    Path("dvc.lock").write_text(CONFLICT, encoding="utf-8")
    run_git("add", "dvc.lock")
    assert resolve.find_conflicted_files() == [Path("dvc.lock")]


def test_a_conflict_elsewhere_comes_first() -> None:
    run_git("checkout", "--quiet", "theirs")
    Path("params.yaml").write_text("seed: 2\n", encoding="utf-8")
    commit("a: 4\n", 0.7)
    run_git("checkout", "--quiet", "main")
    Path("params.yaml").write_text("seed: 1\n", encoding="utf-8")
    commit("a: 5\n", 0.7)
    merge()
    with pytest.raises(OtherConflictsError) as error:
        resolve.main()
    assert error.value.paths == ["params.yaml"]


def test_a_pipeline_that_fails_leaves_the_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    merge()
    before = Path("dvc.lock").read_text(encoding="utf-8")
    monkeypatch.setattr(resolve, "run_dvc", lambda *words, shown: subprocess.CompletedProcess(words, 1))
    with pytest.raises(UserError, match="does not run on the merged files"):
        resolve.main()
    assert Path("dvc.lock").read_text(encoding="utf-8") == before
    assert "dvc.lock" in run_git("diff", "--name-only", "--diff-filter=U")


def test_outside_of_a_repository_git_fails() -> None:
    shutil.rmtree(".git")
    with pytest.raises(UserError, match="git"):
        resolve.main()
