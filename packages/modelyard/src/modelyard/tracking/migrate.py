"""Verb: the runs of the project's own store move to the tracking server, with their models and aliases."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from modelyard.core import deployments
from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.project import Project
from modelyard.tracking import registry
from modelyard.tracking.store import get_display_uri, get_local_store_uri, get_mlflow_client, get_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOVED_FROM_TAG, PARENT_RUN_TAG = "moved_from", "mlflow.parentRunId"


def copy_model(source: "MlflowClient", old: str, run: str, place: str, before: str) -> str:
    """The address on the server of a run's model, which was logged as `old` by the run `before`."""
    import mlflow

    store, files = mlflow.MlflowClient(), source.get_logged_model(old).artifact_location
    model = store.create_logged_model(place, "model", run)
    with TemporaryDirectory() as folder:
        shutil.copytree(unquote(urlsplit(files).path), folder, dirs_exist_ok=True)
        page = Path(folder, "MLmodel")
        named = page.read_text(encoding="utf-8").replace(old, model.model_id).replace(before, run)
        page.write_text(named, encoding="utf-8")
        store.log_model_artifacts(model.model_id, folder)
    store.finalize_logged_model(model.model_id, "READY")
    return str(model.model_uri)


def copy_run(source: "MlflowClient", run: Any, place: str, ids: dict[str, str]) -> str:
    """The id on the server of a run that holds there what it holds here: parameters, metrics, files, model, parent."""
    import mlflow
    from mlflow.entities import Param, RunTag

    old, marks, store = run.info.run_id, dict(run.data.tags), mlflow.MlflowClient()
    new = str(store.create_run(place, run.info.start_time, run_name=run.info.run_name).info.run_id)
    metrics = [point for name in run.data.metrics for point in source.get_metric_history(old, name)]
    store.log_batch(new, metrics, [Param(*pair) for pair in run.data.params.items()])
    if source.list_artifacts(old):
        with TemporaryDirectory() as folder:
            store.log_artifacts(new, source.download_artifacts(old, "", folder))
    if "model_uri" in marks:
        marks["model_uri"] = copy_model(source, marks["model_uri"].rpartition("/")[2], new, place, old)
    if marks.get(PARENT_RUN_TAG) in ids:
        marks[PARENT_RUN_TAG] = ids[marks[PARENT_RUN_TAG]]
    store.log_batch(
        new, tags=[RunTag(*pair) for pair in (marks | {MOVED_FROM_TAG: old}).items()]
    )  # last: a half copy lacks it
    store.set_terminated(new, run.info.status, run.info.end_time)
    return new


def iter_finished_runs(store: "MlflowClient", experiment: str) -> "Iterator[Run]":
    """The finished runs of an experiment, newest first."""
    token = None
    while token != "":
        found = store.search_runs([experiment], "attributes.status != 'RUNNING'", page_token=token)
        yield from found
        token = found.token or ""


def main() -> int:
    """Copy the project's own runs to the server, each once; its aliases then name what git does."""
    if get_tracking_uri() == get_local_store_uri():
        raise UserError("there is nowhere to move to; set MLFLOW_TRACKING_URI to the server's address")
    store = get_mlflow_client()
    import mlflow

    name, source = Project.load().name, mlflow.MlflowClient(get_local_store_uri())
    here, there = (one.get_experiment_by_name(name) for one in (source, store))
    if not here:
        raise UserError(f"there are no runs of {name} here to move")
    place = there.experiment_id
    known = mlflow.search_runs([place], f"tags.`{MOVED_FROM_TAG}` LIKE '%'", output_format="list")
    ids = {run.data.tags[MOVED_FROM_TAG]: run.info.run_id for run in known}
    runs = [run for run in reversed(list(iter_finished_runs(source, here.experiment_id))) if run.info.run_id not in ids]
    for run in runs:
        ids[run.info.run_id] = copy_run(source, run, place, ids)
    for env in deployments.list_environments():
        for sentence in registry.sync_aliases(
            env, registry.get_expected_digests(env), (deployments.load_history(env) or [{}])[-1]
        ):
            print_result("move", f"{sentence}")
    print_result("move", f"{len(runs)} runs moved to {get_display_uri()}, {len(known)} were there already")
    return 0
