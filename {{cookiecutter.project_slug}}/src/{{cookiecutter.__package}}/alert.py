"""Verb: what monitoring found is said: one issue for each model, and a webhook; with the standard library alone."""

import json
import re
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .github import Api, ApiError, Unavailable, patiently
from .post import Refused, attempt, environment
from .untrusted import LIMIT, Unfit, cut, line, neutral, read

LEVELS = ("warning", "critical")  # a notice wakes nobody
LABEL = "monitor"
SAID = re.compile(r"<!-- said (\{.*?\}) -->")


def load(folder: Path) -> dict[str, Any]:
    """The findings of monitor.json, checked: they hold what people sent to the service."""
    try:
        found = json.loads(read(folder / "reports/monitor.json"))
    except ValueError:
        raise Unfit("monitor.json is not JSON") from None
    if not isinstance(found, dict) or found.get("version") != 1:
        raise Unfit("monitor.json is not of version 1")
    if not re.fullmatch("[0-9a-f]{64}", str(found.get("model"))):
        raise Unfit("monitor.json: model must be a SHA-256")
    if not re.fullmatch(r"\d+[dh]", str(found.get("cooldown"))):
        raise Unfit("monitor.json: cooldown must be a duration such as 7d")
    if not all(isinstance(signal, dict) for signal in found.get("signals", [None])):
        raise Unfit("monitor.json: signals must be objects")
    return found


def grave(found: dict[str, Any]) -> list[dict[str, str]]:
    """The signals that a person must know of, the gravest first."""
    signals = [s for s in found["signals"] if s.get("state") in LEVELS]
    ordered = sorted(signals, key=lambda s: -LEVELS.index(s["state"]))
    return [{key: line(s.get(key, "")) for key in ("kind", "name", "state", "sentence")} for s in ordered]


def loud(signals: list[dict[str, str]], said: dict[str, Any], cooldown: str, now: float) -> bool:
    """Whether to call people: something new, something worse, or it still stands when the cool-down is over."""
    pause = int(cooldown[:-1]) * (86_400 if cooldown[-1] == "d" else 3_600)
    known = said.get("levels", {})
    fresh = [s for s in signals if known.get(f"{s['kind']} {s['name']}") not in (s["state"], "critical")]
    return bool(signals) and (bool(fresh) or now - said.get("time", 0) >= pause)


def slack(text: str) -> str:
    """A text that Slack and those that speak like it show as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def message(model: str, signals: list[dict[str, str]], link: str) -> dict[str, Any]:
    """The JSON that a Slack-compatible webhook takes."""
    head = f"{__package__} {model[:12]}: " + (f"{signals[0]['state']}" if signals else "in order again")
    body = "\n".join(f"• *{s['state']}* {slack(s['sentence'])}" for s in signals[:10])
    text = "\n".join(part for part in (f"*{head}*", body, link) if part)
    plain = head + (f": {slack(signals[0]['sentence'])}" if signals else "")
    return {"text": plain, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text[:2900]}}]}


def call(address: str, content: dict[str, Any]) -> str:
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


@dataclass(frozen=True)
class Board:
    """The issues about our models, as one token sees them."""

    api: Api
    bot: str

    def ours(self) -> list[dict[str, Any]]:
        """Our issues about any model, open and closed."""
        start = f"<!-- {__package__}: monitor "
        rows = self.api.pages(f"/issues?state=all&labels={LABEL}")
        mine = [row for row in rows if row["user"]["login"] == self.bot and "pull_request" not in row]
        return [row for row in mine if (row.get("body") or "").startswith(start)]

    def find(self, model: str) -> dict[str, Any] | None:
        """The issue about a model; there is one."""
        return next((row for row in self.ours() if row["body"].startswith(marker(model))), None)

    def retire(self, model: str) -> str:
        """Close what is open about models that no longer serve."""
        old = [r for r in self.ours() if r["state"] == "open" and not r["body"].startswith(marker(model))]
        for row in old:
            self.api.call("PATCH", f"/issues/{row['number']}", {"state": "closed", "state_reason": "not_planned"})
        return f"closed {len(old)} about earlier models" if old else ""

    def write(self, model: str, title: str, body: str, is_open: bool) -> str:
        """Open, update or close the one issue about a model."""
        row = self.find(model)
        content: dict[str, Any] = {"title": title, "body": body}
        if row is None:
            if not is_open:
                return "no issue is open, none is needed"
            return f"opened issue #{self.api.call('POST', '/issues', {**content, 'labels': [LABEL]})['number']}"
        if not is_open and row["state"] == "closed":
            return "no issue is open, none is needed"
        change = {"state": "open"} if is_open else {"state": "closed", "state_reason": "completed"}
        self.api.call("PATCH", f"/issues/{row['number']}", content | change)
        return f"{'updated' if is_open else 'closed'} issue #{row['number']}"


def marker(model: str) -> str:
    """The first line of the issue about a model."""
    return f"<!-- {__package__}: monitor {model[:12]} -->"


def remembered(body: str) -> dict[str, Any]:
    """What was said last, from the issue's second line."""
    found = SAID.search(body[:4000])
    try:
        return dict(json.loads(found[1])) if found else {}
    except ValueError:
        return {}


def page(folder: Path, model: str, said: dict[str, Any]) -> str:
    """The issue's body: our marks, and the report made harmless."""
    head = f"{marker(model)}\n<!-- said {json.dumps(said)} -->\n"
    foot = f"\n\n<sub>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</sub>\n"
    report = neutral(read(folder / "reports/monitor.md"))
    return head + cut(report, LIMIT - len(head) - len(foot)) + foot


@dataclass(frozen=True)
class Alert:
    """One run's findings, and where they are said."""

    folder: Path
    board: Board | None
    webhook: str
    now: float

    def recall(self, model: str) -> tuple[dict[str, Any], str]:
        """What was said last, and the address of the issue that says it."""
        if self.board:
            row = self.board.find(model) or {}
            return remembered(row.get("body") or ""), row.get("html_url", "")
        memory = self.folder / "reports/alert.json"
        return (json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}), ""

    def keep(self, model: str, signals: list[dict[str, str]], said: dict[str, Any]) -> str:
        """Write down what was said: in the issue, or in a file where there is no GitHub."""
        if self.board is None:
            (self.folder / "reports/alert.json").write_text(json.dumps(said) + "\n", encoding="utf-8")
            return f"{len(signals)} findings; there is no GITHUB_TOKEN, so no issue says them"
        title = f"{__package__}: {signals[0]['sentence'] if signals else 'in order again'}"
        done = self.board.write(model, line(title, 240), page(self.folder, model, said), bool(signals))
        return "; ".join(filter(None, [done, self.board.retire(model)]))

    def speak(self) -> bool:
        """Say what is to be said; False where a part of it could not be said, which is tried again next time."""
        found = load(self.folder)
        signals, model = grave(found), found["model"]
        said, link = patiently(lambda: self.recall(model))
        calls, heard = loud(signals, said, found["cooldown"], self.now), True
        if self.webhook and (calls or (said.get("levels") and not signals)):
            heard = attempt("webhook", lambda: call(self.webhook, message(model, signals, link)))
        levels = {f"{s['kind']} {s['name']}"[:80]: s["state"] for s in signals[:20]}
        note = {"levels": levels, "time": self.now if calls else said.get("time", 0)}
        return attempt("issue", lambda: self.keep(model, signals, note if heard else said)) and heard


def main(folder: str = ".", bot: str = "github-actions[bot]", webhook: str = "") -> int:
    """Say what monitoring found: one issue for each model (with GITHUB_TOKEN), and the address WEBHOOK."""
    api = Api.of_environment()
    board = Board(api, bot) if api.token and api.repository else None
    try:
        return 0 if Alert(Path(folder), board, webhook, time.time()).speak() else 1
    except (Unfit, ApiError, Unavailable) as problem:
        print(f"::error title=No alert::{line(problem, 500)}", flush=True)
        return 1


if __name__ == "__main__":  # `python -m <package>.alert` needs no package but this one
    sys.exit(main(**environment(main)))
