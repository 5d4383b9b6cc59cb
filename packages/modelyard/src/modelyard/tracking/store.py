"""Verb: what the pipeline made is recorded in MLflow, one run for each distinct dvc.lock."""

import logging
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.console import print_line
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write, flatten_mapping, read_json, sha256
from modelyard.core.paths import DATA_JSON, DVC_LOCK, METRICS_JSON, MODEL_FILE, PARAMS_YAML, PLOTS_FOLDER
from modelyard.core.project import Project
from modelyard.core.yaml import read_yaml
from modelyard.tracking.flavor import log_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE_FOLDER = Path(".mlflow")
STAMP_FILE = STORE_FOLDER / "tracked"


def find_recorded_run(dvc_lock: str) -> str:
    """The MLflow run that recorded this dvc.lock, as far as this folder knows."""
    pass

    address, lock, run = (STAMP_FILE.read_text(encoding="utf-8").split() if STAMP_FILE.exists() else []) or ["", "", ""]
    return run if address == get_display_uri() and lock == dvc_lock else ""


def get_local_store_uri() -> str:
    """The address of the project's own SQLite store."""
    return f"sqlite:///{(STORE_FOLDER / 'mlflow.db').resolve()}"


def get_tracking_uri() -> str:
    """The tracking server's address, or the project's own store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or get_local_store_uri()


def is_tracking_enabled() -> bool:
    """Whether anything was recorded from here, or goes to a server."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or STORE_FOLDER.exists()


def get_display_uri() -> str:
    """That address for people: without the password that it may hold."""
    return re.sub("//.*@", "//", get_tracking_uri())


def get_mlflow_client() -> "MlflowClient":
    """A client of the store, made ready on first use; another version of it is a `UserError`."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a password may stand in it
    os.environ.setdefault("_MLFLOW_SERVER_ARTIFACT_ROOT", str(STORE_FOLDER / "artifacts"))  # else ./mlruns
    STORE_FOLDER.mkdir(exist_ok=True)
    try:
        import mlflow
    except ImportError:
        raise UserError(
            "MLflow is not installed; `make install` installs it, `make pipeline TRACK=0` works without"
        ) from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(get_tracking_uri())
    try:
        if get_tracking_uri() == get_local_store_uri():  # MLflow sets the variable itself, so its presence says nothing
            initialize_store(STORE_FOLDER / "mlflow.db", Path(sys.prefix, f"mlflow-{mlflow.__version__}.db"))
            if not mlflow.get_experiment_by_name(Project.load().name):
                mlflow.create_experiment(
                    Project.load().name, artifact_location=(STORE_FOLDER / "artifacts").resolve().as_uri()
                )
        else:  # makes it; where another did so just now, MLflow keeps its default, and the next line is heard
            mlflow.set_experiment(Project.load().name)
        mlflow.set_experiment(Project.load().name)
    except Exception as problem:  # SQLAlchemy's, alembic's, the server's
        first = re.sub("//[^ ]*@", "//", str(problem).strip().splitlines()[0])
        what = (
            "move it away or `mlflow db upgrade` it"
            if get_tracking_uri() == get_local_store_uri()
            else "look at its address and password"
        )
        raise UserError(f"the MLflow store {get_display_uri()} does not open ({first}); {what}") from None
    return mlflow.MlflowClient()


def initialize_store(store: Path, empty: Path) -> None:
    """Begin a store with a copy of the environment's empty one: MLflow's migrations take over a second."""
    if store.exists():
        return
    if not empty.exists():
        import mlflow

        mlflow.search_experiments()  # creates and migrates
        if not os.access(empty.parent, os.W_OK):
            return
        with atomic_write(empty) as draft:
            shutil.copyfile(store, draft)
        return
    with atomic_write(store) as draft:
        shutil.copyfile(empty, draft)


def build_run_tags() -> dict[str, str]:
    """The digests that tie a run to its commit, data, lock and model."""
    from modelyard.core.git_objects import find_commit

    return {
        "git_commit": find_commit("HEAD") or "none",  # git may be missing, or have no name to commit under yet
        "dvc_lock": sha256(DVC_LOCK),
        "data": read_json(DATA_JSON)["sha256"],
        "model": sha256(MODEL_FILE),
    }


def record_run() -> str:
    """The id of the run that records this dvc.lock: found, or logged now."""

    store, marks = get_mlflow_client(), build_run_tags()
    import mlflow

    experiment = mlflow.get_experiment_by_name(Project.load().name)
    found = store.search_runs(
        [experiment.experiment_id],
        f"tags.dvc_lock = '{marks['dvc_lock']}' and attributes.status = 'FINISHED'",
    )
    if found:
        return found[0].info.run_id
    with mlflow.start_run(tags=marks) as run:
        mlflow.log_params(flatten_mapping(read_yaml(PARAMS_YAML)))
        mlflow.log_metrics({name: float(value) for name, value in read_json(METRICS_JSON).items()})
        mlflow.log_artifacts(str(PLOTS_FOLDER), "plots")
        store.set_tag(run.info.run_id, "model_uri", log_model())
    return run.info.run_id


def main() -> int:
    """Record the current dvc.lock in MLflow, once."""
    if not DVC_LOCK.exists():
        raise UserError("there is no dvc.lock; `make pipeline` makes it")
    stamp = f"{get_display_uri()} {sha256(DVC_LOCK)}"
    if STAMP_FILE.exists() and STAMP_FILE.read_text(encoding="utf-8").startswith(stamp + " "):
        return 0
    run = record_run()
    STAMP_FILE.write_text(f"{stamp} {run}\n", encoding="utf-8")
    print_line(
        f"{'track':<10}run {run} in {STORE_FOLDER if get_tracking_uri() == get_local_store_uri() else get_display_uri()}"
    )
    return 0
