"""Every verb of the workspace in a project that is a folder of a larger repository."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.params import load_params
from modelyard.core.process import add_to_dvc, run_git
from modelyard.core.yaml import dump_yaml
from modelyard.workspace import adopt, doctor, next_step, protect, pull, push, resolve
from modelyard.workspace.library import LIBRARY, compute_library_digest

FOREIGN_VARIABLES = ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_REPOSITORY", "MLFLOW_TRACKING_URI", "MODELYARD_BIND")


@pytest.fixture(autouse=True)
def repository(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose folder `project` is the current one, with everything committed; returns its top."""
    for name in FOREIGN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    top = project.parent
    run_git("init", "--quiet", "--initial-branch", "main", cwd=top)
    run_git("config", "user.name", "a")
    run_git("config", "user.email", "a@example.org")
    (top / "other").mkdir()
    (top / "other/file").write_text("1\n", encoding="utf-8")
    (LIBRARY / "src/modelyard").mkdir(parents=True)
    (LIBRARY / "src/modelyard/__init__.py").touch()
    (LIBRARY / ".brought").write_text(compute_library_digest() + "\n", encoding="utf-8")
    Path(".cruft.json").write_text('{"commit": "abc"}', encoding="utf-8")
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    Path(".gitignore").write_text("/.dvc/cache/\n/.dvc/tmp/\n/models/\n/data/*.parquet\n", encoding="utf-8")
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    commit()
    return top


def commit(message: str = "a") -> None:
    run_git("add", "--all", ":/")
    run_git("commit", "--quiet", "--allow-empty", "--message", message)


def test_adopt_puts_a_large_table_under_dvc(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(adopt, "DVC_THRESHOLD_BYTES", 100)
    random = np.random.default_rng(0)
    size = random.normal(50, 10, 120).round(2)
    table = tmp_path_factory.mktemp("table") / "mine.csv"
    pd.DataFrame({"size": size, "y": np.where(size + random.normal(0, 5, 120) > 50, "yes", "no")}).to_csv(table)
    assert adopt.main(str(table), "y") == 0
    assert load_params().data.path == "data/raw/mine.parquet"
    assert Path("data/raw/mine.parquet.dvc").exists()
    assert "/mine.parquet" in Path("data/raw/.gitignore").read_text(encoding="utf-8")
    assert run_git("status", "--porcelain", "--", ":/other") == ""


@pytest.mark.parametrize("name", ["library", "settings", "remotes", "locks"])
def test_doctor_finds_nothing_broken(name: str) -> None:
    findings = list(getattr(doctor, f"check_{name}")())
    assert findings and [finding for finding in findings if finding.state == "broken"] == []


def test_doctor_finds_the_repositorys_lock(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".git/index.lock").touch()
    monkeypatch.setattr(doctor, "try_command", lambda *words: None if words[0] == "pgrep" else "../.git/index.lock")
    assert [finding.cure for finding in doctor.check_locks()] == ["rm ../.git/index.lock"]


def test_next_looks_at_this_folder_only(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_step, "list_changed_files", lambda: "")
    monkeypatch.setattr(next_step, "load_current_verdict", lambda: {"sentence": "A sentence.", "decision": "pass"})
    (repository / "other/file").write_text("2\n", encoding="utf-8")
    assert next_step.suggest_steps()[0].command.startswith("git remote add origin")
    Path("mine").touch()
    assert next_step.suggest_steps()[0].command == "git add -A && git commit"


def test_next_sees_a_conflict_in_this_folder() -> None:
    change_on_two_branches()
    assert next_step.suggest_steps()[0].command == "make resolve"


def test_pull_and_push_without_a_remote(capsys: pytest.CaptureFixture[str]) -> None:
    assert pull.main() == push.main() == 0
    assert capsys.readouterr().out.count("no remote") == 2


@pytest.mark.slow
def test_push_and_pull_bring_a_file_there_and_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    storage = tmp_path_factory.mktemp("storage")
    Path(".dvc/config").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {storage}\n", encoding="utf-8"
    )
    Path("dvc.yaml").unlink()
    Path("dvc.lock").unlink()
    Path("large").write_text("many bytes\n", encoding="utf-8")
    add_to_dvc(Path("large"))
    assert push.main() == 0
    Path("large").unlink()
    (cached,) = [path for path in Path(".dvc/cache/files/md5").rglob("*") if path.is_file()]
    cached.unlink()
    assert pull.main() == 0
    assert Path("large").read_text(encoding="utf-8") == "many bytes\n"


def change_on_two_branches() -> None:
    """Leave a merge of two branches that changed dvc.lock."""
    run_git("switch", "--quiet", "--create", "theirs")
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {a: 1}\n", encoding="utf-8")
    commit("theirs")
    run_git("switch", "--quiet", "main")
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {a: 2}\n", encoding="utf-8")
    commit("ours")
    with pytest.raises(Exception, match="git merge"):
        run_git("merge", "--quiet", "theirs")


def test_resolve_makes_the_lock_of_this_folder_again(monkeypatch: pytest.MonkeyPatch) -> None:
    change_on_two_branches()
    Path("dvc.yaml").write_text(
        dump_yaml({"stages": {"write": {"cmd": "echo '{\"auc\": 0.7}' >reports/metrics.json"}}}), encoding="utf-8"
    )
    assert resolve.main() == 0
    assert "write" in Path("dvc.lock").read_text(encoding="utf-8")
    assert run_git("diff", "--name-only", "--diff-filter=U") == ""


def test_protect_is_one_sentence(repository: Path) -> None:
    with pytest.raises(protect.NotAtTopError) as error:
        protect.main(yes=True)
    assert error.value.folder == "project/"
