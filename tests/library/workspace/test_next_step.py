import json
import shutil
from pathlib import Path

import pytest

from modelyard.core.files import sha256
from modelyard.core.process import run_git
from modelyard.workspace import next_step
from modelyard.workspace.library import LIBRARY
from tests.library.support import PROJECT


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with a model that was judged, pushed, on main; each test takes something away."""
    monkeypatch.chdir(tmp_path)
    (LIBRARY / "src/modelyard").mkdir(parents=True)
    shutil.copytree(PROJECT / "src", "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(PROJECT / "pyproject.toml", "pyproject.toml")
    monkeypatch.setattr(next_step, "list_changed_files", lambda: "")
    Path("models").mkdir()
    Path("reports").mkdir()
    next_step.MODEL.write_bytes(b"model")
    judge(sha256(next_step.MODEL), "pass")
    next_step.LOCK.write_text("stages: {}\n", encoding="utf-8")
    run_git("init", "--quiet", "--initial-branch", "main")
    run_git("config", "user.name", "a")
    run_git("config", "user.email", "a@example.org")
    run_git("init", "--quiet", "--bare", str(tmp_path / ".git/there"))
    run_git("remote", "add", "origin", str(tmp_path / ".git/there"))
    commit()
    run_git("push", "--quiet", "origin", "main")


def judge(model: str, decision: str) -> None:
    verdict = {"candidate": {"model": model}, "decision": decision, "sentence": "A sentence."}
    next_step.VERDICT.write_text(json.dumps(verdict), encoding="utf-8")


def commit() -> None:
    run_git("add", "--all")
    run_git("commit", "--quiet", "--message", "a")


def first() -> str:
    return next_step.suggest_steps()[0].command


def test_a_judged_and_pushed_model_asks_for_a_branch() -> None:
    (step,) = next_step.suggest_steps()
    assert step.command == "git switch -c BRANCH"
    assert "src/flight_delays/features.py" in step.reason


def test_a_missing_library_comes_first() -> None:
    shutil.rmtree(LIBRARY)
    assert first() == "git checkout HEAD -- packages/modelyard"


def test_a_package_that_does_not_exist_comes_first() -> None:
    Path("src/flight_delays").rename("src/other")
    (step,) = next_step.suggest_steps()
    assert step.command == "edit pyproject.toml" and "flight_delays/features.py" in step.reason


def test_a_project_without_a_package_comes_first() -> None:
    Path("pyproject.toml").write_text('[project]\nname = "a"\n', encoding="utf-8")
    assert first() == "edit pyproject.toml"


def test_a_repository_of_another_user_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (step,) = next_step.suggest_steps()
    assert "safe.directory" in step.command and "another user owns it" in step.reason


def test_a_branch_with_nothing_new_asks_for_nothing() -> None:
    run_git("switch", "--quiet", "-c", "idea")
    assert next_step.suggest_steps() == []


def test_without_a_lock_the_pipeline_comes_next() -> None:
    next_step.LOCK.unlink()
    assert first() == "make pipeline"


def test_without_a_commit_one_is_made() -> None:
    run_git("update-ref", "-d", "HEAD")
    assert first() == "git add -A && git commit"
    run_git("config", "--unset", "user.email")
    assert first().startswith("git config")


def test_changed_files_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    said = {"train": [{"changed deps": {"params.yaml": {"train": "modified"}}}, "changed command"]}
    monkeypatch.setattr(next_step, "try_command", lambda *command: json.dumps(said))
    assert next_step.list_changed_files() == "params.yaml"


def test_many_looks_ask_for_a_new_holdout() -> None:
    verdict = json.loads(next_step.VERDICT.read_text(encoding="utf-8"))
    next_step.VERDICT.write_text(json.dumps({**verdict, "looks": {"count": 50, "limit": 50}}), encoding="utf-8")
    assert first() == "make holdout"


def test_another_model_than_the_judged_asks_for_the_gate() -> None:
    judge("0" * 64, "pass")
    assert first() == "make gate report"


def test_a_worse_model_asks_for_the_report() -> None:
    judge(sha256(next_step.MODEL), "block")
    assert first() == "open reports/report.html"


def test_a_change_asks_for_a_commit() -> None:
    Path("new").touch()
    assert first().startswith("git add -A")


def test_a_commit_asks_for_a_push() -> None:
    Path("new").touch()
    commit()
    assert first() == "git push -u origin HEAD"


def test_without_a_remote_one_is_added() -> None:
    run_git("remote", "remove", "origin")
    assert first().startswith("git remote add origin")


@pytest.mark.parametrize(("name", "said"), [("dvc.lock", "make resolve"), ("new", "edit new && git add new")])
def test_a_conflict_comes_first(name: str, said: str) -> None:
    run_git("switch", "--quiet", "-c", "theirs")
    Path(name).write_text("theirs\n", encoding="utf-8")
    commit()
    run_git("switch", "--quiet", "main")
    Path(name).write_text("ours\n", encoding="utf-8")
    commit()
    run_git("merge", "--quiet", "--no-commit", "--strategy-option", "ours", "theirs")
    run_git("reset", "--quiet", "--merge")
    with pytest.raises(Exception, match="merge"):
        run_git("merge", "--quiet", "theirs")
    assert first() == said


def test_main_shows_the_steps_without_colours_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    assert next_step.main() == 0
    assert capsys.readouterr().out.startswith("A sentence.\n\nnext  git switch -c BRANCH\n")
