"""Verb: what the pipeline made is recorded in MLflow, one run for each distinct dvc.lock."""

import json
import logging
import os
import platform
import re
import shutil
import sys
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .config import (
    DATA,
    HOLDOUT,
    LOCK,
    METRICS,
    MODEL,
    PARAMS,
    PLOTS,
    PREDICTIONS,
    UserError,
    atomic,
    flat,
    load_params,
    read_json,
    sha256,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.models import Model

STORE = Path(".mlflow")
STAMP = STORE / "tracked"
SERVE = Path("requirements/serve.txt")


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
            if not mlflow.get_experiment_by_name(__package__ or ""):
                mlflow.create_experiment(__package__ or "", artifact_location=(STORE / "artifacts").resolve().as_uri())
        else:  # makes it; where another did so just now, MLflow keeps its default, and the next line is heard
            mlflow.set_experiment(__package__)
        mlflow.set_experiment(__package__)
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
    from .champion import commit_of

    return {
        "git_commit": commit_of("HEAD") or "none",  # git may be missing, or have no name to commit under yet
        "dvc_lock": sha256(LOCK),
        "data": read_json(DATA)["sha256"],
        "model": sha256(MODEL),
    }


def example() -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The holdout as the model takes it, and what it said of it; whole numbers as MLflow and pandas agree on them."""
    import numpy as np
    import pandas as pd

    def plain(table: pd.DataFrame) -> pd.DataFrame:
        kinds = table.select_dtypes("integer").dtypes
        # MLflow never widens: a column that may have gaps is a float already, or pandas' own nullable integer.
        return table.astype({c: "int64" if isinstance(kind, np.dtype) else "float64" for c, kind in kinds.items()})

    rows = pd.read_parquet(HOLDOUT, columns=load_params().data.features)
    return plain(rows), plain(pd.read_parquet(PREDICTIONS).drop(columns="truth"))


class Flavor:
    """MLflow's pyfunc flavour, written directly.

    MLflow's own writer maps every installed package to its modules, only to warn (0.4 s). Its trial
    prediction is switched off by a keyword that comes here too: it imports scikit-learn once more (2 s).
    """

    @staticmethod
    def save_model(
        path: str, mlflow_model: "Model", signature: Any, example: "pd.DataFrame", validate_serving_input: bool
    ) -> None:
        """Write the model file, the package that reads it, and what both need, as `mlflow models serve` expects."""
        assert not validate_serving_input
        from mlflow import __version__
        from mlflow.models.utils import _save_example
        from mlflow.pyfunc import add_to_model

        folder, package = Path(path), Path(__file__).parent
        shutil.copytree(package, folder / "code" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(MODEL, folder / MODEL.name)
        shutil.copyfile(SERVE, folder / "requirements.txt")
        needs = ["-r requirements.txt", f"mlflow=={__version__}"]
        python = {"python": platform.python_version(), "dependencies": needs}
        (folder / "python_env.yaml").write_text(json.dumps(python), encoding="utf-8")
        mlflow_model.signature = signature
        _save_example(mlflow_model, example, path)
        files = {"data": MODEL.name, "code": "code", "python_env": "python_env.yaml"}
        add_to_model(mlflow_model, loader_module=f"{__package__}.track", **files)
        mlflow_model.save(str(folder / "MLmodel"))


def log_model() -> str:
    """Log the model file itself, with signature and example, so that its digest stays the same."""
    from mlflow.models import Model, infer_signature

    rows, said = example()
    with warnings.catch_warnings():  # that whole numbers cannot have gaps: the schema says which columns may
        warnings.simplefilter("ignore", UserWarning)
        signature = infer_signature(rows, said)
    if signature is None:
        raise UserError("MLflow finds no signature for these types; make the columns plain numbers, text or times")
    marks = {"sha256": sha256(MODEL)}
    more = {"signature": signature, "example": rows.head(5), "validate_serving_input": False}
    info = Model.log(None, Flavor, name="model", metadata=marks, **more)
    return str(info.model_uri)


def loaded(path: str | Path) -> SimpleNamespace:
    """What MLflow's pyfunc calls: its `predict` takes raw rows and gives the frame of predictions."""
    from .model import load, predict

    file = Path(path)
    return SimpleNamespace(predict=partial(predict, load(file if file.is_file() else file / MODEL.name)))


_load_pyfunc = loaded  # the name by which MLflow knows a `loader_module`


def track() -> str:
    """The id of the run that records this dvc.lock: found, or logged now."""
    import yaml

    store, marks = client(), tags()
    import mlflow

    experiment = mlflow.get_experiment_by_name(__package__ or "")
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
