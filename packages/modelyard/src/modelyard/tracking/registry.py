"""Mirrors deploy/*.yaml in MLflow's registry: the aliases champion, challenger and previous. Git is authoritative."""

from typing import TYPE_CHECKING, Any

from modelyard.core.console import print_line
from modelyard.core.deployments import load_history, load_state
from modelyard.core.paths import MODEL_FILE
from modelyard.core.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIASES = ("champion", "challenger", "previous")
HISTORY_LINES = 5


def build_alias(env: str, alias: str) -> str:
    """Return MLflow's alias for an environment; those of production have no prefix."""
    return alias if env == "production" else f"{env}-{alias}"


def find_or_register_version(client: "MlflowClient", name: str, digest: str) -> str | None:
    """Return the registered version of a model, and register it first where only its run is known.

    Parameters
    ----------
    client
        A client of the tracking store.
    name
        The project's name: of its experiment and of its registered model.
    digest
        The SHA-256 of the model file.

    Returns
    -------
    str or None
        The version; None where no run of this project logged the model.
    """
    found = client.search_model_versions(f"name = '{name}' and tags.sha256 = '{digest}'")
    if found:
        return str(found[0].version)
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], f"tags.model = '{digest}'")
    run = next((run for run in runs if "model_uri" in run.data.tags), None)
    if run is None:
        return None
    uri = run.data.tags["model_uri"]
    made = client.create_model_version(
        name, uri, run_id=run.info.run_id, model_id=uri.rpartition("/")[2], tags={"sha256": digest}
    )
    return str(made.version)


def create_registered_model(client: "MlflowClient", name: str) -> None:
    """Create a registered model where it is missing."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def sync_aliases(env: str, wanted: dict[str, str | None], entry: dict[str, Any]) -> list[str]:
    """Move MLflow's aliases of an environment to the wanted models.

    Parameters
    ----------
    env
        The environment.
    wanted
        For each alias the SHA-256 of the model; None removes the alias.
    entry
        The line of the deployment history behind the change; it becomes tags `promoted.<key>` of the champion.

    Returns
    -------
    list of str
        One sentence for each alias that could not be moved.
    """
    from modelyard.tracking.store import get_mlflow_client

    client = get_mlflow_client()
    name = Project.load().name
    create_registered_model(client, name)
    problems = []
    for alias, digest in wanted.items():
        full_name = build_alias(env, alias)
        if digest is None:
            client.delete_registered_model_alias(name, full_name)
            continue
        version = find_or_register_version(client, name, digest)
        if version is None:
            problems.append(f"MLflow has no run of model {digest[:12]}; its alias {full_name} was not moved")
            continue
        if alias == "champion":
            for key, value in entry.items():
                client.set_model_version_tag(name, version, f"promoted.{key}", str(value))
        client.set_registered_model_alias(name, full_name, version)
    return problems


def get_expected_digests(env: str) -> dict[str, str | None]:
    """Return the model (SHA-256) that each alias should name, by deploy/<env>.yaml and the history."""
    state = load_state(env)
    champion = (state.get("champion") or {}).get("model")
    challenger = (state.get("candidate") or {}).get("model")
    earlier = [entry["from"] for entry in load_history(env) if entry["from"] not in (None, champion)]
    return {"champion": champion, "challenger": challenger, "previous": earlier[-1] if earlier else None}


def get_alias_tags(env: str, alias: str) -> dict[str, str]:
    """Return the tags of the version that an alias names in MLflow; empty where there is none."""
    from mlflow.exceptions import MlflowException

    from modelyard.tracking.store import get_mlflow_client

    client = get_mlflow_client()
    try:
        version = client.get_model_version_by_alias(Project.load().name, build_alias(env, alias))
    except MlflowException:  # also where nothing was ever registered
        return {}
    return dict(version.tags)


def get_mlflow_digests(env: str) -> dict[str, str | None]:
    """Return the model (SHA-256) that each alias names in MLflow."""
    return {alias: get_alias_tags(env, alias).get("sha256") for alias in ALIASES}


def main(env: str = "production") -> int:
    """Print which model each alias names, by git and by MLflow; exit with 1 where the two disagree."""
    expected = get_expected_digests(env)
    mirrored = get_mlflow_digests(env)
    for alias in ALIASES:
        note = "" if expected[alias] == mirrored[alias] else f"  (MLflow: {(mirrored[alias] or 'none')[:12]})"
        print_line(f"{alias:<12}{(expected[alias] or 'none')[:12]}{note}")
    for entry in load_history(env)[-HISTORY_LINES:]:
        change = " → ".join((entry[key] or "none")[:12] for key in ("from", "to"))
        print_line(f"{entry['when']}  {entry['action']:<9} {change}  {entry['who']}")
    if expected != mirrored:
        print_line(f"git is authoritative: `make promote` moves both; model file {MODEL_FILE}")
    return int(expected != mirrored)
