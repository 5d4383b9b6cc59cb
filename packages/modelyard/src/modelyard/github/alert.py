"""Verb: what monitoring found is said: one issue for each model, a webhook, and a retrain that was decided starts.

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
from typing import Any

from modelyard.core.console import print_line
from modelyard.core.project import Project
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError, retry_while_unavailable
from modelyard.github.post import PostingRefusedError, try_action
from modelyard.github.sanitize import (
    MAX_BODY_CHARACTERS,
    InvalidArtifactError,
    read_untrusted_text,
    sanitize_line,
    sanitize_markdown,
    truncate_markdown,
)

ALERT_LEVELS = ("critical", "warning")  # a notice wakes nobody
ISSUE_LABEL = "monitor"
MEMORY_PATTERN = re.compile(r"<!-- said (\{.*?\}) -->")
SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
HOURS_PER_UNIT = {"d": 24, "h": 1}
JsonObject = dict[str, Any]


def build_marker_prefix() -> str:
    """Return the start of the marker by which this project finds its own issues again."""
    return f"<!-- {Project.load().name}: monitor "


def load_findings(path: Path, **patterns: str) -> JsonObject:
    """The findings of a file that `monitor` or `retrain` wrote, checked: they hold what people sent to the service."""
    try:
        found = json.loads(read_untrusted_text(path))
    except ValueError:
        raise InvalidArtifactError(f"{path.name} is not JSON") from None
    if not isinstance(found, dict) or found.get("version") != 1:
        raise InvalidArtifactError(f"{path.name} is not of version 1")
    for key, pattern in patterns.items():
        if not re.fullmatch(pattern, str(found.get(key))):
            raise InvalidArtifactError(f"{path.name}: {key} must look like {pattern}")
    if not all(isinstance(signal, dict) for signal in found.get("signals", [])):
        raise InvalidArtifactError(f"{path.name}: signals must be objects")
    return found


def map_signal_levels(signals: list[dict[str, str]]) -> dict[str, str]:
    """The states of the first signals by name, as far as an issue remembers them."""
    return {f"{s['kind']} {s['name']}"[:80]: s["state"] for s in signals[:20]}


def should_notify(signals: list[dict[str, str]], said: JsonObject, cooldown: str, now: float) -> bool:
    """Whether to call people: something new, something worse, or it still stands when the cool-down is over."""
    known = said.get("levels", {})
    fresh = any(known.get(name) not in (state, "critical") for name, state in map_signal_levels(signals).items())
    pause = 3600 * HOURS_PER_UNIT[cooldown[-1]] * int(cooldown[:-1])
    return bool(signals) and (fresh or now - said.get("time", 0) >= pause)


def build_webhook_message(model: str, signals: list[dict[str, str]], link: str) -> JsonObject:
    """The JSON that a Slack-compatible webhook takes."""
    head = f"{Project.load().name} {model[:12]}: {signals[0]['state'] if signals else 'in order again'}"
    lines = [f"• *{s['state']}* {s['sentence'].translate(SLACK_ESCAPES)}" for s in signals[:10]]
    text = "\n".join([f"*{head}*", *lines, *filter(None, [link])])
    plain = head + (f": {signals[0]['sentence'].translate(SLACK_ESCAPES)}" if signals else "")
    return {"text": plain, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text[:2900]}}]}


def send_to_webhook(address: str, content: JsonObject) -> str:
    """Send to a webhook; where it only cannot answer now, `Unavailable` says that trying again may help."""
    request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10):
            return "people were called"
    except urllib.error.HTTPError as problem:
        if problem.code < 500 and problem.code != 429:
            raise PostingRefusedError(f"the webhook refused with {problem.code}; set WEBHOOK anew") from None
        raise ServiceUnavailableError(f"the webhook answered {problem.code}") from None
    except (OSError, ValueError):
        raise ServiceUnavailableError("the webhook does not answer") from None


def build_marker(model: str) -> str:
    """The first line of the issue about a model."""
    return f"{build_marker_prefix()}{model[:12]} -->"


def find_model_issue(rows: list[JsonObject], model: str) -> JsonObject:
    """The one issue about a model, or nothing."""
    return next((row for row in rows if row["body"].startswith(build_marker(model))), {})


@dataclass(frozen=True)
class Alert:
    """One run's findings, and where they are said: on GitHub, or where there is no token in a file."""

    folder: Path
    api: GitHubClient | None
    webhook: str
    bot: str
    now: float

    def list_issues(self) -> list[JsonObject]:
        """Our issues about any model, open and closed."""
        rows = self.api.pages(f"/issues?state=all&labels={ISSUE_LABEL}") if self.api else ()
        mine = [row for row in rows if row["user"]["login"] == self.bot and "pull_request" not in row]
        return [row for row in mine if (row.get("body") or "").startswith(build_marker_prefix())]

    def recall(self, model: str) -> tuple[JsonObject, str]:
        """What was said last, and the address of the issue whose second line says it."""
        if not self.api:
            memory = self.folder / "reports/alert.json"
            return (json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}), ""
        row = find_model_issue(self.list_issues(), model)
        found = MEMORY_PATTERN.search(row.get("body") or "")
        try:
            return dict(json.loads(found[1])) if found else {}, row.get("html_url", "")
        except ValueError:
            return {}, row["html_url"]

    def keep(self, model: str, signals: list[dict[str, str]], said: JsonObject) -> str:
        """Open, update or close the model's issue, and close those of models that no longer serve."""
        if not self.api:
            (self.folder / "reports/alert.json").write_text(json.dumps(said) + "\n", encoding="utf-8")
            return f"{len(signals)} findings; there is no GITHUB_TOKEN, so no issue says them"
        rows, done = self.list_issues(), []
        row = find_model_issue(rows, model)
        title = sanitize_line(f"{Project.load().name}: {signals[0]['sentence'] if signals else 'in order again'}", 240)
        head = f"{build_marker(model)}\n<!-- said {json.dumps(said)} -->\n"
        foot = f"\n\n<sub>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</sub>\n"
        report = truncate_markdown(
            sanitize_markdown(read_untrusted_text(self.folder / "reports/monitor.md")),
            MAX_BODY_CHARACTERS - len(head) - len(foot),
        )
        content = {"title": title, "body": head + report + foot}
        if signals and not row:
            done = [f"opened #{self.api.call('POST', '/issues', content | {'labels': [ISSUE_LABEL]})['number']}"]
        elif signals:
            done = [self.patch_issue(row, content | {"state": "open"})]
        elif row.get("state") == "open":
            done = [self.patch_issue(row, content | {"state": "closed", "state_reason": "completed"})]
        over = [old for old in rows if old["state"] == "open" and old is not row]
        done += [self.patch_issue(old, {"state": "closed", "state_reason": "not_planned"}) for old in over]
        return "; ".join(done) or "no issue is open, none is needed"

    def patch_issue(self, row: JsonObject, content: JsonObject) -> str:
        """Change one of our issues."""
        if self.api:
            self.api.call("PATCH", f"/issues/{row['number']}", content)
        return f"#{row['number']} is {content['state']}"

    def send_alert(self) -> bool:
        """Say what is to be said; False where a part of it could not be said, which is tried again next time."""
        found = load_findings(self.folder / "reports/monitor.json", model="[0-9a-f]{64}", cooldown="[0-9]+[dh]")
        grave = [s for level in ALERT_LEVELS for s in found.get("signals", []) if s.get("state") == level]
        signals = [{key: sanitize_line(s.get(key, "")) for key in ("kind", "name", "state", "sentence")} for s in grave]
        model = found["model"]
        said, link = retry_while_unavailable(lambda: self.recall(model))
        calls, heard = should_notify(signals, said, found["cooldown"], self.now), True
        if self.webhook and (calls or (said.get("levels") and not signals)):
            heard = try_action(
                "webhook", lambda: send_to_webhook(self.webhook, build_webhook_message(model, signals, link))
            )
        note = {"levels": map_signal_levels(signals), "time": self.now if calls else said.get("time", 0)}
        return try_action("issue", lambda: self.keep(model, signals, note if heard else said)) and heard

    def start(self, base: str) -> bool:
        """Start the retrain that was decided, if one was, with its reason."""
        path = self.folder / "reports/retrain.json"
        if not (api := self.api) or not path.exists() or (found := load_findings(path)).get("outcome") != "train":
            return True
        where, inputs = "/actions/workflows/retrain.yml/dispatches", {"reason": sanitize_line(found.get("reason"), 200)}
        return try_action("retrain", lambda: api.call("POST", where, {"ref": base, "inputs": inputs}) or "started")


def main(folder: str = ".", bot: str = "github-actions[bot]", webhook: str = "", base: str = "main") -> int:
    """Say what monitoring found: one issue for each model (with GITHUB_TOKEN), and the address WEBHOOK."""
    api = GitHubClient.from_environment()
    alert = Alert(Path(folder), api if api.token and api.repository else None, webhook, bot, time.time())
    watched = Path(folder, "reports/monitor.json").exists() or not Path(folder, "reports/retrain.json").exists()
    try:
        return 0 if all([not watched or alert.send_alert(), alert.start(base)]) else 1
    except (InvalidArtifactError, ApiError, ServiceUnavailableError) as problem:
        print_line(f"::error title=No alert::{sanitize_line(problem, 500)}")
        return 1
