"""Verb: which model is champion, challenger and previous; MLflow's aliases mirror deploy/*.yaml, git is the truth."""

from typing import Any

from modelyard.core.deployments import history, state
from modelyard.core.paths import MODEL
from modelyard.core.project import Project

ALIASES = ("champion", "challenger", "previous")


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

    from modelyard.tracking.store import client

    store, name = client(), Project.load().name
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

    from modelyard.tracking.store import client

    store, found = client(), dict.fromkeys(ALIASES)
    for alias in ALIASES:
        try:
            found[alias] = store.get_model_version_by_alias(Project.load().name, label(env, alias)).tags.get("sha256")
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
