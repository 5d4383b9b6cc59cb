"""Alert people to what monitoring found: one issue for each model, a webhook, and the start of a retrain.

With the standard library alone, so that a job that may write needs no environment.
"""

import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.core.console import print_annotation
from modelyard.core.project import Project
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError, retry_while_unavailable
from modelyard.github.post import MAX_TITLE_CHARACTERS, PostingRefusedError, try_action
from modelyard.github.sanitize import (
    MAX_BODY_CHARACTERS,
    InvalidArtifactError,
    read_untrusted_json,
    read_untrusted_text,
    sanitize_line,
    sanitize_markdown,
    truncate_markdown,
)

MONITOR_FILE = "reports/monitor.json"
MONITOR_PAGE = "reports/monitor.md"
RETRAIN_FILE = "reports/retrain.json"
MEMORY_FILE = "reports/alert.json"
ALERT_LEVELS = ("critical", "warning")  # a notice alerts nobody
SIGNAL_KEYS = ("kind", "name", "state", "sentence")
ISSUE_LABEL = "monitor"
MEMORY_PATTERN = re.compile(r"<!-- said (\{.*?\}) -->")
SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
MAX_REMEMBERED_SIGNALS = 20
MAX_WEBHOOK_SIGNALS = 10
MAX_WEBHOOK_CHARACTERS = 2900
SECONDS_PER_UNIT = {"d": 86_400, "h": 3_600}
JsonObject = dict[str, Any]
Signal = dict[str, str]


class LastAlert(NamedTuple):
    """What was said last about a model, and the address of the issue that says it."""

    memory: JsonObject
    issue_url: str


def load_findings(path: Path, **patterns: str) -> JsonObject:
    """Read the findings that `monitor` or `retrain` wrote; they hold what people sent to the service.

    Parameters
    ----------
    path
        A JSON file.
    **patterns
        A regular expression for each value that must match.

    Returns
    -------
    JsonObject
        The findings.

    Raises
    ------
    InvalidArtifactError
        If the file cannot be read or does not look as it must.
    """
    findings = read_untrusted_json(path)
    for key, pattern in patterns.items():
        if not re.fullmatch(pattern, str(findings.get(key))):
            raise InvalidArtifactError(f"{path.name}: {key} must look like {pattern}")
    if not all(isinstance(signal, dict) for signal in findings.get("signals", [])):
        raise InvalidArtifactError(f"{path.name}: signals must be objects")
    return findings


def select_signals(findings: JsonObject) -> list[Signal]:
    """Return the signals that people are alerted to, harmless and the gravest first."""
    signals = findings.get("signals", [])
    selected = [signal for level in ALERT_LEVELS for signal in signals if signal.get("state") == level]
    return [{key: sanitize_line(signal.get(key, "")) for key in SIGNAL_KEYS} for signal in selected]


def map_signal_levels(signals: list[Signal]) -> dict[str, str]:
    """Return the state of the first signals by kind and name, as an issue remembers them."""
    remembered = signals[:MAX_REMEMBERED_SIGNALS]
    return {f"{signal['kind']} {signal['name']}"[:80]: signal["state"] for signal in remembered}


def should_notify(signals: list[Signal], memory: JsonObject, cooldown: str, now: float) -> bool:
    """Decide whether to call people.

    Parameters
    ----------
    signals
        What was found now.
    memory
        The levels that were said last, and when.
    cooldown
        How long to wait before the same is said again, such as `7d` or `12h`.
    now
        The time in seconds since 1970.

    Returns
    -------
    bool
        Whether a signal is new or worse than before, or still stands when the cool-down is over.
    """
    known = memory.get("levels", {})
    is_new = any(known.get(name) not in (state, "critical") for name, state in map_signal_levels(signals).items())
    wait_seconds = int(cooldown[:-1]) * SECONDS_PER_UNIT[cooldown[-1]]
    is_due = now - memory.get("time", 0) >= wait_seconds
    return bool(signals) and (is_new or is_due)


def build_webhook_message(project: str, model: str, signals: list[Signal], link: str) -> JsonObject:
    """Return the JSON of a Slack-compatible webhook.

    Parameters
    ----------
    project
        The project's name.
    model
        The SHA-256 of the model.
    signals
        What was found; nothing when all is in order again.
    link
        The address of the issue, or an empty text.
    """
    sentences = [signal["sentence"].translate(SLACK_ESCAPES) for signal in signals]
    state = signals[0]["state"] if signals else "in order again"
    head = f"{project} {model[:12]}: {state}"
    lines = [f"*{head}*"]
    for signal, sentence in list(zip(signals, sentences, strict=True))[:MAX_WEBHOOK_SIGNALS]:
        lines.append(f"• *{signal['state']}* {sentence}")
    if link:
        lines.append(link)
    markdown = {"type": "mrkdwn", "text": "\n".join(lines)[:MAX_WEBHOOK_CHARACTERS]}
    plain = f"{head}: {sentences[0]}" if sentences else head
    return {"text": plain, "blocks": [{"type": "section", "text": markdown}]}


def send_to_webhook(address: str, content: JsonObject) -> str:
    """Send JSON to a webhook.

    Returns
    -------
    str
        What was done, in words.

    Raises
    ------
    PostingRefusedError
        If the webhook refuses.
    ServiceUnavailableError
        If it cannot answer now.
    """
    try:
        request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10):
            return "people were called"
    except urllib.error.HTTPError as problem:
        if problem.code < 500 and problem.code != 429:
            raise PostingRefusedError(f"the webhook refused with {problem.code}; set WEBHOOK anew") from None
        raise ServiceUnavailableError(f"the webhook answered {problem.code}") from None
    except (OSError, ValueError):
        raise ServiceUnavailableError("the webhook does not answer") from None


@dataclass(frozen=True)
class Alert:
    """One run's findings, and where they are said.

    Attributes
    ----------
    folder
        The folder with the run's files.
    project
        The project's name, which marks its issues: several projects may share a repository.
    api
        The repository; None where there is no token, and a file remembers what was said.
    webhook
        The address that people are called at, or an empty text.
    bot
        The account that posts.
    now
        The time in seconds since 1970.
    """

    folder: Path
    project: str
    api: GitHubClient | None
    webhook: str
    bot: str
    now: float

    @property
    def marker_prefix(self) -> str:
        """The beginning of the first line of this project's issues about any model."""
        return f"<!-- {self.project}: monitor "

    def build_marker(self, model: str) -> str:
        """Return the first line of the issue about a model."""
        return f"{self.marker_prefix}{model[:12]} -->"

    def list_issues(self) -> list[JsonObject]:
        """Return this project's issues about any model, open and closed."""
        if not self.api:
            return []
        rows = self.api.iterate_rows(f"/issues?state=all&labels={ISSUE_LABEL}")
        by_bot = [row for row in rows if row["user"]["login"] == self.bot and "pull_request" not in row]
        return [row for row in by_bot if (row.get("body") or "").startswith(self.marker_prefix)]

    def find_model_issue(self, issues: list[JsonObject], model: str) -> JsonObject:
        """Return the issue about a model, or an empty object."""
        return next((issue for issue in issues if issue["body"].startswith(self.build_marker(model))), {})

    def load_last_alert(self, model: str) -> LastAlert:
        """Return what was said last about a model: its issue's second line says it, or a file without a token."""
        if not self.api:
            file = self.folder / MEMORY_FILE
            memory = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            return LastAlert(memory, "")
        issue = self.find_model_issue(self.list_issues(), model)
        remembered = MEMORY_PATTERN.search(issue.get("body") or "")
        try:
            memory = dict(json.loads(remembered[1])) if remembered else {}
        except ValueError:
            memory = {}
        return LastAlert(memory, issue.get("html_url", ""))

    def build_issue(self, model: str, signals: list[Signal], memory: JsonObject) -> JsonObject:
        """Return title and body of the issue about a model."""
        sentence = signals[0]["sentence"] if signals else "in order again"
        head = f"{self.build_marker(model)}\n<!-- said {json.dumps(memory)} -->\n"
        foot = f"\n\n<sub>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</sub>\n"
        report = sanitize_markdown(read_untrusted_text(self.folder / MONITOR_PAGE))
        room = MAX_BODY_CHARACTERS - len(head) - len(foot)
        return {
            "title": sanitize_line(f"{self.project}: {sentence}", MAX_TITLE_CHARACTERS),
            "body": head + truncate_markdown(report, room) + foot,
        }

    def update_issues(self, model: str, signals: list[Signal], memory: JsonObject) -> str:
        """Open, update or close the model's issue, and close those of models that no longer serve.

        Parameters
        ----------
        model
            The SHA-256 of the model.
        signals
            What was found; nothing closes the issue.
        memory
            What the next run must know.

        Returns
        -------
        str
            What was done, in words.
        """
        if not self.api:
            (self.folder / MEMORY_FILE).write_text(json.dumps(memory) + "\n", encoding="utf-8")
            return f"{len(signals)} findings; there is no GITHUB_TOKEN, so no issue says them"
        issues = self.list_issues()
        issue = self.find_model_issue(issues, model)
        content = self.build_issue(model, signals, memory)
        done = []
        if signals and not issue:
            made = self.api.request("POST", "/issues", content | {"labels": [ISSUE_LABEL]})
            done.append(f"opened #{made['number']}")
        elif signals:
            done.append(patch_issue(self.api, issue, content | {"state": "open"}))
        elif issue.get("state") == "open":
            done.append(patch_issue(self.api, issue, content | {"state": "closed", "state_reason": "completed"}))
        for other in issues:
            if other["state"] == "open" and other is not issue:
                done.append(patch_issue(self.api, other, {"state": "closed", "state_reason": "not_planned"}))
        return "; ".join(done) or "no issue is open, none is needed"

    def send_alert(self) -> bool:
        """Say what is to be said, and return False where a part of it failed, which the next run tries again."""
        findings = load_findings(self.folder / MONITOR_FILE, model="[0-9a-f]{64}", cooldown="[0-9]+[dh]")
        model = findings["model"]
        signals = select_signals(findings)
        last = retry_while_unavailable(lambda: self.load_last_alert(model))
        is_due = should_notify(signals, last.memory, findings["cooldown"], self.now)
        is_over = bool(last.memory.get("levels")) and not signals
        called = True
        if self.webhook and (is_due or is_over):
            message = build_webhook_message(self.project, model, signals, last.issue_url)
            called = try_action("webhook", lambda: send_to_webhook(self.webhook, message))
        said_at = self.now if is_due else last.memory.get("time", 0)
        memory = {"levels": map_signal_levels(signals), "time": said_at} if called else last.memory
        return try_action("issue", lambda: self.update_issues(model, signals, memory)) and called

    def start_retrain(self, base: str) -> bool:
        """Start the retrain that was decided, if one was, on the branch `base`; return False where that failed."""
        path = self.folder / RETRAIN_FILE
        api = self.api
        if api is None or not path.exists():
            return True
        findings = load_findings(path)
        if findings.get("outcome") != "train":
            return True
        content = {"ref": base, "inputs": {"reason": sanitize_line(findings.get("reason"), 200)}}

        def dispatch() -> str:
            api.request("POST", "/actions/workflows/retrain.yml/dispatches", content)
            return "started"

        return try_action("retrain", dispatch)


def patch_issue(api: GitHubClient, issue: JsonObject, content: JsonObject) -> str:
    """Change an issue, and return what was done in words."""
    api.request("PATCH", f"/issues/{issue['number']}", content)
    return f"#{issue['number']} is {content['state']}"


def main(folder: str = ".", bot: str = "github-actions[bot]", webhook: str = "", base: str = "main") -> int:
    """Say what monitoring found: in one issue for each model (with GITHUB_TOKEN), and to the address WEBHOOK."""
    client = GitHubClient.from_environment()
    api = client if client.token and client.repository else None
    alert = Alert(Path(folder), Project.load().name, api, webhook, bot, time.time())
    was_monitored = Path(folder, MONITOR_FILE).exists() or not Path(folder, RETRAIN_FILE).exists()
    try:
        alerted = alert.send_alert() if was_monitored else True
        started = alert.start_retrain(base)
    except (InvalidArtifactError, ApiError, ServiceUnavailableError) as problem:
        print_annotation("error", "No alert", sanitize_line(problem, 500))
        return 1
    return 0 if alerted and started else 1
