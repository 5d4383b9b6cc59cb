"""Records the pipeline's results in MLflow: one run for each distinct dvc.lock, in the project's own experiment."""

import logging
import os
import re
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modelyard.core.console import print_error, print_result
from modelyard.core.errors import MissingFileError, ToolError, UserError
from modelyard.core.files import atomic_write, flatten_mapping, read_json, sha256
from modelyard.core.paths import DATA_JSON, DVC_LOCK, METRICS_JSON, MODEL_FILE, PARAMS_YAML, PLOTS_FOLDER
from modelyard.core.project import Project
from modelyard.core.yaml import read_yaml
from modelyard.tracking.flavor import log_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE_FOLDER = Path(".mlflow")
STORE_FILE = STORE_FOLDER / "mlflow.db"
ARTIFACT_FOLDER = STORE_FOLDER / "artifacts"
STAMP_FILE = STORE_FOLDER / "tracked"
ANSWER_SECONDS = 10  # that a server has for its first answer; MLflow alone would try for minutes
# MLflow reads these. The server's address, which it would print, may hold a password.
MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": str(ARTIFACT_FOLDER),
}


class TrackingStoreError(UserError):
    """The MLflow store does not open.

    Parameters
    ----------
    address
        The store's address, without a password.
    problem
        The first line of the error.
    cure
        What to do.
    """

    def __init__(self, address: str, problem: str, cure: str) -> None:
        super().__init__(f"the MLflow store {address} does not open ({problem}); {cure}")
        self.address = address
        self.problem = problem


class Stamp(NamedTuple):
    """What this folder recorded last: where, which dvc.lock (its SHA-256), and as which run."""

    address: str
    dvc_lock: str
    run: str


def read_stamp() -> Stamp | None:
    """Return what this folder recorded last; None before the first time, or where the file was not written whole."""
    if not STAMP_FILE.exists():
        return None
    words = STAMP_FILE.read_text(encoding="utf-8").strip().rsplit(" ", 2)
    return Stamp(*words) if len(words) == len(Stamp._fields) else None


def find_recorded_run(dvc_lock: str) -> str:
    """Return the id of the MLflow run that recorded a dvc.lock, as far as this folder knows; else an empty text.

    Parameters
    ----------
    dvc_lock
        The SHA-256 of the dvc.lock.
    """
    stamp = read_stamp()
    if stamp and (stamp.address, stamp.dvc_lock) == (get_display_uri(), dvc_lock):
        return stamp.run
    return ""


def get_local_store_uri() -> str:
    """Return the address of the project's own SQLite store."""
    return f"sqlite:///{STORE_FILE.resolve()}"


def get_tracking_uri() -> str:
    """Return the address of the tracking server (`MLFLOW_TRACKING_URI`), or of the project's own store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or get_local_store_uri()


def is_store_local() -> bool:
    """Return whether runs go to the project's own store.

    MLflow sets `MLFLOW_TRACKING_URI` itself, so it says nothing that the variable exists.
    """
    return get_tracking_uri() == get_local_store_uri()


def is_tracking_enabled() -> bool:
    """Return whether anything was recorded in this folder, or a server is named."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or STORE_FOLDER.exists()


def hide_password(text: str) -> str:
    """Return a text whose addresses have lost their user and password."""
    return re.sub("//[^ ]*@", "//", text)


def get_display_uri() -> str:
    """Return the tracking address without the password that it may hold."""
    return re.sub("//.*@", "//", get_tracking_uri())


def check_server_answers() -> None:
    """Raise a `TrackingStoreError` where runs go to a server that does not answer within ten seconds."""
    address = get_tracking_uri()
    if not address.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(hide_password(address), timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers: whether we may enter is found out later
    except OSError as problem:
        reason = str(getattr(problem, "reason", problem))
        raise TrackingStoreError(get_display_uri(), reason, "start it, or correct its address") from None


def get_mlflow_client() -> "MlflowClient":
    """Return a client of the tracking store, with the project's experiment as the active one.

    The store and the experiment are made on first use. The experiment has the project's name, so that projects on one
    server stay apart.

    Raises
    ------
    ToolError
        MLflow is not installed.
    TrackingStoreError
        The store is of another MLflow version, or the server refuses or does not answer.
    """
    check_server_answers()
    experiment = Project.load().name
    for name, value in MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)
    STORE_FOLDER.mkdir(exist_ok=True)
    try:
        import mlflow
    except ImportError:
        cure = "`make install` installs it, `make pipeline TRACK=0` works without"
        raise ToolError("MLflow", f"it is not installed; {cure}") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(get_tracking_uri())
    try:
        select_experiment(experiment)
    except Exception as problem:  # of SQLAlchemy, alembic or the server
        first = hide_password(str(problem).strip().splitlines()[0])
        cure = "check its address and password"
        if is_store_local():
            cure = "move it away or run `mlflow db upgrade` on it"
        raise TrackingStoreError(get_display_uri(), first, cure) from None
    return mlflow.MlflowClient()


def select_experiment(name: str) -> None:
    """Make an experiment the active one, and create it where it is missing."""
    import mlflow

    if not is_store_local():
        # Where another process creates it at this moment, MLflow silently keeps the default one: hence twice.
        mlflow.set_experiment(name)
    else:
        initialize_store(STORE_FILE, Path(sys.prefix, f"mlflow-{mlflow.__version__}.db"))
        if not mlflow.get_experiment_by_name(name):
            mlflow.create_experiment(name, artifact_location=ARTIFACT_FOLDER.resolve().as_uri())
    mlflow.set_experiment(name)


def initialize_store(store: Path, empty: Path) -> None:
    """Start a store as a copy of an empty one, since MLflow's migrations take more than a second.

    Parameters
    ----------
    store
        The SQLite file of the store; one that exists stays as it is.
    empty
        The environment's empty store, made here where it is missing and can be written.
    """
    if store.exists():
        return
    if empty.exists():
        source, target = empty, store
    else:
        import mlflow

        mlflow.search_experiments()  # creates and migrates the store
        if not os.access(empty.parent, os.W_OK):
            return
        source, target = store, empty
    with atomic_write(target) as draft:
        shutil.copyfile(source, draft)


def build_run_tags() -> dict[str, str]:
    """Return the tags that tie a run to its commit, data, dvc.lock and model: SHA-256, or `none` without a commit."""
    from modelyard.core.git_objects import find_commit

    return {
        "git_commit": find_commit("HEAD") or "none",
        "dvc_lock": sha256(DVC_LOCK),
        "data": read_json(DATA_JSON)["sha256"],
        "model": sha256(MODEL_FILE),
    }


def record_run() -> str:
    """Return the id of the finished run that records the current dvc.lock; log it where there is none."""
    client = get_mlflow_client()
    import mlflow

    tags = build_run_tags()
    experiment = mlflow.get_experiment_by_name(Project.load().name)
    query = f"tags.dvc_lock = '{tags['dvc_lock']}' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment.experiment_id], query)
    if found:
        return str(found[0].info.run_id)
    with mlflow.start_run(tags=tags) as run:
        mlflow.log_params(flatten_mapping(read_yaml(PARAMS_YAML)))
        mlflow.log_metrics({name: float(value) for name, value in read_json(METRICS_JSON).items()})
        mlflow.log_artifacts(str(PLOTS_FOLDER), "plots")
        client.set_tag(run.info.run_id, "model_uri", log_model())
    return str(run.info.run_id)


def main(later: bool = False) -> int:
    """Record the current dvc.lock in MLflow, once; with LATER=1 a store that does not open is no failure."""
    if not DVC_LOCK.exists():
        raise MissingFileError(DVC_LOCK, "run `make pipeline`")
    digest = sha256(DVC_LOCK)
    if find_recorded_run(digest):
        return 0
    try:
        run = record_run()
    except TrackingStoreError as problem:
        if not later:
            raise
        print_error(f"warning: this run is not recorded: {problem}; then `make track` records it")
        return 0
    STAMP_FILE.write_text(f"{get_display_uri()} {digest} {run}\n", encoding="utf-8")
    print_result("track", f"run {run} in {STORE_FOLDER if is_store_local() else get_display_uri()}")
    return 0
