"""Verb: what a run found is said on GitHub: comment, status, issue, pull request; with the standard library alone."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.console import print_error, print_line
from modelyard.core.project import Project
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError, retry_while_unavailable
from modelyard.github.sanitize import (
    MAX_BODY_CHARACTERS,
    InvalidArtifactError,
    read_untrusted_text,
    read_verdict,
    sanitize_line,
    sanitize_markdown,
    truncate_markdown,
)

# What a branch of ours may change; a file that a run does not bring stays as it is.
PROPOSED_FILES = {
    "retrain": ("dvc.lock", "params.yaml", "reports/data.json", "reports/metrics.json"),
    "promote": ("deploy/staging.yaml", "deploy/production.yaml", "deploy/history.jsonl"),
}
POST_KINDS = ("comment", "status", "issue", "close", "pull", "dispatch", "summary")
VERDICT_FILE = "reports/verdict.json"
COMMIT_STATES = {"pass": "success", "warn": "success", "block": "failure"}
UNJUDGED_SENTENCE = "The model could not be judged; the run's log says why."
PULL_REQUEST_FORBIDDEN_NOTE = (
    "GitHub Actions may not open pull requests here. Open it with the link below, or let them: "
    "`make protect`, or Settings → Actions → General → Workflow permissions."
)


class PostingRefusedError(Exception):
    """A sentence for a person: what was not posted, and why."""


@dataclass(frozen=True)
class GitHubPoster:
    """One run's findings, and where they are said."""

    api: GitHubClient
    folder: Path
    number: str = ""
    sha: str = ""
    branch: str = ""
    base: str = "main"
    reason: str = ""
    bot: str = "github-actions[bot]"

    @property
    def marker(self) -> str:
        """The first line of what we wrote, by which we find it again."""
        return f"<!-- {Project.load().name}: model -->"

    @property
    def run(self) -> str:
        """The address of this run."""
        server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
        return f"{server}/{self.api.repository}/actions/runs/{os.environ.get('GITHUB_RUN_ID', '')}"

    def verdict(self) -> dict[str, str]:
        """The verdict as words, checked; of one that is not fit only a sentence that says so."""
        try:
            return read_verdict(self.folder / VERDICT_FILE)
        except InvalidArtifactError:
            return {"decision": "", "sentence": UNJUDGED_SENTENCE}

    def body(self, note: str = "") -> str:
        """The marker, a note of our own, the report made harmless, and which commit and run it is about."""
        try:
            report = sanitize_markdown(read_untrusted_text(self.folder / "reports/report.md"))
        except InvalidArtifactError as problem:
            report = f"{UNJUDGED_SENTENCE} ({problem})"
        foot = f"\n\n<sub>commit {self.sha[:12]} · [run]({self.run})</sub>\n"
        head = f"{self.marker}\n" + (f"{note}\n\n" if note else "")
        return head + truncate_markdown(report, MAX_BODY_CHARACTERS - len(head) - len(foot)) + foot

    def comment(self) -> str:
        """One comment on the pull request, the same one every time."""
        issues = self.api.pages(f"/issues/{self.number}/comments")
        ours = next((row["id"] for row in issues if self.is_own_post(row)), None)
        if ours:
            self.api.call("PATCH", f"/issues/comments/{ours}", {"body": self.body()})
            return f"comment {ours} on #{self.number} now has this report"
        self.api.call("POST", f"/issues/{self.number}/comments", {"body": self.body()})
        return f"commented on #{self.number}"

    def is_own_post(self, row: dict[str, Any]) -> bool:
        """Whether a comment or issue is our own: our bot's, and marked."""
        return row["user"]["login"] == self.bot and (row.get("body") or "").startswith(self.marker)

    def status(self) -> str:
        """The verdict in words, on the commit."""
        found = self.verdict()
        state, words = COMMIT_STATES.get(found["decision"], "error"), found["sentence"]
        words = words if len(words) <= 140 else words[:139] + "…"
        status = {"state": state, "context": "model", "description": words, "target_url": self.run}
        self.api.call("POST", f"/statuses/{self.sha}", status)
        return f"status of {self.sha[:12]}: {words}"

    def issue(self, note: str = "") -> str:
        """One open issue about this model, the same one until it is closed."""
        content = {"title": sanitize_line(f"{Project.load().name}: {self.title()}", 240), "body": self.body(note)}
        number = self.find_open_issue()
        if number:
            self.api.call("PATCH", f"/issues/{number}", content)
            return f"issue #{number} now has this report"
        made = self.api.call("POST", "/issues", {**content, "labels": ["model"]})
        return f"opened issue #{made['number']}"

    def find_open_issue(self) -> int | None:
        """The number of our open issue."""
        rows = self.api.pages("/issues?state=open&labels=model")
        return next((row["number"] for row in rows if "pull_request" not in row and self.is_own_post(row)), None)

    def title(self) -> str:
        """The verdict's sentence, and the reason of the run where one was given."""
        return self.verdict()["sentence"] + (f" ({sanitize_line(self.reason, 80)})" if self.reason else "")

    def close(self) -> str:
        """Our open issue is over."""
        if not (number := self.find_open_issue()):
            return "no issue was open"
        self.api.call("PATCH", f"/issues/{number}", {"state": "closed", "state_reason": "completed"})
        return f"closed issue #{number}"

    def pull(self) -> str:
        """One pull request from our branch with the new model's files; an issue where Actions may open none."""
        if not self.commit():
            return "nothing differs from the base: nothing to propose"
        content = {"title": sanitize_line(self.title(), 240), "body": self.body()}
        rows = self.api.pages(f"/pulls?state=open&head={self.api.owner}:{self.branch}")
        if number := next((row["number"] for row in rows), None):
            self.api.call("PATCH", f"/pulls/{number}", content)
            return f"pull request #{number} now has this model; {self.close()}"
        try:
            made = self.api.call("POST", "/pulls", {**content, "head": self.branch, "base": self.base})
        except ApiError as error:
            if error.status not in (403, 422):
                raise
            link = self.run.partition("/actions/")[0] + f"/compare/{self.base}...{self.branch}?expand=1"
            return self.issue(f"{PULL_REQUEST_FORBIDDEN_NOTE}\n\n{link}")
        return f"opened pull request #{made['number']}; {self.close()}"

    def commit(self) -> bool:
        """Put the proposed files on our branch, on top of the base; False when they equal the base's."""
        parent = self.api.call("GET", f"/git/commits/{self.sha}")
        base = parent["tree"]["sha"]
        brought = [name for name in PROPOSED_FILES[self.branch] if (self.folder / name).exists()]
        plain = {"mode": "100644", "type": "blob"}
        blobs = [plain | {"path": name, "content": read_untrusted_text(self.folder / name)} for name in brought]
        tree = self.api.call("POST", "/git/trees", {"base_tree": base, "tree": blobs})["sha"]
        if tree == base:
            return False
        ref = self.api.find(f"/git/ref/heads/{self.branch}")
        if ref and self.is_branch_current(ref["object"]["sha"], tree):
            return True
        content = {"message": self.title(), "tree": tree, "parents": [self.sha]}
        new = self.api.call("POST", "/git/commits", content)["sha"]
        if ref:
            self.api.call("PATCH", f"/git/refs/heads/{self.branch}", {"sha": new, "force": True})
        else:
            self.api.call("POST", "/git/refs", {"ref": f"refs/heads/{self.branch}", "sha": new})
        return True

    def is_branch_current(self, head: str, tree: str) -> bool:
        """Whether our branch already has this; a branch that a person pushed to is left alone."""
        found = self.api.call("GET", f"/git/commits/{head}")
        if found["author"]["name"] != self.bot:
            raise PostingRefusedError(f"somebody pushed to {self.branch}; merge it or delete it, then run this again")
        parents = [parent["sha"] for parent in found["parents"]]
        return found["tree"]["sha"] == tree and parents == [self.sha]

    def dispatch(self) -> str:
        """Start the checks on our branch: a push with the built-in token starts nothing."""
        if not self.api.find(f"/git/ref/heads/{self.branch}"):
            return f"there is no branch {self.branch}: nothing to check"
        self.api.call("POST", "/actions/workflows/pull-request.yml/dispatches", {"ref": self.branch})
        return f"started the checks on {self.branch}"

    def summary(self) -> str:
        """The report for the run's own page, the verdict for the jobs that follow."""
        found = read_verdict(self.folder / VERDICT_FILE)
        append_to_actions_file("GITHUB_OUTPUT", "".join(f"{key}={value}\n" for key, value in found.items()))
        append_to_actions_file("GITHUB_STEP_SUMMARY", read_untrusted_text(self.folder / "reports/report.md") + "\n")
        return found["sentence"]


def append_to_actions_file(variable: str, text: str) -> None:
    """Add to the file that GitHub Actions names in a variable; nothing outside of it."""
    if name := os.environ.get(variable):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(text)


def try_action(name: str, action: Callable[[], str]) -> bool:
    """Whether one thing was said; why not is an annotation on the run."""
    try:
        print_line(f"{name}: {retry_while_unavailable(action)}")
        return True
    except (PostingRefusedError, InvalidArtifactError, ApiError, ServiceUnavailableError) as problem:
        print_line(f"::error title=Not posted ({name})::{sanitize_line(problem, 500)}")
        return False


def main(
    what: str,
    folder: str = ".",
    number: str = "",
    sha: str = "",
    branch: str = "",
    base: str = "main",
    reason: str = "",
    bot: str = "github-actions[bot]",
) -> int:
    """Say on GitHub what the run found, in the ways that WHAT names."""
    words = what.split()
    if not words or set(words) - set(POST_KINDS):
        print_error(f"error: WHAT must be some of {', '.join(POST_KINDS)}; it is {what!r}")
        return 1
    api = GitHubClient.from_environment()
    if set(words) != {"summary"} and not (api.token and api.repository):
        print_line("::warning title=Not posted::there is no GITHUB_TOKEN: the report is in the run's summary only")
        return 0
    post = GitHubPoster(api, Path(folder), number, sha, branch, base, reason, bot)
    done = [try_action(word, getattr(post, word)) for word in words]
    return 0 if all(done) else 1
