"""Verb: which model is champion, challenger and previous; MLflow's aliases mirror deploy/*.yaml, git is the truth."""

from typing import Any

from modelyard.core.console import print_line
from modelyard.core.deployments import load_history, load_state
from modelyard.core.paths import MODEL_FILE
from modelyard.core.project import Project

ALIASES = ("champion", "challenger", "previous")


def build_alias(env: str, alias: str) -> str:
    """MLflow's alias of an environment: production's are the plain ones."""
    return alias if env == "production" else f"{env}-{alias}"


def find_or_register_version(store: Any, name: str, digest: str, tags: dict[str, str]) -> str | None:
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


def sync_aliases(env: str, wanted: dict[str, str | None], entry: dict[str, Any]) -> list[str]:
    """Move MLflow's aliases to the wanted digests; the sentences say what could not be moved."""
    from mlflow.exceptions import MlflowException

    from modelyard.tracking.store import get_mlflow_client

    store, name = get_mlflow_client(), Project.load().name
    try:
        store.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    said = []
    for alias, digest in wanted.items():
        if digest is None:
            store.delete_registered_model_alias(name, build_alias(env, alias))
            continue
        tags = {f"promoted.{key}": str(value) for key, value in entry.items()} if alias == "champion" else {}
        version = find_or_register_version(store, name, digest, tags)
        if version is None:
            said.append(f"MLflow knows no run of {digest[:12]}; its alias {build_alias(env, alias)} was not moved")
        else:
            store.set_registered_model_alias(name, build_alias(env, alias), version)
    return said


def get_expected_digests(env: str) -> dict[str, str | None]:
    """The digests that the aliases of an environment should point to, by its file and history."""
    champion, challenger = ((load_state(env).get(slot) or {}).get("model") for slot in ("champion", "candidate"))
    past = [entry["from"] for entry in load_history(env) if entry.get("from") and entry["from"] != champion]
    return {"champion": champion, "challenger": challenger, "previous": past[-1] if past else None}


def get_mlflow_digests(env: str) -> dict[str, str | None]:
    """The digests that MLflow's aliases point to."""
    from mlflow.exceptions import MlflowException

    from modelyard.tracking.store import get_mlflow_client

    store, found = get_mlflow_client(), dict.fromkeys(ALIASES)
    for alias in ALIASES:
        try:
            found[alias] = store.get_model_version_by_alias(Project.load().name, build_alias(env, alias)).tags.get(
                "sha256"
            )
        except MlflowException:
            continue
    return found


def main(env: str = "production") -> int:
    """Print which model each alias names, by git and by MLflow; exit 1 where the two disagree."""
    truth, mirrored = get_expected_digests(env), get_mlflow_digests(env)
    for alias in ALIASES:
        mark = "" if truth[alias] == mirrored[alias] else f"  (MLflow: {(mirrored[alias] or 'none')[:12]})"
        print_line(f"{alias:<12}{(truth[alias] or 'none')[:12]}{mark}")
    for entry in load_history(env)[-5:]:
        moved = " → ".join((entry[key] or "none")[:12] for key in ("from", "to"))
        print_line(f"{entry['when']}  {entry['action']:<9} {moved}  {entry['who']}")
    if truth != mirrored:
        print_line(f"git is the truth: `make promote` moves both; model file {MODEL_FILE}")
    return int(truth != mirrored)
