"""Predict the rows of a file: how one version of a project asks another."""

from pathlib import Path

import pandas as pd

from modelyard.core.params import load_params
from modelyard.core.paths import MODEL_FILE
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features


def main(rows: str, out: str) -> None:
    """Write the model's predictions for the raw rows in the Parquet file ROWS to OUT."""
    params = load_params()
    pipeline = load_model(MODEL_FILE)
    raw = select_features(params, pd.read_parquet(Path(rows)))
    predict_frame(pipeline, raw).to_parquet(out, index=False)
