"""TODO doc."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write
from modelyard.core.process import run_git
from modelyard.core.yaml import dump_yaml, read_yaml

DEPLOY_FOLDER = Path("deploy")
HISTORY_FILE = DEPLOY_FOLDER / "history.jsonl"
HISTORY_KEYS = ("environment", "from", "to", "action", "when", "who")


def list_environments() -> list[str]:
    """The environments that there are."""
    return sorted(path.stem for path in DEPLOY_FOLDER.glob("*.yaml"))


def load_state(env: str) -> dict[str, Any]:
    """What deploy/<env>.yaml says; an unknown environment is a `UserError` that lists those there are."""
    path = DEPLOY_FOLDER / f"{env}.yaml"
    if env not in (known := list_environments()):
        raise UserError(f"there is no environment {env!r}; there are {', '.join(known)}")
    found: dict[str, Any] = read_yaml(path)
    return found


def write_state(env: str, new: dict[str, Any]) -> None:
    """Write deploy/<env>.yaml, its opening comment kept."""
    path = DEPLOY_FOLDER / f"{env}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    comments = "".join(line for line in lines if line.startswith("#"))
    with atomic_write(path) as draft:
        draft.write_text(comments + dump_yaml(new), encoding="utf-8")


def append_history(entry: dict[str, Any]) -> dict[str, Any]:
    """Add a line to deploy/history.jsonl: who, when, and what the entry says."""
    who = os.environ.get("GITHUB_ACTOR") or run_git("config", "--default", "unknown", "--get", "user.email")
    line = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "who": who, **entry}
    before = HISTORY_FILE.read_text(encoding="utf-8") if HISTORY_FILE.exists() else ""
    with atomic_write(HISTORY_FILE) as draft:
        draft.write_text(before + json.dumps(line) + "\n", encoding="utf-8")
    return line


def parse_history(text: str) -> list[dict[str, Any]]:
    """The lines of a history; a broken one is a `UserError` that names it."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not set(HISTORY_KEYS) <= set(entry):
            raise UserError(
                f"{HISTORY_FILE} line {number} is not JSON with {', '.join(HISTORY_KEYS)}; restore it with git"
            )
        entries.append(entry)
    return entries


def load_history(env: str | None = None) -> list[dict[str, Any]]:
    """The promotions and rollbacks, oldest first."""
    entries = parse_history(HISTORY_FILE.read_text(encoding="utf-8")) if HISTORY_FILE.exists() else []
    return [entry for entry in entries if env in (None, entry["environment"])]
