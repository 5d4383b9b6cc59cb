"""TODO doc."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from modelyard.core.errors import UserError
from modelyard.core.files import atomic
from modelyard.core.process import git

FOLDER = Path("deploy")
HISTORY = FOLDER / "history.jsonl"
LINE = ("environment", "from", "to", "action", "when", "who")


def environments() -> list[str]:
    """The environments that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def state(env: str) -> dict[str, Any]:
    """What deploy/<env>.yaml says; an unknown environment is a `UserError` that lists those there are."""
    path = FOLDER / f"{env}.yaml"
    if env not in (known := environments()):
        raise UserError(f"there is no environment {env!r}; there are {', '.join(known)}")
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def write_state(env: str, new: dict[str, Any]) -> None:
    """Write deploy/<env>.yaml, its opening comment kept."""
    path = FOLDER / f"{env}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    comments = "".join(line for line in lines if line.startswith("#"))
    with atomic(path) as draft:
        draft.write_text(comments + yaml.safe_dump(new, sort_keys=False), encoding="utf-8")


def append(entry: dict[str, Any]) -> dict[str, Any]:
    """Add a line to deploy/history.jsonl: who, when, and what the entry says."""
    who = os.environ.get("GITHUB_ACTOR") or git("config", "--default", "unknown", "--get", "user.email")
    line = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "who": who, **entry}
    before = HISTORY.read_text(encoding="utf-8") if HISTORY.exists() else ""
    with atomic(HISTORY) as draft:
        draft.write_text(before + json.dumps(line) + "\n", encoding="utf-8")
    return line


def parsed(text: str) -> list[dict[str, Any]]:
    """The lines of a history; a broken one is a `UserError` that names it."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not set(LINE) <= set(entry):
            raise UserError(f"{HISTORY} line {number} is not JSON with {', '.join(LINE)}; restore it with git")
        entries.append(entry)
    return entries


def history(env: str | None = None) -> list[dict[str, Any]]:
    """The promotions and rollbacks, oldest first."""
    entries = parsed(HISTORY.read_text(encoding="utf-8")) if HISTORY.exists() else []
    return [entry for entry in entries if env in (None, entry["environment"])]
