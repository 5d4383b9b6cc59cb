"""TODO doc."""

import json
import platform
import shutil
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import load_params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE, PREDICTIONS_PARQUET

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model

SERVE_REQUIREMENTS = Path("requirements/serve.txt")


def build_input_example() -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The holdout as the model takes it, and what it said of it; whole numbers as MLflow and pandas agree on them."""
    import numpy as np
    import pandas as pd

    def plain(table: pd.DataFrame) -> pd.DataFrame:
        kinds = table.select_dtypes("integer").dtypes
        # MLflow never widens: a column that may have gaps is a float already, or pandas' own nullable integer.
        return table.astype({c: "int64" if isinstance(kind, np.dtype) else "float64" for c, kind in kinds.items()})

    rows = pd.read_parquet(HOLDOUT_PARQUET, columns=load_params().data.features)
    return plain(rows), plain(pd.read_parquet(PREDICTIONS_PARQUET).drop(columns="truth"))


class PyfuncFlavor:
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
        shutil.copyfile(MODEL_FILE, folder / MODEL_FILE.name)
        shutil.copyfile(SERVE_REQUIREMENTS, folder / "requirements.txt")
        needs = ["-r requirements.txt", f"mlflow=={__version__}"]
        python = {"python": platform.python_version(), "dependencies": needs}
        (folder / "python_env.yaml").write_text(json.dumps(python), encoding="utf-8")
        mlflow_model.signature = signature
        _save_example(mlflow_model, example, path)
        files = {"data": MODEL_FILE.name, "code": "code", "python_env": "python_env.yaml"}
        add_to_model(mlflow_model, loader_module=f"{__package__}.track", **files)
        mlflow_model.save(str(folder / "MLmodel"))


def log_model() -> str:
    """Log the model file itself, with signature and example, so that its digest stays the same."""
    from mlflow.models import Model, infer_signature

    rows, said = build_input_example()
    with warnings.catch_warnings():  # that whole numbers cannot have gaps: the schema says which columns may
        warnings.simplefilter("ignore", UserWarning)
        signature = infer_signature(rows, said)
    if signature is None:
        raise UserError("MLflow finds no signature for these types; make the columns plain numbers, text or times")
    marks = {"sha256": sha256(MODEL_FILE)}
    more = {"signature": signature, "example": rows.head(5), "validate_serving_input": False}
    info = Model.log(None, PyfuncFlavor, name="model", metadata=marks, **more)
    return str(info.model_uri)


def load_pyfunc_model(path: str | Path) -> SimpleNamespace:
    """What MLflow's pyfunc calls: its `predict` takes raw rows and gives the frame of predictions."""
    from modelyard.pipeline.estimator import predict_frame
    from modelyard.pipeline.model_file import load_model

    file = Path(path)
    return SimpleNamespace(
        predict=partial(predict_frame, load_model(file if file.is_file() else file / MODEL_FILE.name))
    )


_load_pyfunc = load_pyfunc_model  # the name by which MLflow knows a `loader_module`
