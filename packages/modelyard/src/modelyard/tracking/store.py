"""Verb: what the pipeline made is recorded in MLflow, one run for each distinct dvc.lock."""

import logging
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import UserError
from modelyard.core.files import atomic, flat, read_json, sha256
from modelyard.core.paths import DATA, LOCK, METRICS, MODEL, PARAMS, PLOTS
from modelyard.core.project import Project
from modelyard.tracking.flavor import log_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE = Path(".mlflow")
STAMP = STORE / "tracked"


def run_of(dvc_lock: str) -> str:
    """The MLflow run that recorded this dvc.lock, as far as this folder knows."""
    pass

    address, lock, run = (STAMP.read_text(encoding="utf-8").split() if STAMP.exists() else []) or ["", "", ""]
    return run if address == shown() and lock == dvc_lock else ""


def own() -> str:
    """The address of the project's own SQLite store."""
    return f"sqlite:///{(STORE / 'mlflow.db').resolve()}"


def uri() -> str:
    """The tracking server's address, or the project's own store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own()


def tracked() -> bool:
    """Whether anything was recorded from here, or goes to a server."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or STORE.exists()


def shown() -> str:
    """That address for people: without the password that it may hold."""
    return re.sub("//.*@", "//", uri())


def client() -> "MlflowClient":
    """A client of the store, made ready on first use; another version of it is a `UserError`."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a password may stand in it
    os.environ.setdefault("_MLFLOW_SERVER_ARTIFACT_ROOT", str(STORE / "artifacts"))  # else ./mlruns
    STORE.mkdir(exist_ok=True)
    try:
        import mlflow
    except ImportError:
        raise UserError(
            "MLflow is not installed; `make install` installs it, `make pipeline TRACK=0` works without"
        ) from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri())
    try:
        if uri() == own():  # MLflow sets the variable itself, so its presence says nothing
            start(STORE / "mlflow.db", Path(sys.prefix, f"mlflow-{mlflow.__version__}.db"))
            if not mlflow.get_experiment_by_name(Project.load().name):
                mlflow.create_experiment(
                    Project.load().name, artifact_location=(STORE / "artifacts").resolve().as_uri()
                )
        else:  # makes it; where another did so just now, MLflow keeps its default, and the next line is heard
            mlflow.set_experiment(Project.load().name)
        mlflow.set_experiment(Project.load().name)
    except Exception as problem:  # SQLAlchemy's, alembic's, the server's
        first = re.sub("//[^ ]*@", "//", str(problem).strip().splitlines()[0])
        what = "move it away or `mlflow db upgrade` it" if uri() == own() else "look at its address and password"
        raise UserError(f"the MLflow store {shown()} does not open ({first}); {what}") from None
    return mlflow.MlflowClient()


def start(store: Path, empty: Path) -> None:
    """Begin a store with a copy of the environment's empty one: MLflow's migrations take over a second."""
    if store.exists():
        return
    if not empty.exists():
        import mlflow

        mlflow.search_experiments()  # creates and migrates
        if not os.access(empty.parent, os.W_OK):
            return
        with atomic(empty) as draft:
            shutil.copyfile(store, draft)
        return
    with atomic(store) as draft:
        shutil.copyfile(empty, draft)


def tags() -> dict[str, str]:
    """The digests that tie a run to its commit, data, lock and model."""
    from modelyard.core.git_objects import commit_of

    return {
        "git_commit": commit_of("HEAD") or "none",  # git may be missing, or have no name to commit under yet
        "dvc_lock": sha256(LOCK),
        "data": read_json(DATA)["sha256"],
        "model": sha256(MODEL),
    }


def track() -> str:
    """The id of the run that records this dvc.lock: found, or logged now."""
    import yaml

    store, marks = client(), tags()
    import mlflow

    experiment = mlflow.get_experiment_by_name(Project.load().name)
    found = store.search_runs(
        [experiment.experiment_id],
        f"tags.dvc_lock = '{marks['dvc_lock']}' and attributes.status = 'FINISHED'",
    )
    if found:
        return found[0].info.run_id
    with mlflow.start_run(tags=marks) as run:
        mlflow.log_params(flat(yaml.safe_load(PARAMS.read_text(encoding="utf-8"))))
        mlflow.log_metrics({name: float(value) for name, value in read_json(METRICS).items()})
        mlflow.log_artifacts(str(PLOTS), "plots")
        store.set_tag(run.info.run_id, "model_uri", log_model())
    return run.info.run_id


def main() -> int:
    """Record the current dvc.lock in MLflow, once."""
    if not LOCK.exists():
        raise UserError("there is no dvc.lock; `make pipeline` makes it")
    stamp = f"{shown()} {sha256(LOCK)}"
    if STAMP.exists() and STAMP.read_text(encoding="utf-8").startswith(stamp + " "):
        return 0
    run = track()
    STAMP.write_text(f"{stamp} {run}\n", encoding="utf-8")
    print(f"{'track':<10}run {run} in {STORE if uri() == own() else shown()}")
    return 0
