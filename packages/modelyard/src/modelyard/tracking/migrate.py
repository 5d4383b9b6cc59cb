"""Copies the runs of the project's own store to a tracking server, with their models and aliases."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelyard.core import deployments
from modelyard.core.console import print_result
from modelyard.core.errors import SettingError, UserError
from modelyard.core.project import Project
from modelyard.tracking import registry
from modelyard.tracking.store import get_display_uri, get_local_store_uri, get_mlflow_client, is_store_local

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOVED_FROM_TAG = "moved_from"
PARENT_RUN_TAG = "mlflow.parentRunId"


def copy_model(source: "MlflowClient", old_model: str, old_run: str, experiment: str, new_run: str) -> str:
    """Copy a logged model to the server and return its address there.

    Parameters
    ----------
    source
        A client of the store that the model is in.
    old_model, old_run
        The ids of the model and its run in that store.
    experiment, new_run
        The ids of the experiment and the run on the server.
    """
    import mlflow

    server = mlflow.MlflowClient()
    artifacts = source.get_logged_model(old_model).artifact_location
    model = server.create_logged_model(experiment, "model", new_run)
    with TemporaryDirectory() as folder:
        shutil.copytree(unquote(urlsplit(artifacts).path), folder, dirs_exist_ok=True)
        description = Path(folder, "MLmodel")
        text = description.read_text(encoding="utf-8")
        text = text.replace(old_model, model.model_id).replace(old_run, new_run)
        description.write_text(text, encoding="utf-8")
        server.log_model_artifacts(model.model_id, folder)
    server.finalize_logged_model(model.model_id, "READY")
    return str(model.model_uri)


def copy_run(source: "MlflowClient", run: "Run", experiment: str, copies: dict[str, str]) -> str:
    """Copy a run with its parameters, metrics, files, model and parent, and return its id on the server.

    Parameters
    ----------
    source
        A client of the store that the run is in.
    run
        The run.
    experiment
        The id of the experiment on the server.
    copies
        The ids on the server of the runs that were copied before, by their ids in the source.
    """
    import mlflow
    from mlflow.entities import Param, RunTag

    server = mlflow.MlflowClient()
    old = run.info.run_id
    new = str(server.create_run(experiment, run.info.start_time, run_name=run.info.run_name).info.run_id)
    metrics = [point for name in run.data.metrics for point in source.get_metric_history(old, name)]
    server.log_batch(new, metrics, [Param(name, value) for name, value in run.data.params.items()])
    if source.list_artifacts(old):
        with TemporaryDirectory() as folder:
            server.log_artifacts(new, source.download_artifacts(old, "", folder))
    tags = dict(run.data.tags)
    if "model_uri" in tags:
        model = tags["model_uri"].rpartition("/")[2]
        tags["model_uri"] = copy_model(source, model, old, experiment, new)
    if tags.get(PARENT_RUN_TAG) in copies:
        tags[PARENT_RUN_TAG] = copies[tags[PARENT_RUN_TAG]]
    tags[MOVED_FROM_TAG] = old  # written last: a copy that was interrupted lacks it and is made again
    server.log_batch(new, tags=[RunTag(name, value) for name, value in tags.items()])
    server.set_terminated(new, run.info.status, run.info.end_time)
    return new


def iter_finished_runs(client: "MlflowClient", experiment: str) -> "Iterator[Run]":
    """Yield the finished runs of an experiment, newest first."""
    token = None
    while token != "":
        page = client.search_runs([experiment], "attributes.status != 'RUNNING'", page_token=token)
        yield from page
        token = page.token or ""


def find_copies(experiment: str) -> dict[str, str]:
    """Return the ids of the runs that were copied to the server earlier, by their ids in the project's own store."""
    import mlflow

    found = mlflow.search_runs([experiment], f"tags.`{MOVED_FROM_TAG}` LIKE '%'", output_format="list")
    return {run.data.tags[MOVED_FROM_TAG]: run.info.run_id for run in found}


def main() -> int:
    """Copy the project's own runs to the server, each once, and set the aliases as git has them."""
    if is_store_local():
        raise SettingError("MLFLOW_TRACKING_URI", "names no server", "set it to the server's address")
    server = get_mlflow_client()
    import mlflow

    name = Project.load().name
    source = mlflow.MlflowClient(get_local_store_uri())
    local = source.get_experiment_by_name(name)
    if not local:
        raise UserError(f"the store of this project has no runs of {name}; run `make pipeline` first")
    experiment = server.get_experiment_by_name(name).experiment_id
    copies = find_copies(experiment)
    already = len(copies)
    oldest_first = reversed(list(iter_finished_runs(source, local.experiment_id)))  # a parent before its children
    for run in oldest_first:
        if run.info.run_id not in copies:
            copies[run.info.run_id] = copy_run(source, run, experiment, copies)
    for env in deployments.list_environments():
        last = (deployments.load_history(env) or [{}])[-1]
        for problem in registry.sync_aliases(env, registry.get_expected_digests(env), last):
            print_result("move", problem)
    moved = len(copies) - already
    print_result("move", f"{moved} runs moved to {get_display_uri()}, {already} were there already")
    return 0
