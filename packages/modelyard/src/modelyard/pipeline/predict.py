"""Predicts the rows of a file: how one version of a project answers another."""

import pandas as pd

from modelyard.core.params import load_params
from modelyard.core.paths import MODEL
from modelyard.pipeline.estimator import predict
from modelyard.pipeline.model_file import load
from modelyard.pipeline.preprocessing import inputs


def main(rows: str, out: str) -> None:
    """Write the model's predictions for the raw rows in the Parquet file ROWS to OUT."""
    params = load_params()
    predict(load(MODEL), inputs(params, pd.read_parquet(rows))).to_parquet(out, index=False)
