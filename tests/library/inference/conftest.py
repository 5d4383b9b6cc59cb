from pathlib import Path

import pandas as pd

from modelyard.core.params import Params
from modelyard.core.paths import MODEL_FILE, SCHEMA_YAML
from modelyard.core.predictions import Predictions
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.inference.bundle import ModelBundle, compute_max_difference, to_response
from modelyard.inference.predictor import load_predictor
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features


def read_features(params: Params, path: Path) -> pd.DataFrame:
    """Return the model's raw columns of a Parquet file."""
    return select_features(params, pd.read_parquet(path))


def predict_with_pipeline(raw: pd.DataFrame) -> Predictions:
    """Return the pipeline's own predictions."""
    return Predictions.from_frame(predict_frame(load_model(MODEL_FILE), raw))


def compute_difference_from_pipeline(bundle: ModelBundle, raw: pd.DataFrame) -> float:
    """Return the largest difference of the bundle's predictions from the pipeline's."""
    found = load_predictor(bundle)(raw)
    return compute_max_difference(to_response(found), to_response(predict_with_pipeline(raw)))


def mark_personal(name: str) -> None:
    """Mark a column of schema.yaml as personal."""
    schema = read_yaml(SCHEMA_YAML)
    schema["columns"][name]["personal"] = True
    SCHEMA_YAML.write_text(dump_yaml(schema), encoding="utf-8")


def append_to_features(code: str) -> None:
    """Add code to the small project's features.py."""
    with Path("src/flight_delays/features.py").open("a", encoding="utf-8") as file:
        file.write(code)
