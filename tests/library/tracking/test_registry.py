import shutil
from pathlib import Path

import pytest

from modelyard.core import deployments
from modelyard.core.errors import UserError
from modelyard.tracking import registry
from tests.library.support import PROJECT

A, B = "a" * 64, "b" * 64
FILE = "# Which model runs here.\nchampion: null\ncandidate: null\nweight: 0\nmirror: false\n"


@pytest.fixture(autouse=True)
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(PROJECT / "pyproject.toml", "pyproject.toml")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    Path("deploy").mkdir()
    Path("deploy/production.yaml").write_text(FILE)


def test_state_of_an_unknown_environment_lists_those_there_are() -> None:
    with pytest.raises(UserError, match="there are production"):
        deployments.load_state("prod")


def test_state_keeps_its_comment_when_written() -> None:
    deployments.write_state("production", {**deployments.load_state("production"), "weight": 10})
    assert Path("deploy/production.yaml").read_text().startswith("# Which model runs here.\n")
    assert deployments.load_state("production")["weight"] == 10


def test_history_remembers_who_and_when() -> None:
    deployments.append_history({"environment": "production", "from": None, "to": A, "action": "promote"})
    (entry,) = deployments.load_history("production")
    assert (entry["who"], entry["to"]) == ("octocat", A) and entry["when"].endswith("+00:00")


def test_history_with_a_broken_line_names_it() -> None:
    deployments.append_history({"environment": "production", "from": None, "to": A, "action": "promote"})
    whole = deployments.HISTORY_FILE.read_text()
    for broken in ("not json", "[]", "7", "{}"):
        deployments.HISTORY_FILE.write_text(whole + broken + "\n")
        with pytest.raises(UserError, match="line 2 is not JSON"):
            deployments.load_history()


def test_previous_is_the_model_before_the_champion() -> None:
    deployments.append_history({"environment": "production", "from": None, "to": A, "action": "promote"})
    deployments.append_history({"environment": "production", "from": A, "to": B, "action": "promote"})
    deployments.write_state("production", {**deployments.load_state("production"), "champion": {"model": B}})
    assert registry.get_expected_digests("production") == {"champion": B, "challenger": None, "previous": A}


def test_registry_says_where_mlflow_disagrees(capsys: pytest.CaptureFixture[str]) -> None:
    deployments.write_state("production", {**deployments.load_state("production"), "champion": {"model": A}})
    assert registry.main() == 1
    assert f"champion    {A[:12]}  (MLflow: none)" in capsys.readouterr().out


def test_mirror_says_which_model_mlflow_does_not_know() -> None:
    assert registry.sync_aliases("production", {"champion": A}, {}) == [
        f"MLflow knows no run of {A[:12]}; its alias champion was not moved"
    ]
