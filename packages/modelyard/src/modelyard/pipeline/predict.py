"""Predicts the rows of a file: how one version of a project answers another."""

import pandas as pd

from modelyard.core.params import load_params
from modelyard.core.paths import MODEL_FILE
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features


def main(rows: str, out: str) -> None:
    """Write the model's predictions for the raw rows in the Parquet file ROWS to OUT."""
    params = load_params()
    predict_frame(load_model(MODEL_FILE), select_features(params, pd.read_parquet(rows))).to_parquet(out, index=False)
