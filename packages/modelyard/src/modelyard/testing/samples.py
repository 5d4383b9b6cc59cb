"""The rows and the model that a project's tests look at; each is made once."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.errors import MissingFileError
from modelyard.core.params import Params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.predictions import is_probability_column
from modelyard.core.project import Project
from modelyard.core.yaml import read_yaml
from modelyard.data.profiling import sample_rows
from modelyard.data.schema import read_key
from modelyard.data.source import open_table
from modelyard.pipeline.estimator import fit_pipeline, predict_frame
from modelyard.pipeline.preprocessing import select_features
from modelyard.pipeline.split import split_table
from modelyard.testing.rows import DEFAULT_ROWS, make_rows, parse_checks

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

DATA_ROWS = 20_000  # `make pipeline` validates every row
MODEL_ROWS = 4_000


@dataclass(frozen=True)
class SampleModel:
    """A model of the project's recipe, the rows that it was fitted on, and rows that it never saw."""

    params: Params
    train: pd.DataFrame
    holdout: pd.DataFrame
    pipeline: "Pipeline"

    def predict_frame(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the predictions of raw rows: `prediction`, and for classes `p_<class>`."""
        return predict_rows(self.params, self.pipeline, rows)

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Return what the model predicts for raw rows: probabilities (n, classes), or numbers (n, 1)."""
        frame = self.predict_frame(rows)
        columns = [name for name in frame if is_probability_column(str(name))]
        return frame[columns or ["prediction"]].to_numpy(dtype=float)

    def encode_truth(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the truth of raw rows in the shape of `predict`: 0 and 1 for each class, or numbers."""
        target = rows[self.params.data.target]
        if self.params.data.task != "classification":
            return target.to_numpy(float)[:, None]
        return (target.to_numpy()[:, None] == self.pipeline.classes_).astype(float)


def predict_rows(params: Params, pipeline: "Pipeline", rows: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions of raw rows, on one core: threads cost more than they bring with so few rows."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return predict_frame(pipeline, select_features(params, rows))


def load_table_path() -> Path:
    """Return the table with the project's raw rows; the test is skipped where the data has not been fetched."""
    project = Project.load()
    skip = f"{project.params.data.path} is not here; `make pull` fetches it"
    try:
        path = open_table(project)
    except MissingFileError:
        pytest.skip(skip)
    if not path.exists():
        pytest.skip(skip)
    return path


def load_rows() -> pd.DataFrame:
    """Return at most 20,000 of the project's raw rows; the test is skipped where the data has not been fetched."""
    return _sample(load_table_path().resolve(), DATA_ROWS).copy()


def make_schema_rows() -> pd.DataFrame:
    """Return rows that are made from schema.yaml alone, so that the data itself need not be there."""
    return _make_rows(Path().resolve()).copy()


def fit_model() -> SampleModel:
    """Return a model of the project's recipe, fitted on a sample of the data, or on made rows where there is none."""
    return _fit_model(Path().resolve())


@cache
def _sample(path: Path, rows: int) -> pd.DataFrame:
    return sample_rows(path, rows)


@cache
def _make_rows(root: Path) -> pd.DataFrame:
    schema = read_yaml(root / SCHEMA_YAML)
    params = Project.load(root).params
    classes = parse_checks(schema["columns"][params.data.target]).get("isin", [])
    return make_rows(schema, params, max(DEFAULT_ROWS, 12 * len(classes)))


@cache
def _fit_model(root: Path) -> SampleModel:
    project = Project.load(root)
    params = project.params
    try:
        rows = _sample(open_table(project).resolve(), MODEL_ROWS)
    except (MissingFileError, FileNotFoundError):
        rows = make_schema_rows()
    train, holdout = split_table(rows, params.data, read_key(), replace(params.split, window=None))
    target = train[params.data.target]
    if params.data.task == "classification" and target.nunique() < 2:
        pytest.skip("one class is too rare for a sample")
    return SampleModel(params, train, holdout, fit_pipeline(params, select_features(params, train), target))
