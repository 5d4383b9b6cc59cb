"""The MLflow model of a training run: a folder that predicts in any process, away from the project that made it.

| path | content |
|---|---|
| `MLmodel` | MLflow's description: signature, loader, digest |
| `model.skops` | the model file, byte for byte |
| `requirements.txt` | the pinned packages of the service |
| `code/modelyard/` | what the library needs for a prediction |
| `code/pyproject.toml`, `code/src/<package>/` | the project: its name and its own functions |
"""

import json
import platform
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import InvalidFileError
from modelyard.core.files import sha256
from modelyard.core.params import load_params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE, PREDICTIONS_PARQUET
from modelyard.core.project import PYPROJECT_TOML, Project, use_project_in

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model
    from sklearn.pipeline import Pipeline

SERVE_REQUIREMENTS = Path("requirements/serve.txt")
CODE_FOLDER = "code"
LIBRARY_PARTS = ("*.py", "core", "data", "statistics", "pipeline", "tracking/__init__.py", "tracking/flavor.py")
EXAMPLE_ROWS = 5


def simplify_integers(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose whole numbers have types that MLflow accepts from a client.

    MLflow never widens a type. Columns without gaps become int64; pandas' nullable integers become float64.
    """
    import numpy as np

    types = {}
    for column, dtype in table.select_dtypes("integer").dtypes.items():
        types[column] = "int64" if isinstance(dtype, np.dtype) else "float64"
    return table.astype(types)


def build_input_example() -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Return the holdout's features and the model's predictions for them, n rows each."""
    import pandas as pd

    rows = pd.read_parquet(HOLDOUT_PARQUET, columns=load_params().data.features)
    predictions = pd.read_parquet(PREDICTIONS_PARQUET).drop(columns="truth")
    return simplify_integers(rows), simplify_integers(predictions)


def copy_path(source: Path, target: Path) -> None:
    """Copy a file or a folder without its caches."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def copy_code(folder: Path) -> None:
    """Copy the code that a prediction needs: parts of the library, and the project's package with its name."""
    library = Path(__file__).parents[1]
    for part in (found for pattern in LIBRARY_PARTS for found in library.glob(pattern)):
        copy_path(part, folder / library.name / part.relative_to(library))
    project = Project.load()
    copy_path(project.root / PYPROJECT_TOML, folder / PYPROJECT_TOML)
    copy_path(project.source, folder / "src" / project.package)


def write_requirements(folder: Path) -> None:
    """Write the packages and the Python version from which MLflow makes an environment for the model.

    The pins lose their hashes: pip refuses a list in which only some have one, and MLflow adds itself without.
    """
    from mlflow import __version__

    pins = re.sub(r" \\\n +--hash=\S+", "", SERVE_REQUIREMENTS.read_text(encoding="utf-8"))
    (folder / "requirements.txt").write_text(pins, encoding="utf-8")
    needs = ["-r requirements.txt", f"mlflow=={__version__}"]
    environment = {"python": platform.python_version(), "dependencies": needs}
    (folder / "python_env.yaml").write_text(json.dumps(environment), encoding="utf-8")


class PyfuncFlavor:
    """Writes MLflow's pyfunc flavor directly.

    MLflow's own writer maps every installed package to its modules, only to warn (0.4 s), and tries a prediction,
    which imports scikit-learn once more (2 s).
    """

    @staticmethod
    def save_model(
        path: str, mlflow_model: "Model", signature: Any, example: "pd.DataFrame", validate_serving_input: bool
    ) -> None:
        """Write the folder of the model; MLflow calls this with the names of its own flavors' parameters."""
        assert not validate_serving_input
        from mlflow.models.utils import _save_example
        from mlflow.pyfunc import add_to_model

        folder = Path(path)
        copy_path(MODEL_FILE, folder / MODEL_FILE.name)
        copy_code(folder / CODE_FOLDER)
        write_requirements(folder)
        mlflow_model.signature = signature
        _save_example(mlflow_model, example, path)
        add_to_model(
            mlflow_model,
            loader_module="modelyard.tracking.flavor",
            data=MODEL_FILE.name,
            code=CODE_FOLDER,
            python_env="python_env.yaml",
        )
        mlflow_model.save(str(folder / "MLmodel"))


def log_model() -> str:
    """Log the model of this project to the active MLflow run.

    Returns
    -------
    str
        The address of the logged model.

    Raises
    ------
    InvalidFileError
        MLflow cannot describe the columns of the holdout.
    """
    from mlflow.models import Model, infer_signature

    rows, predictions = build_input_example()
    with warnings.catch_warnings():  # about gaps in whole numbers: the schema says which columns may have them
        warnings.simplefilter("ignore", UserWarning)
        signature = infer_signature(rows, predictions)
    if signature is None:
        problem = "has columns that MLflow cannot describe"
        raise InvalidFileError(HOLDOUT_PARQUET, problem, "use plain numbers, text and times")
    logged = Model.log(
        None,
        PyfuncFlavor,
        name="model",
        metadata={"sha256": sha256(MODEL_FILE)},
        signature=signature,
        example=rows.head(EXAMPLE_ROWS),
        validate_serving_input=False,
    )
    return str(logged.model_uri)


@dataclass(frozen=True)
class PyfuncModel:
    """What MLflow asks for predictions.

    Parameters
    ----------
    pipeline
        The fitted pipeline.
    project
        The folder of the project that its `features` function comes from.
    """

    pipeline: "Pipeline"
    project: Path

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Return `prediction`, and `p_<class>` for each class, of n raw rows."""
        from modelyard.pipeline.estimator import predict_frame

        with use_project_in(self.project):
            return predict_frame(self.pipeline, rows)


def load_pyfunc_model(path: str | Path) -> PyfuncModel:
    """Load the model file of a logged model, or of a project.

    Parameters
    ----------
    path
        The model file. The project is the folder `code` beside it, else the current folder.

    Raises
    ------
    UserError
        The file is not a model, or it holds types that are not on the reviewed list.
    """
    from modelyard.pipeline.model_file import load_model

    file = Path(path)
    carried = file.parent.resolve() / CODE_FOLDER
    project = carried if carried.is_dir() else Path()
    with use_project_in(project):
        return PyfuncModel(load_model(file), project)


_load_pyfunc = load_pyfunc_model  # the name that MLflow looks for in a `loader_module`
