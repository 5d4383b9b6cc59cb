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

from modelyard.core.project import Project
from modelyard.github.api import Api, ApiError, Unavailable, patiently
from modelyard.github.post import Refused, attempt
from modelyard.github.sanitize import LIMIT, Unfit, cut, line, neutral, read

LEVELS = ("critical", "warning")  # a notice wakes nobody
LABEL = "monitor"
SAID = re.compile(r"<!-- said (\{.*?\}) -->")
SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
HOURS = {"d": 24, "h": 1}
Found = dict[str, Any]


def opening() -> str:
    """Return the start of the marker by which this project finds its own issues again."""
    return f"<!-- {Project.load().name}: monitor "


def load(path: Path, **patterns: str) -> Found:
    """The findings of a file that `monitor` or `retrain` wrote, checked: they hold what people sent to the service."""
    try:
        found = json.loads(read(path))
    except ValueError:
        raise Unfit(f"{path.name} is not JSON") from None
    if not isinstance(found, dict) or found.get("version") != 1:
        raise Unfit(f"{path.name} is not of version 1")
    for key, pattern in patterns.items():
        if not re.fullmatch(pattern, str(found.get(key))):
            raise Unfit(f"{path.name}: {key} must look like {pattern}")
    if not all(isinstance(signal, dict) for signal in found.get("signals", [])):
        raise Unfit(f"{path.name}: signals must be objects")
    return found


def levels(signals: list[dict[str, str]]) -> dict[str, str]:
    """The states of the first signals by name, as far as an issue remembers them."""
    return {f"{s['kind']} {s['name']}"[:80]: s["state"] for s in signals[:20]}


def loud(signals: list[dict[str, str]], said: Found, cooldown: str, now: float) -> bool:
    """Whether to call people: something new, something worse, or it still stands when the cool-down is over."""
    known = said.get("levels", {})
    fresh = any(known.get(name) not in (state, "critical") for name, state in levels(signals).items())
    pause = 3600 * HOURS[cooldown[-1]] * int(cooldown[:-1])
    return bool(signals) and (fresh or now - said.get("time", 0) >= pause)


def message(model: str, signals: list[dict[str, str]], link: str) -> Found:
    """The JSON that a Slack-compatible webhook takes."""
    head = f"{Project.load().name} {model[:12]}: {signals[0]['state'] if signals else 'in order again'}"
    lines = [f"• *{s['state']}* {s['sentence'].translate(SLACK)}" for s in signals[:10]]
    text = "\n".join([f"*{head}*", *lines, *filter(None, [link])])
    plain = head + (f": {signals[0]['sentence'].translate(SLACK)}" if signals else "")
    return {"text": plain, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text[:2900]}}]}


def call(address: str, content: Found) -> str:
    """Send to a webhook; where it only cannot answer now, `Unavailable` says that trying again may help."""
    request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10):
            return "people were called"
    except urllib.error.HTTPError as problem:
        if problem.code < 500 and problem.code != 429:
            raise Refused(f"the webhook refused with {problem.code}; set WEBHOOK anew") from None
        raise Unavailable(f"the webhook answered {problem.code}") from None
    except (OSError, ValueError):
        raise Unavailable("the webhook does not answer") from None


def marker(model: str) -> str:
    """The first line of the issue about a model."""
    return f"{opening()}{model[:12]} -->"


def about(rows: list[Found], model: str) -> Found:
    """The one issue about a model, or nothing."""
    return next((row for row in rows if row["body"].startswith(marker(model))), {})


@dataclass(frozen=True)
class Alert:
    """One run's findings, and where they are said: on GitHub, or where there is no token in a file."""

    folder: Path
    api: Api | None
    webhook: str
    bot: str
    now: float

    def issues(self) -> list[Found]:
        """Our issues about any model, open and closed."""
        rows = self.api.pages(f"/issues?state=all&labels={LABEL}") if self.api else ()
        mine = [row for row in rows if row["user"]["login"] == self.bot and "pull_request" not in row]
        return [row for row in mine if (row.get("body") or "").startswith(opening())]

    def recall(self, model: str) -> tuple[Found, str]:
        """What was said last, and the address of the issue whose second line says it."""
        if not self.api:
            memory = self.folder / "reports/alert.json"
            return (json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}), ""
        row = about(self.issues(), model)
        found = SAID.search(row.get("body") or "")
        try:
            return dict(json.loads(found[1])) if found else {}, row.get("html_url", "")
        except ValueError:
            return {}, row["html_url"]

    def keep(self, model: str, signals: list[dict[str, str]], said: Found) -> str:
        """Open, update or close the model's issue, and close those of models that no longer serve."""
        if not self.api:
            (self.folder / "reports/alert.json").write_text(json.dumps(said) + "\n", encoding="utf-8")
            return f"{len(signals)} findings; there is no GITHUB_TOKEN, so no issue says them"
        rows, done = self.issues(), []
        row = about(rows, model)
        title = line(f"{Project.load().name}: {signals[0]['sentence'] if signals else 'in order again'}", 240)
        head = f"{marker(model)}\n<!-- said {json.dumps(said)} -->\n"
        foot = f"\n\n<sub>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</sub>\n"
        report = cut(neutral(read(self.folder / "reports/monitor.md")), LIMIT - len(head) - len(foot))
        content = {"title": title, "body": head + report + foot}
        if signals and not row:
            done = [f"opened #{self.api.call('POST', '/issues', content | {'labels': [LABEL]})['number']}"]
        elif signals:
            done = [self.change(row, content | {"state": "open"})]
        elif row.get("state") == "open":
            done = [self.change(row, content | {"state": "closed", "state_reason": "completed"})]
        over = [old for old in rows if old["state"] == "open" and old is not row]
        done += [self.change(old, {"state": "closed", "state_reason": "not_planned"}) for old in over]
        return "; ".join(done) or "no issue is open, none is needed"

    def change(self, row: Found, content: Found) -> str:
        """Change one of our issues."""
        if self.api:
            self.api.call("PATCH", f"/issues/{row['number']}", content)
        return f"#{row['number']} is {content['state']}"

    def speak(self) -> bool:
        """Say what is to be said; False where a part of it could not be said, which is tried again next time."""
        found = load(self.folder / "reports/monitor.json", model="[0-9a-f]{64}", cooldown="[0-9]+[dh]")
        grave = [s for level in LEVELS for s in found.get("signals", []) if s.get("state") == level]
        signals = [{key: line(s.get(key, "")) for key in ("kind", "name", "state", "sentence")} for s in grave]
        model = found["model"]
        said, link = patiently(lambda: self.recall(model))
        calls, heard = loud(signals, said, found["cooldown"], self.now), True
        if self.webhook and (calls or (said.get("levels") and not signals)):
            heard = attempt("webhook", lambda: call(self.webhook, message(model, signals, link)))
        note = {"levels": levels(signals), "time": self.now if calls else said.get("time", 0)}
        return attempt("issue", lambda: self.keep(model, signals, note if heard else said)) and heard

    def start(self, base: str) -> bool:
        """Start the retrain that was decided, if one was, with its reason."""
        path = self.folder / "reports/retrain.json"
        if not (api := self.api) or not path.exists() or (found := load(path)).get("outcome") != "train":
            return True
        where, inputs = "/actions/workflows/retrain.yml/dispatches", {"reason": line(found.get("reason"), 200)}
        return attempt("retrain", lambda: api.call("POST", where, {"ref": base, "inputs": inputs}) or "started")


def main(folder: str = ".", bot: str = "github-actions[bot]", webhook: str = "", base: str = "main") -> int:
    """Say what monitoring found: one issue for each model (with GITHUB_TOKEN), and the address WEBHOOK."""
    api = Api.of_environment()
    alert = Alert(Path(folder), api if api.token and api.repository else None, webhook, bot, time.time())
    watched = Path(folder, "reports/monitor.json").exists() or not Path(folder, "reports/retrain.json").exists()
    try:
        return 0 if all([not watched or alert.speak(), alert.start(base)]) else 1
    except (Unfit, ApiError, Unavailable) as problem:
        print(f"::error title=No alert::{line(problem, 500)}", flush=True)
        return 1
