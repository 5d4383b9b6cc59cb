"""Post what a run found on GitHub: comment, status, issue and pull request, with the standard library alone."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.console import print_annotation, print_line
from modelyard.core.errors import OptionError, UserError
from modelyard.core.process import try_command
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
    verify_digest,
)

# What a branch of ours may change; a file that a run does not bring stays as it is.
PROPOSED_FILES = {
    "retrain": ("dvc.lock", "params.yaml", "reports/data.json", "reports/metrics.json"),
    "promote": ("deploy/staging.yaml", "deploy/production.yaml", "deploy/history.jsonl"),
}
POST_KINDS = ("comment", "status", "issue", "close", "pull", "dispatch", "verdict", "summary")
VERDICT_FILE = "reports/verdict.json"
REPORT_FILE = "reports/report.md"
ISSUE_LABEL = "model"
COMMIT_STATES = {"pass": "success", "warn": "success", "block": "failure"}
MAX_TITLE_CHARACTERS = 240
MAX_STATUS_CHARACTERS = 140
UNJUDGED_SENTENCE = "The model could not be judged; the run's log says why."
PULL_REQUEST_FORBIDDEN_NOTE = (
    "GitHub Actions may not open pull requests here. Open it with the link below, or let them: "
    "`make protect`, or Settings → Actions → General → Workflow permissions."
)


class PostingRefusedError(UserError):
    """Something is not posted, for a reason that a person can look into."""


@dataclass(frozen=True)
class GitHubPoster:
    """One run's findings, and where they are posted.

    Attributes
    ----------
    api
        The repository.
    folder
        The folder with the run's files.
    project
        The project's name, which marks what is posted: several projects may share a repository.
    number
        The number of the pull request that is commented on.
    sha
        The commit that the findings are about.
    branch
        The branch that holds proposed files: `retrain` or `promote`, or one of these with a hyphen and a name.
    base
        The branch that is proposed to.
    reason
        Why the run was started.
    bot
        The account that posts.
    prefix
        The project's folder in the repository, ending in a slash; empty at the repository's top.
    digest
        The SHA-256 of the verdict as its job told it; empty where nothing told one.
    """

    api: GitHubClient
    folder: Path
    project: str
    number: str = ""
    sha: str = ""
    branch: str = ""
    base: str = "main"
    reason: str = ""
    bot: str = "github-actions[bot]"
    prefix: str = ""
    digest: str = ""

    @property
    def marker(self) -> str:
        """The first line of every comment, issue and pull request that this project posts."""
        return f"<!-- {self.project}: model -->"

    @property
    def run_url(self) -> str:
        """The address of the workflow run."""
        server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
        return f"{server}/{self.api.repository}/actions/runs/{os.environ.get('GITHUB_RUN_ID', '')}"

    def load_verdict(self) -> dict[str, str]:
        """Return the checked verdict; a sentence alone where there is none that can be used."""
        try:
            self.verify_digest()
            return read_verdict(self.folder / VERDICT_FILE)
        except InvalidArtifactError:
            return {"decision": "", "sentence": UNJUDGED_SENTENCE}

    def verify_digest(self) -> None:
        """Raise an `InvalidArtifactError` where the verdict is not the one that its job told of."""
        if self.digest:
            verify_digest(self.folder / VERDICT_FILE, self.digest)

    def build_title(self) -> str:
        """Return the verdict's sentence, with the reason of the run where there is one."""
        sentence = self.load_verdict()["sentence"]
        reason = f" ({sanitize_line(self.reason, 80)})" if self.reason else ""
        return sanitize_line(sentence + reason, MAX_TITLE_CHARACTERS)

    def build_body(self, note: str = "") -> str:
        """Return the marker, a note of our own, the verdict, the harmless report, and the commit and run of it.

        Functions of a branch ran where the report was made, so the verdict that the judge told of stands first.
        """
        try:
            self.verify_digest()
            report = sanitize_markdown(read_untrusted_text(self.folder / REPORT_FILE))
        except InvalidArtifactError as problem:
            report = f"{UNJUDGED_SENTENCE} ({problem})"
        head = f"{self.marker}\n"
        if note:
            head += f"{note}\n\n"
        if self.digest:
            verdict = self.load_verdict()
            sentence = sanitize_line(verdict["sentence"], MAX_TITLE_CHARACTERS)
            head += f"**Decision: {verdict['decision'] or 'none'}.** {sentence}\n\n"
        foot = f"\n\n<sub>commit {self.sha[:12]} · [run]({self.run_url})</sub>\n"
        return head + truncate_markdown(report, MAX_BODY_CHARACTERS - len(head) - len(foot)) + foot

    def is_own_post(self, row: dict[str, Any]) -> bool:
        """Return whether our bot wrote a comment or issue for this project."""
        return row["user"]["login"] == self.bot and (row.get("body") or "").startswith(self.marker)

    def find_open_issue(self) -> int | None:
        """Return the number of this project's open issue, or None."""
        for row in self.api.iterate_rows(f"/issues?state=open&labels={ISSUE_LABEL}"):
            if "pull_request" not in row and self.is_own_post(row):
                return int(row["number"])
        return None

    def comment(self) -> str:
        """Comment on the pull request, in the same comment every time."""
        comments = self.api.iterate_rows(f"/issues/{self.number}/comments")
        own = next((row["id"] for row in comments if self.is_own_post(row)), None)
        content = {"body": self.build_body()}
        if own:
            self.api.request("PATCH", f"/issues/comments/{own}", content)
            return f"comment {own} on #{self.number} now has this report"
        self.api.request("POST", f"/issues/{self.number}/comments", content)
        return f"commented on #{self.number}"

    def status(self) -> str:
        """Set the commit's status to the verdict in words."""
        verdict = self.load_verdict()
        sentence = verdict["sentence"]
        if len(sentence) > MAX_STATUS_CHARACTERS:
            sentence = sentence[: MAX_STATUS_CHARACTERS - 1] + "…"
        content = {
            "state": COMMIT_STATES.get(verdict["decision"], "error"),
            "context": f"{self.project}: model",
            "description": sentence,
            "target_url": self.run_url,
        }
        self.api.request("POST", f"/statuses/{self.sha}", content)
        return f"status of {self.sha[:12]}: {sentence}"

    def issue(self, note: str = "") -> str:
        """Open an issue about the model, or update the one that is open."""
        title = sanitize_line(f"{self.project}: {self.build_title()}", MAX_TITLE_CHARACTERS)
        content = {"title": title, "body": self.build_body(note)}
        number = self.find_open_issue()
        if number:
            self.api.request("PATCH", f"/issues/{number}", content)
            return f"issue #{number} now has this report"
        made = self.api.request("POST", "/issues", {**content, "labels": [ISSUE_LABEL]})
        return f"opened issue #{made['number']}"

    def close(self) -> str:
        """Close the issue about the model, if one is open."""
        number = self.find_open_issue()
        if not number:
            return "no issue was open"
        self.api.request("PATCH", f"/issues/{number}", {"state": "closed", "state_reason": "completed"})
        return f"closed issue #{number}"

    def pull(self) -> str:
        """Propose the new model's files in one pull request; in an issue where Actions may open none.

        Raises
        ------
        PostingRefusedError
            If another project or a person has work on the branch.
        """
        number = self.find_pull_request()
        if not self.commit_files():
            return "nothing differs from the base: nothing to propose"
        content = {"title": self.build_title(), "body": self.build_body()}
        if number:
            self.api.request("PATCH", f"/pulls/{number}", content)
            return f"pull request #{number} now has this model; {self.close()}"
        try:
            made = self.api.request("POST", "/pulls", {**content, "head": self.branch, "base": self.base})
        except ApiError as error:
            if error.status not in (403, 422):
                raise
            link = self.run_url.partition("/actions/")[0] + f"/compare/{self.base}...{self.branch}?expand=1"
            return self.issue(f"{PULL_REQUEST_FORBIDDEN_NOTE}\n\n{link}")
        return f"opened pull request #{made['number']}; {self.close()}"

    def find_pull_request(self) -> int | None:
        """Return the number of the open pull request from our branch, or None; refuse that of another project."""
        rows = list(self.api.iterate_rows(f"/pulls?state=open&head={self.api.owner}:{self.branch}"))
        if not rows:
            return None
        first_line = (rows[0].get("body") or "").partition("\n")[0]
        if first_line.endswith(": model -->") and first_line != self.marker:
            raise PostingRefusedError(
                f"the branch {self.branch} holds the proposal of another project; "
                f"call this project's branch {self.branch}-{self.project} in its workflow"
            )
        return int(rows[0]["number"])

    def commit_files(self) -> bool:
        """Commit the proposed files to our branch, on top of the base; return False when they equal the base's."""
        base = self.api.request("GET", f"/git/commits/{self.sha}")["tree"]["sha"]
        tree = self.create_tree(base)
        if tree == base:
            return False
        ref = self.api.get_or_none(f"/git/ref/heads/{self.branch}")
        if ref and self.is_branch_current(ref["object"]["sha"], tree):
            return True
        content = {"message": self.build_title(), "tree": tree, "parents": [self.sha]}
        commit = self.api.request("POST", "/git/commits", content)["sha"]
        if ref:
            self.api.request("PATCH", f"/git/refs/heads/{self.branch}", {"sha": commit, "force": True})
        else:
            self.api.request("POST", "/git/refs", {"ref": f"refs/heads/{self.branch}", "sha": commit})
        return True

    def create_tree(self, base: str) -> str:
        """Make the git tree that holds the base's files and the proposed ones, and return its SHA."""
        kind = self.branch.partition("-")[0]
        names = [name for name in PROPOSED_FILES[kind] if (self.folder / name).exists()]
        blobs = [
            {
                "path": self.prefix + name,
                "mode": "100644",
                "type": "blob",
                "content": read_untrusted_text(self.folder / name),
            }
            for name in names
        ]
        made = self.api.request("POST", "/git/trees", {"base_tree": base, "tree": blobs})
        return str(made["sha"])

    def is_branch_current(self, head: str, tree: str) -> bool:
        """Return whether our branch already has this tree on top of this base.

        Raises
        ------
        PostingRefusedError
            If a person pushed to the branch.
        """
        commit = self.api.request("GET", f"/git/commits/{head}")
        if commit["author"]["name"] != self.bot:
            raise PostingRefusedError(f"somebody pushed to {self.branch}; merge it or delete it, then run this again")
        parents = [parent["sha"] for parent in commit["parents"]]
        return commit["tree"]["sha"] == tree and parents == [self.sha]

    def dispatch(self) -> str:
        """Start the checks on our branch, since a push with the built-in token starts nothing."""
        if not self.api.get_or_none(f"/git/ref/heads/{self.branch}"):
            return f"there is no branch {self.branch}: nothing to check"
        self.api.request("POST", "/actions/workflows/pull-request.yml/dispatches", {"ref": self.branch})
        return f"started the checks on {self.branch}"

    def verdict(self) -> str:
        """Hand the verdict to the jobs that follow, with the digest by which they know its file."""
        verdict = read_verdict(self.folder / VERDICT_FILE)
        digest = hashlib.sha256((self.folder / VERDICT_FILE).read_bytes()).hexdigest()
        told = verdict | {"digest": digest}
        append_to_actions_file("GITHUB_OUTPUT", "".join(f"{key}={value}\n" for key, value in told.items()))
        return verdict["sentence"]

    def summary(self) -> str:
        """Write the report to the run's page."""
        append_to_actions_file("GITHUB_STEP_SUMMARY", read_untrusted_text(self.folder / REPORT_FILE) + "\n")
        return "the report is on the run's page"


def append_to_actions_file(variable: str, text: str) -> None:
    """Append a text to the file that GitHub Actions names in a variable; do nothing outside of Actions."""
    name = os.environ.get(variable)
    if name:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(text)


def try_action(name: str, action: Callable[[], str]) -> bool:
    """Run one action and print what it did; where it fails, annotate the run with the reason.

    Parameters
    ----------
    name
        What the action is called in the log.
    action
        The action; it returns what it did, in words.

    Returns
    -------
    bool
        Whether it succeeded.
    """
    try:
        print_line(f"{name}: {retry_while_unavailable(action)}")
    except (PostingRefusedError, InvalidArtifactError, ApiError, ServiceUnavailableError) as problem:
        print_annotation("error", f"Not posted ({name})", sanitize_line(problem, 500))
        return False
    return True


def main(
    what: str,
    folder: str = ".",
    number: str = "",
    sha: str = "",
    branch: str = "",
    base: str = "main",
    reason: str = "",
    bot: str = "github-actions[bot]",
    digest: str = "",
) -> int:
    """Post what the run found on GitHub, in the ways that WHAT names."""
    kinds = what.split()
    if not kinds or set(kinds) - set(POST_KINDS):
        raise OptionError("WHAT", f"is {what!r}", f"it must be some of {', '.join(POST_KINDS)}")
    api = GitHubClient.from_environment()
    if not set(kinds) <= {"verdict", "summary"} and not (api.token and api.repository):
        print_annotation("warning", "Not posted", "there is no GITHUB_TOKEN: the report is in the run's summary only")
        return 0
    prefix = try_command("git", "rev-parse", "--show-prefix") or ""
    name = Project.load().name
    poster = GitHubPoster(api, Path(folder), name, number, sha, branch, base, reason, bot, prefix, digest)
    posted = [try_action(kind, getattr(poster, kind)) for kind in kinds]
    return 0 if all(posted) else 1
