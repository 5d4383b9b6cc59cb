"""Protect the default branch on GitHub: what must pass, who must agree, what Actions may do."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write, read_json
from modelyard.core.process import run_git, try_command
from modelyard.github.api import API_URL, ApiError, GitHubClient, ServiceUnavailableError, retry_while_unavailable
from modelyard.workspace.confirm import confirm

CODEOWNERS = Path(".github/CODEOWNERS")
# GitHub imports this file by hand, too. Its numbers are GitHub's own: role 5 is the repository's administrators, who
# may merge their own pull request where nobody else could approve it; app 15368 is GitHub Actions: no other app's check
# of that name counts.
RULESET = Path(".github/ruleset.json")
PERMISSIONS_PATH = "/actions/permissions/workflow"
WORKFLOW_PERMISSIONS = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": True}
REPOSITORY_PATTERN = re.compile(r"(?:https://|ssh://)?(?:[^@/]+@)?[^/:]+[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?")


class NotAtTopError(UserError):
    """The project is a folder of a larger repository, whose rules stand elsewhere.

    Parameters
    ----------
    folder
        The project's folder in the repository.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(
            f"this project is the folder {folder} of a repository, and GitHub reads {CODEOWNERS} and workflows at the "
            f"top only; copy the rules there, with {folder} in front of each path, and protect the branch by hand"
        )
        self.folder = folder


class PlannedChange(NamedTuple):
    """A change of GitHub's settings or of a file: a sentence, and the function that makes the change."""

    sentence: str
    apply: Callable[[], Any]


def parse_repository(url: str) -> str:
    """Return owner and name of a repository from the address of a remote at GitHub.

    Raises
    ------
    UserError
        If it is another address.
    """
    found = REPOSITORY_PATTERN.fullmatch(url)
    if not found:
        raise UserError(f"the remote origin is {url!r}, no repository at GitHub; set it with `git remote`")
    return found[1]


def find_token() -> str:
    """Return the token of the environment, or the one that GitHub's command line holds.

    Raises
    ------
    UserError
        If there is none.
    """
    token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or try_command("gh", "auth", "token")
    if not token:
        cure = "set GITHUB_TOKEN to one that may administer the repository, or `gh auth login`"
        raise UserError(f"there is no token: {cure}")
    return token


def contains_settings(actual: Any, wanted: Any) -> bool:
    """Return whether GitHub's settings hold all that is wanted; they may hold more.

    Parameters
    ----------
    actual, wanted
        JSON values. An object holds another if each of its values holds the other's; a list holds another if, for
        each of the other's items, one of its own holds it.
    """
    if isinstance(wanted, dict):
        if not isinstance(actual, dict):
            return False
        return all(contains_settings(actual.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(actual, list):
            return False
        return all(any(contains_settings(item, value) for item in actual) for value in wanted)
    return bool(actual == wanted)


def assign_owners(text: str, owner: str) -> str:
    """Return the text of CODEOWNERS with the owner behind each path that has none yet."""
    return re.sub(r"(?m)^# (/\S+)$", rf"\1 @{owner}", text)


def write_codeowners(text: str) -> None:
    """Write CODEOWNERS."""
    with atomic_write(CODEOWNERS) as draft:
        draft.write_text(text, encoding="utf-8")


def plan_codeowners(api: GitHubClient) -> Iterator[PlannedChange]:
    """Yield the change of CODEOWNERS, if it needs one."""
    text = CODEOWNERS.read_text(encoding="utf-8") if CODEOWNERS.exists() else ""
    assigned = assign_owners(text, api.owner)
    if assigned != text:
        sentence = f"@{api.owner} must agree to changes of what decides about models, which the file lists"
        yield PlannedChange(f"{CODEOWNERS}: {sentence}", lambda: write_codeowners(assigned))


def plan_ruleset(api: GitHubClient) -> Iterator[PlannedChange]:
    """Yield the change of the ruleset, if it needs one."""
    wanted = read_json(RULESET)
    number = next((row["id"] for row in api.iterate_rows("/rulesets") if row["name"] == wanted["name"]), None)
    if number and contains_settings(api.request("GET", f"/rulesets/{number}"), wanted):
        return
    method, path = ("PUT", f"/rulesets/{number}") if number else ("POST", "/rulesets")
    sentence = (
        f"{RULESET}: the default branch takes pull requests in which `Required checks pass`, and CODEOWNERS agree; "
        "nobody deletes it or pushes over it"
    )
    yield PlannedChange(sentence, lambda: api.request(method, path, wanted))


def plan_permissions(api: GitHubClient) -> Iterator[PlannedChange]:
    """Yield the change of what workflows may do, if it needs one."""
    if not contains_settings(api.get_or_none(PERMISSIONS_PATH), WORKFLOW_PERMISSIONS):
        sentence = "Actions: workflows read unless a job says otherwise, and may open pull requests (for the retrain)"
        yield PlannedChange(sentence, lambda: api.request("PUT", PERMISSIONS_PATH, WORKFLOW_PERMISSIONS))


def plan_changes(api: GitHubClient) -> list[PlannedChange]:
    """Return what has to change."""
    return [*plan_codeowners(api), *plan_ruleset(api), *plan_permissions(api)]


def apply_changes(api: GitHubClient) -> None:
    """Make every change that is still needed, so that a second attempt repeats none."""
    for change in plan_changes(api):
        change.apply()


def make_client() -> GitHubClient:
    """Return the client for the repository that this folder is pushed to."""
    repository = os.environ.get("GITHUB_REPOSITORY") or parse_repository(run_git("remote", "get-url", "origin"))
    return GitHubClient(repository, find_token(), os.environ.get("GITHUB_API_URL") or API_URL)


def protect_branch(api: GitHubClient, yes: bool) -> None:
    """Show what has to change, ask, and change it."""
    changes = retry_while_unavailable(lambda: plan_changes(api))
    for change in changes:
        print_result("protect", change.sentence)
    if not changes:
        print_result("protect", f"{api.repository} is protected as it should be")
    elif confirm("protect", "the list above", "Change this?", yes):
        retry_while_unavailable(lambda: apply_changes(api))
        print_result("protect", f"done; commit {CODEOWNERS} if it changed")


def main(yes: bool = False) -> int:
    """Show what GitHub must change to protect the default branch, ask, and change it; YES=1 does not ask."""
    folder = try_command("git", "rev-parse", "--show-prefix")
    if folder:
        raise NotAtTopError(folder)
    try:
        protect_branch(make_client(), yes)
    except ApiError as problem:
        extra = "; rulesets need a public repository or a paid plan" if problem.status in (403, 404) else ""
        raise UserError(f"{problem}{extra}") from None
    except ServiceUnavailableError as problem:
        raise UserError(f"{problem}; try again later") from None
    return 0
