import copy
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import UserError
from modelyard.github.api import ApiError, GitHubClient
from modelyard.workspace import protect
from modelyard.workspace.confirm import ConfirmationError
from modelyard.workspace.protect import (
    CODEOWNERS,
    RULESET,
    WORKFLOW_PERMISSIONS,
    assign_owners,
    contains_settings,
    main,
    parse_repository,
)
from tests.library.support import TEMPLATE

TEXT = (TEMPLATE / RULESET).read_text(encoding="utf-8")
WANTED = json.loads(TEXT)


@dataclass(frozen=True)
class Settings(GitHubClient):
    """GitHub's settings of one repository."""

    held: dict[str, Any] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    def request(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        path = path.partition("?")[0]
        if method == "GET" and path not in self.held:
            raise ApiError(404, f"GET {path}", "Not Found")
        if method != "GET":
            self.changed.append(f"{method} {path}")
        return self.held.get(path)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A repository without any protection, and a folder with CODEOWNERS."""
    (tmp_path / CODEOWNERS).parent.mkdir()
    (tmp_path / RULESET).write_text(TEXT)
    (tmp_path / CODEOWNERS).write_text("# Who must agree.\n#\n# /deploy/\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/flights")
    monkeypatch.setenv("GITHUB_TOKEN", "t")
    found = Settings("acme/flights", "t", held={"/rulesets": []})
    monkeypatch.setattr(protect, "GitHubClient", lambda *_: found)
    return found


def test_main_protects_once_and_writes_the_owners(settings: Settings) -> None:
    assert main(yes=True) == 0
    assert settings.changed == ["POST /rulesets", "PUT /actions/permissions/workflow"]
    assert CODEOWNERS.read_text(encoding="utf-8") == "# Who must agree.\n#\n/deploy/ @acme\n"


def test_main_changes_nothing_that_stands(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    settings.held["/rulesets"] = [{"id": 9, "name": WANTED["name"]}]
    settings.held["/rulesets/9"] = {"id": 9, "created_at": "now", **copy.deepcopy(WANTED)}
    settings.held["/actions/permissions/workflow"] = WORKFLOW_PERMISSIONS
    CODEOWNERS.write_text("/deploy/ @acme\n", encoding="utf-8")
    assert main(yes=True) == 0
    assert settings.changed == [] and "is protected as it should be" in capsys.readouterr().out


def test_main_mends_a_ruleset_that_lacks_a_rule(settings: Settings) -> None:
    less = copy.deepcopy(WANTED) | {"rules": WANTED["rules"][:2]}
    settings.held["/rulesets"] = [{"id": 9, "name": WANTED["name"]}]
    settings.held["/rulesets/9"] = {"id": 9, **less}
    main(yes=True)
    assert "PUT /rulesets/9" in settings.changed


def test_main_asks_first(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert main() == 0
    assert settings.changed == [] and "@acme" not in CODEOWNERS.read_text(encoding="utf-8")


def test_main_without_a_terminal_changes_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(ConfirmationError):
        main()
    assert settings.changed == []


def test_main_without_the_right_names_the_plan(settings: Settings) -> None:
    del settings.held["/rulesets"]
    with pytest.raises(UserError, match="paid plan"):
        main(yes=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/flights.git",
        "https://github.com/acme/flights",
        "https://token@github.com/acme/flights/",
        "git@github.com:acme/flights.git",
        "ssh://git@github.com/acme/flights.git",
    ],
)
def test_repository_is_read_from_the_remote(url: str) -> None:
    assert parse_repository(url) == "acme/flights"


@pytest.mark.parametrize("url", ["/srv/git/flights.git", "flights", ""])
def test_repository_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="no repository at GitHub"):
        parse_repository(url)


def test_owners_are_written_once() -> None:
    once = assign_owners("# a sentence\n# /a/\n# /b.py\n", "acme")
    assert once == "# a sentence\n/a/ @acme\n/b.py @acme\n" == assign_owners(once, "other")


@pytest.mark.parametrize(
    ("actual", "holds"),
    [({"a": 1, "b": [1, 2]}, True), ({"a": 1, "b": [2]}, False), ({"a": 1}, False), (None, False)],
)
def test_settings_of_github_may_hold_more(actual: Any, holds: bool) -> None:
    assert contains_settings(actual, {"a": 1, "b": [1]}) is holds
