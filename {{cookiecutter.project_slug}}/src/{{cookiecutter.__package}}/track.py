"""Verb: what the pipeline made is recorded in MLflow, one run for each distinct dvc.lock."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import (
    DATA,
    LOCK,
    METRICS,
    MODEL,
    PARAMS,
    PLOTS,
    UserError,
    git,
    load_params,
    read_json,
    sha256,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

STORE = Path(".mlflow")
STAMP = STORE / "tracked"
SERVE = Path("requirements/serve.txt")


def uri() -> str:
    """The tracking server's address, or the project's own SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STORE}/mlflow.db"


def client() -> "MlflowClient":
    """A client of the store, made ready on first use; another version of it is a `UserError`."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
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
        if not mlflow.get_experiment_by_name(__package__ or ""):
            own = None if os.environ.get("MLFLOW_TRACKING_URI") else (STORE / "artifacts").resolve().as_uri()
            mlflow.create_experiment(__package__ or "", artifact_location=own)
        mlflow.set_experiment(__package__)
    except Exception as problem:  # SQLAlchemy's, alembic's, the server's
        first = str(problem).strip().splitlines()[0]
        raise UserError(
            f"the MLflow store {uri()} does not open ({first}); move it away or `mlflow db upgrade` it"
        ) from None
    return mlflow.MlflowClient()


def tags() -> dict[str, str]:
    """The digests that tie a run to its commit, data, lock and model."""
    return {
        "git_commit": git("rev-parse", "HEAD"),
        "dvc_lock": sha256(LOCK),
        "data": read_json(DATA)["sha256"],
        "model": sha256(MODEL),
    }


def flat(block: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters as `split.holdout: 0.2`."""
    rows: dict[str, Any] = {}
    for key, value in block.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return rows


def example() -> "pd.DataFrame":
    """Five raw rows as the model takes them."""
    import pandas as pd

    from .config import HOLDOUT
    from .model import inputs

    return inputs(load_params(), pd.read_parquet(HOLDOUT).head(5))


def log_model() -> str:
    """Log the model file itself, with signature and example, so that its digest stays the same."""
    import mlflow

    from .model import load, predict

    rows = example()
    whole = rows.select_dtypes("integer").columns
    rows = rows.astype(dict.fromkeys(whole, "float64"))  # MLflow refuses gaps in integers
    answers = predict(load(MODEL), rows)
    answers = answers.astype(dict.fromkeys(answers.select_dtypes("integer"), "float64"))
    signature = mlflow.models.infer_signature(rows, answers)
    if signature is None:
        raise UserError("MLflow finds no signature for these types; make the columns plain numbers, text or times")
    info = mlflow.pyfunc.log_model(
        name="model",
        loader_module=f"{__package__}.track",
        data_path=str(MODEL),
        code_paths=[str(Path(__file__).parent)],
        signature=signature,
        input_example=rows,
        pip_requirements=str(SERVE),
        metadata={"sha256": sha256(MODEL)},
    )
    return info.model_uri


class Loaded:
    """What MLflow's pyfunc calls: raw rows in, the predictions frame out."""

    def __init__(self, path: Path) -> None:
        from .model import load

        self.pipeline = load(path)

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """The predictions of raw rows."""
        from .model import predict

        return predict(self.pipeline, rows)


def _load_pyfunc(path: str) -> Loaded:
    """MLflow's entry point for `loader_module`."""
    file = Path(path)
    return Loaded(file if file.is_file() else file / MODEL.name)


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
    stamp = f"{uri()} {sha256(LOCK)}"
    if STAMP.exists() and STAMP.read_text(encoding="utf-8").startswith(stamp + " "):
        return 0
    run = track()
    STAMP.write_text(f"{stamp} {run}\n", encoding="utf-8")
    print(f"{'track':<10}run {run} in {uri()}")
    return 0
