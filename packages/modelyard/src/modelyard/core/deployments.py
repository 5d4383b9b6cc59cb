"""What is deployed: the state of each environment in deploy/<env>.yaml, and its history in deploy/history.jsonl."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.core import git_objects
from modelyard.core.errors import InvalidFileError, OptionError
from modelyard.core.files import atomic_write
from modelyard.core.process import run_git
from modelyard.core.yaml import dump_yaml, read_yaml

PRODUCTION = "production"
DEPLOY_FOLDER = Path("deploy")
HISTORY_FILE = DEPLOY_FOLDER / "history.jsonl"
HISTORY_KEYS = ("environment", "from", "to", "action", "when", "who")


@dataclass(frozen=True)
class DeployedModel:
    """The model that an environment runs.

    Parameters
    ----------
    model
        The SHA-256 of its file.
    commit
        The commit whose code and data made it.
    image
        The container image that serves it; None where none was named.
    """

    model: str
    commit: str
    image: str | None = None


def get_state_path(env: str) -> Path:
    """Return the file with the state of an environment."""
    return DEPLOY_FOLDER / f"{env}.yaml"


def list_environments() -> list[str]:
    """Return the names of the project's environments."""
    return sorted(path.stem for path in DEPLOY_FOLDER.glob("*.yaml"))


def find_deployed_champion(commit: str = "HEAD", env: str = PRODUCTION) -> DeployedModel | None:
    """Return the champion of an environment as a commit has it; None where nothing is deployed there.

    Raises
    ------
    InvalidFileError
        The state names a champion without its model or its commit.
    """
    champion = read_champion_at(commit, env)
    if not champion:
        return None
    if not champion.get("model") or not champion.get("commit"):
        problem = f"has a champion without its model or its commit (at {commit[:12]})"
        raise InvalidFileError(get_state_path(env), problem, "restore it with git")
    return DeployedModel(champion["model"], champion["commit"], champion.get("image"))


def load_state(env: str) -> dict[str, Any]:
    """Return the state of an environment: its champion, its candidate, and the candidate's share of the traffic.

    Raises
    ------
    OptionError
        There is no such environment.
    """
    environments = list_environments()
    if env not in environments:
        raise OptionError("ENV", f"{env!r} is not an environment", f"choose one of {', '.join(environments)}")
    state: dict[str, Any] = read_yaml(get_state_path(env))
    return state


def get_champion(env: str) -> dict[str, Any]:
    """Return the champion in deploy/<env>.yaml: `model`, `commit` and `image`; empty where nothing is deployed."""
    return load_state(env).get("champion") or {}


def read_champion_at(revision: str, env: str) -> dict[str, Any]:
    """Return the champion in deploy/<env>.yaml at a revision; empty where nothing was deployed."""
    state = git_objects.read_yaml_at(revision, get_state_path(env)) or {}
    return state.get("champion") or {}


def write_state(env: str, state: dict[str, Any]) -> None:
    """Write the state of an environment below the comments of its file."""
    path = get_state_path(env)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    comments = "".join(line for line in lines if line.startswith("#"))
    with atomic_write(path) as draft:
        draft.write_text(comments + dump_yaml(state), encoding="utf-8")


def append_history(entry: dict[str, Any]) -> dict[str, Any]:
    """Add a line to the history, with the time and the person, and return it."""
    who = os.environ.get("GITHUB_ACTOR") or run_git("config", "--default", "unknown", "--get", "user.email")
    line = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "who": who, **entry}
    before = HISTORY_FILE.read_text(encoding="utf-8") if HISTORY_FILE.exists() else ""
    with atomic_write(HISTORY_FILE) as draft:
        draft.write_text(before + json.dumps(line) + "\n", encoding="utf-8")
    return line


def parse_history(text: str) -> list[dict[str, Any]]:
    """Return the entries of a history, oldest first.

    Raises
    ------
    InvalidFileError
        A line is not a JSON object, or lacks one of `HISTORY_KEYS`.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not set(HISTORY_KEYS) <= set(entry):
            problem = f"line {number} is not JSON with {', '.join(HISTORY_KEYS)}"
            raise InvalidFileError(HISTORY_FILE, problem, "restore it with git")
        entries.append(entry)
    return entries


def load_history(env: str | None = None) -> list[dict[str, Any]]:
    """Return the promotions and rollbacks of an environment, or of all, oldest first."""
    entries = parse_history(HISTORY_FILE.read_text(encoding="utf-8")) if HISTORY_FILE.exists() else []
    return [entry for entry in entries if env in (None, entry["environment"])]
