"""Verb: the rules of the default branch on GitHub: what must pass, who must agree, what Actions may do."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write, read_json
from modelyard.core.process import run_git, try_command
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError, retry_while_unavailable

CODEOWNERS = Path(".github/CODEOWNERS")
# GitHub imports this file by hand, too. Its numbers are GitHub's own: role 5 is the repository's administrators, who
# may merge their own pull request where nobody else could approve it; app 15368 is GitHub Actions: no other app's check
# of that name counts.
RULESET = Path(".github/ruleset.json")
WORKFLOW_PERMISSIONS = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": True}
PlannedChange = tuple[str, Callable[[], Any]]


def parse_repository(url: str) -> str:
    """owner/name from the address of a remote at GitHub; another address is a `UserError`."""
    found = re.fullmatch(r"(?:https://|ssh://)?(?:[^@/]+@)?[^/:]+[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?", url)
    if not found:
        raise UserError(f"the remote origin is {url!r}, no repository at GitHub; set it with `git remote`")
    return found[1]


def find_token() -> str:
    """The token of the environment, or the one that GitHub's command line holds."""
    found = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or try_command("gh", "auth", "token")
    if not found:
        cure = "set GITHUB_TOKEN to one that may administer the repository, or `gh auth login`"
        raise UserError(f"there is no token: {cure}")
    return found


def contains_settings(there: Any, wanted: Any) -> bool:
    """Whether what GitHub has holds all that is wanted; it may say more."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(
            contains_settings(there.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(there, list) and all(any(contains_settings(t, w) for t in there) for w in wanted)
    return bool(there == wanted)


def assign_owners(text: str, owner: str) -> str:
    """CODEOWNERS with the owner behind each path that still waits for one."""
    return re.sub(r"(?m)^# (/\S+)$", rf"\1 @{owner}", text)


def write_codeowners(text: str) -> None:
    """Make this the text of CODEOWNERS."""
    with atomic_write(CODEOWNERS) as draft:
        draft.write_text(text, encoding="utf-8")


def plan_changes(api: GitHubClient) -> Iterator[PlannedChange]:
    """What has to change, each as a sentence and what does it."""
    text, wanted = CODEOWNERS.read_text(encoding="utf-8") if CODEOWNERS.exists() else "", read_json(RULESET)
    if (new := assign_owners(text, api.owner)) != text:
        said = f"{CODEOWNERS}: @{api.owner} must agree to changes of what decides about models, which the file lists"
        yield said, lambda: write_codeowners(new)
    number = next((row["id"] for row in api.iterate_rows("/rulesets") if row["name"] == wanted["name"]), None)
    if not number or not contains_settings(api.request("GET", f"/rulesets/{number}"), wanted):
        said = "the default branch takes pull requests in which `Required checks pass`, and CODEOWNERS agree"
        call = ("PUT", f"/rulesets/{number}", wanted) if number else ("POST", "/rulesets", wanted)
        yield f"{RULESET}: {said}; nobody deletes it or pushes over it", lambda: api.request(*call)
    if not contains_settings(api.get_or_none("/actions/permissions/workflow"), WORKFLOW_PERMISSIONS):
        said = "Actions: workflows read unless a job says otherwise, and may open pull requests (for the retrain)"
        yield said, lambda: api.request("PUT", "/actions/permissions/workflow", WORKFLOW_PERMISSIONS)


def main(yes: bool = False) -> int:
    """Show what GitHub must be told to protect the default branch, ask, and tell it."""
    url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    api = GitHubClient(
        os.environ.get("GITHUB_REPOSITORY") or parse_repository(run_git("remote", "get-url", "origin")),
        find_token(),
        url,
    )
    try:
        steps = retry_while_unavailable(lambda: list(plan_changes(api)))
        for sentence, _ in steps:
            print_result("protect", f"{sentence}")
        if not steps:
            print_result("protect", f"{api.repository} is protected as it should be")
        elif not yes and not sys.stdin.isatty():
            raise UserError("nobody is there to ask; look at the list above and run `make protect YES=1`")
        elif yes or input("Change this? [y/N] ").strip().lower() in ("y", "yes"):
            retry_while_unavailable(
                lambda: [change() for _, change in plan_changes(api)]
            )  # what was done already is not planned again
            print_result("protect", f"done; commit {CODEOWNERS} if it changed")
        return 0
    except ApiError as problem:
        extra = "; rulesets need a public repository or a paid plan" if problem.status in (403, 404) else ""
        raise UserError(f"{problem}{extra}") from None
    except ServiceUnavailableError as problem:
        raise UserError(f"{problem}; try again later") from None
