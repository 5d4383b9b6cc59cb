import shutil
from pathlib import Path
from typing import Any

import pytest

from modelyard.core import deployments
from modelyard.core.errors import OptionError
from modelyard.core.process import run_git
from modelyard.delivery import audit
from tests.library.recorded import PERSON, save
from tests.library.support import PROJECT

A, B = "a" * 64, "b" * 64
FILE = "champion: null\ncandidate: null\nweight: 0\nmirror: false\n"


@pytest.fixture(autouse=True)
def promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository in which A and then B were promoted."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(PROJECT / "pyproject.toml", "pyproject.toml")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it itself
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    run_git("init", "--quiet")
    Path("deploy").mkdir()
    Path("deploy/production.yaml").write_text(FILE)
    save("Begin")
    promote(A, None)
    promote(B, A)


def edit(model: str) -> None:
    deployments.write_state("production", deployments.load_state("production") | {"champion": {"model": model}})


def promote(model: str, before: str | None, **evidence: Any) -> None:
    edit(model)
    line = {"environment": "production", "from": before, "to": model, "action": "promote"}
    deployments.append_history(line | {"verdict": "better", "verdict_sha256": "e" * 64} | evidence)
    save(f"Promote {model[:3]}")


def test_main_lists_every_change_with_its_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main() == 0
    first, second, end = capsys.readouterr().out.splitlines()
    assert f"none → {A[:12]}" in first and f"{A[:12]} → {B[:12]}" in second
    assert "A Person <person@example.org>" in second and "judged better (verdict eeeeeeeeeeee)" in second
    assert "asked by octocat at 20" in second and "changes of a champion: 2; disagreements: 0" in end


def test_main_lists_a_revert_without_a_disagreement(capsys: pytest.CaptureFixture[str]) -> None:
    run_git(*PERSON, "revert", "--no-edit", "HEAD")
    assert audit.main() == 0
    assert f"taken back  {B[:12]} → {A[:12]}" in capsys.readouterr().out


def test_champion_changed_by_hand_is_a_disagreement(capsys: pytest.CaptureFixture[str]) -> None:
    edit("c" * 64)
    save("By hand")
    assert audit.main() == 1
    assert f"deploy/ names cccccccccccc, the history says {B[:12]}" in capsys.readouterr().out


def test_rewritten_history_is_a_disagreement(capsys: pytest.CaptureFixture[str]) -> None:
    deployments.HISTORY_FILE.write_text(deployments.HISTORY_FILE.read_text().replace("better", "unchanged"))
    promote(A, B)
    assert audit.main() == 1
    assert "earlier lines of the history were changed" in capsys.readouterr().out


def test_mlflow_with_another_champion_is_a_disagreement(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".mlflow").mkdir()
    assert audit.main() == 1
    assert f"production: champion is {B[:12]} by git, none by MLflow" in capsys.readouterr().out


@pytest.mark.parametrize(("since", "changes"), [("2000-01-01", 2), ("2090-01-01", 0)])
def test_since_leaves_out_earlier_changes(since: str, changes: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(since) == 0
    assert f"champion: {changes};" in capsys.readouterr().out


def test_since_that_is_no_date_is_refused() -> None:
    with pytest.raises(OptionError) as failure:
        audit.main("yesterday-ish")
    assert failure.value.option == "SINCE"
