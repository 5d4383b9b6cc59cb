"""Verb: which model is champion, challenger and previous; MLflow's aliases mirror deploy/*.yaml, git is the truth."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from .config import MODEL, UserError, atomic, git

FOLDER = Path("deploy")
HISTORY = FOLDER / "history.jsonl"
LINE = ("environment", "from", "to", "action", "when", "who")
ALIASES = ("champion", "challenger", "previous")


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


def label(env: str, alias: str) -> str:
    """MLflow's alias of an environment: production's are the plain ones."""
    return alias if env == "production" else f"{env}-{alias}"


def version_of(store: Any, name: str, digest: str, tags: dict[str, str]) -> str | None:
    """The registered version of a model digest, registered now where its run is known; None where it is not."""
    found = store.search_model_versions(f"name = '{name}' and tags.sha256 = '{digest}'")
    if found:
        version = str(found[0].version)
    else:
        experiment = store.get_experiment_by_name(name)
        runs = store.search_runs([experiment.experiment_id], f"tags.model = '{digest}'")
        run = next((run for run in runs if "model_uri" in run.data.tags), None)
        if run is None:
            return None
        uri = run.data.tags["model_uri"]
        more = {"run_id": run.info.run_id, "model_id": uri.rpartition("/")[2], "tags": {"sha256": digest}}
        version = str(store.create_model_version(name, uri, **more).version)
    for key, value in tags.items():
        store.set_model_version_tag(name, version, key, value)
    return version


def mirror(env: str, wanted: dict[str, str | None], entry: dict[str, Any]) -> list[str]:
    """Move MLflow's aliases to the wanted digests; the sentences say what could not be moved."""
    from mlflow.exceptions import MlflowException

    from .track import client

    store, name = client(), str(__package__)
    try:
        store.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    said = []
    for alias, digest in wanted.items():
        if digest is None:
            store.delete_registered_model_alias(name, label(env, alias))
            continue
        tags = {f"promoted.{key}": str(value) for key, value in entry.items()} if alias == "champion" else {}
        version = version_of(store, name, digest, tags)
        if version is None:
            said.append(f"MLflow knows no run of {digest[:12]}; its alias {label(env, alias)} was not moved")
        else:
            store.set_registered_model_alias(name, label(env, alias), version)
    return said


def digests(env: str) -> dict[str, str | None]:
    """The digests that the aliases of an environment should point to, by its file and history."""
    champion, challenger = ((state(env).get(slot) or {}).get("model") for slot in ("champion", "candidate"))
    past = [entry["from"] for entry in history(env) if entry.get("from") and entry["from"] != champion]
    return {"champion": champion, "challenger": challenger, "previous": past[-1] if past else None}


def aliases(env: str) -> dict[str, str | None]:
    """The digests that MLflow's aliases point to."""
    from mlflow.exceptions import MlflowException

    from .track import client

    store, found = client(), dict.fromkeys(ALIASES)
    for alias in ALIASES:
        try:
            found[alias] = store.get_model_version_by_alias(str(__package__), label(env, alias)).tags.get("sha256")
        except MlflowException:
            continue
    return found


def main(env: str = "production") -> int:
    """Print which model each alias names, by git and by MLflow; exit 1 where the two disagree."""
    truth, mirrored = digests(env), aliases(env)
    for alias in ALIASES:
        mark = "" if truth[alias] == mirrored[alias] else f"  (MLflow: {(mirrored[alias] or 'none')[:12]})"
        print(f"{alias:<12}{(truth[alias] or 'none')[:12]}{mark}")
    for entry in history(env)[-5:]:
        moved = " → ".join((entry[key] or "none")[:12] for key in ("from", "to"))
        print(f"{entry['when']}  {entry['action']:<9} {moved}  {entry['who']}")
    if truth != mirrored:
        print(f"git is the truth: `make promote` moves both; model file {MODEL}")
    return int(truth != mirrored)
