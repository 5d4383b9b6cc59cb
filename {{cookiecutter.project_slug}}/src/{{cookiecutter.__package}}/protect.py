"""Verb: the rules of the default branch on GitHub: what must pass, who must agree, what Actions may do."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from .config import UserError, atomic, git
from .github import Api, ApiError, Unavailable, patiently

OWNERS = Path(".github/CODEOWNERS")
ACTIONS = 15368  # GitHub's own number for GitHub Actions: no other app's check of that name counts
ADMIN = 5  # GitHub's own number for the role of a repository's administrators
RULESET = "Default branch"
CHECKS = {"strict_required_status_checks_policy": False}
REVIEWS = {
    "required_approving_review_count": 0,
    "require_code_owner_review": True,
    "dismiss_stale_reviews_on_push": True,
    "require_last_push_approval": False,
    "required_review_thread_resolution": False,
}
WANTED: dict[str, Any] = {
    "name": RULESET,
    "target": "branch",
    "enforcement": "active",
    "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
    # Who owns a repository alone cannot approve their own change: in a pull request, administrators may.
    "bypass_actors": [{"actor_id": ADMIN, "actor_type": "RepositoryRole", "bypass_mode": "pull_request"}],
    "rules": [
        {"type": "deletion"},
        {"type": "non_fast_forward"},
        {"type": "pull_request", "parameters": REVIEWS},
        {
            "type": "required_status_checks",
            "parameters": CHECKS
            | {"required_status_checks": [{"context": "Required checks pass", "integration_id": ACTIONS}]},
        },
    ],
}
WORKFLOW = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": True}


def repository(url: str) -> str:
    """owner/name from the address of a remote at GitHub; another address is a `UserError`."""
    found = re.fullmatch(r"(?:https://|ssh://)?(?:[^@/]+@)?[^/:]+[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?", url)
    if not found:
        raise UserError(f"the remote origin is {url!r}, no repository at GitHub; set it with `git remote`")
    return found[1]


def token() -> str:
    """The token of the environment, or the one that GitHub's command line holds."""
    if given := os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN"):
        return given
    try:
        done = subprocess.run(["gh", "auth", "token"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = None
    if not done or done.returncode:
        raise UserError(
            "there is no token: set GITHUB_TOKEN to one that may administer the repository, or `gh auth login`"
        )
    return done.stdout.strip()


def covers(there: Any, wanted: Any) -> bool:
    """Whether what GitHub has holds all that is wanted; it may say more."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(covers(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and all(any(covers(t, w) for t in there) for w in wanted)
    return bool(there == wanted)


def ruleset(api: Api) -> dict[str, Any]:
    """Our ruleset as GitHub has it, or nothing."""
    number = next((row["id"] for row in api.pages("/rulesets") if row["name"] == RULESET), None)
    return api.call("GET", f"/rulesets/{number}") if number else {}


def owners(text: str, owner: str) -> str:
    """CODEOWNERS with the owner behind each path that still waits for one."""
    return re.sub(r"(?m)^# (/\S+)$", rf"\1 @{owner}", text)


def plan(api: Api, text: str) -> list[tuple[str, str, Any]]:
    """What has to change, each as a sentence, the call that does it, and its body; a file has no call."""
    steps: list[tuple[str, str, Any]] = []
    if (new := owners(text, api.owner)) != text:
        steps.append((f"{OWNERS}: @{api.owner} must agree to changes of the gate, the workflows and deploy/", "", new))
    there = ruleset(api)
    if not covers(there, WANTED):
        what = "the default branch takes pull requests in which `Required checks pass`, and CODEOWNERS agree"
        path = f"PUT /rulesets/{there['id']}" if there else "POST /rulesets"
        steps.append((f"ruleset {RULESET!r}: {what}; nobody deletes it or pushes over it", path, WANTED))
    if not covers(api.find("/actions/permissions/workflow"), WORKFLOW):
        what = "workflows read unless a job says otherwise, and may open pull requests (for the retrain)"
        steps.append((f"Actions: {what}", "PUT /actions/permissions/workflow", WORKFLOW))
    return steps


def agreed(yes: bool) -> bool:
    """Whether the person at the keyboard wants it; without one, only YES=1 does."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserError("nobody is there to ask; look at the list above and run `make protect YES=1`")
    return input("Change this? [y/N] ").strip().lower() in ("y", "yes")


def carry_out(api: Api, steps: list[tuple[str, str, Any]]) -> None:
    """Do what was agreed."""
    for _, call, body in steps:
        method, _, path = call.partition(" ")
        if path:
            api.call(method, path, body)
            continue
        with atomic(OWNERS) as draft:
            draft.write_text(body, encoding="utf-8")


def main(yes: bool = False) -> int:
    """Show what GitHub must be told to protect the default branch, ask, and tell it."""
    url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    name = os.environ.get("GITHUB_REPOSITORY") or repository(git("remote", "get-url", "origin"))
    api, text = Api(name, token(), url), OWNERS.read_text(encoding="utf-8") if OWNERS.exists() else ""
    try:
        steps = patiently(lambda: plan(api, text))
        for sentence, _, _ in steps:
            print(f"{'protect':<10}{sentence}")
        if not steps:
            print(f"{'protect':<10}{name} is protected as it should be")
        elif agreed(yes):
            patiently(lambda: carry_out(api, plan(api, text)))
            print(f"{'protect':<10}done; commit {OWNERS} if it changed")
        return 0
    except ApiError as problem:
        extra = "; rulesets need a public repository or a paid plan" if problem.status in (403, 404) else ""
        raise UserError(f"{problem}{extra}") from None
    except Unavailable as problem:
        raise UserError(f"{problem}; try again later") from None
