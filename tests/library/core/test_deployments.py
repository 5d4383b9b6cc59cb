from pathlib import Path

import pytest

from modelyard.core import deployments
from modelyard.core.errors import UserError

A = "a" * 64
FILE = "# Which model runs here.\nchampion: null\ncandidate: null\nweight: 0\nmirror: false\n"
PROMOTION = {"environment": "production", "from": None, "to": A, "action": "promote"}


@pytest.fixture(autouse=True)
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nothing is deployed."""
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    Path("deploy").mkdir()
    Path("deploy/production.yaml").write_text(FILE)


def test_load_state_of_an_unknown_environment_lists_those_that_exist() -> None:
    with pytest.raises(UserError, match="production"):
        deployments.load_state("prod")


def test_write_state_keeps_the_opening_comment() -> None:
    deployments.write_state("production", {**deployments.load_state("production"), "weight": 10})
    assert Path("deploy/production.yaml").read_text().startswith("# Which model runs here.\n")
    assert deployments.load_state("production")["weight"] == 10


def test_append_history_writes_who_and_when() -> None:
    deployments.append_history(PROMOTION)
    (entry,) = deployments.load_history("production")
    assert (entry["who"], entry["to"]) == ("octocat", A)
    assert entry["when"].endswith("+00:00")


@pytest.mark.parametrize("broken", ["not json", "[]", "7", "{}"])
def test_load_history_names_a_broken_line(broken: str) -> None:
    deployments.append_history(PROMOTION)
    with deployments.HISTORY_FILE.open("a") as file:
        file.write(broken + "\n")
    with pytest.raises(UserError, match="line 2"):
        deployments.load_history()
