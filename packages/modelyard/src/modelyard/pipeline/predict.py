"""Predict the rows of a file: how one version of a project asks another."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from modelyard.core.files import write_json
from modelyard.core.params import load_params
from modelyard.core.paths import MODEL_FILE
from modelyard.core.project import Project
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

ROW_COLUMN = "row"  # of a table of predictions: the place of the row that each is for, from 0
MEASURED_RUNS = 9


def measure_row(pipeline: "Pipeline", row: pd.DataFrame) -> float:
    """Return the CPU time of one raw row through the pipeline, in ms; the model's own code could report another."""
    from threadpoolctl import threadpool_limits

    hooks = Project.load().hooks  # bound once, as the service does: looking them up is not the model's time
    milliseconds = []
    with threadpool_limits(1):
        for _ in range(MEASURED_RUNS):
            start = time.process_time()
            predict_frame(pipeline, row, hooks)
            milliseconds.append(1000 * (time.process_time() - start))
    return min(milliseconds)  # the others also measure what else the machine was doing


def main(rows: str, out: str, times: str | None = None) -> None:
    """Write the model's predictions for the raw rows in the Parquet file ROWS to OUT, and a row's time to TIMES."""
    params = load_params()
    pipeline = load_model(MODEL_FILE)
    raw = select_features(params, pd.read_parquet(Path(rows)))
    predictions = predict_frame(pipeline, raw)
    predictions.assign(**{ROW_COLUMN: predictions.index}).to_parquet(out, index=False)
    if times:
        write_json(Path(times), {"milliseconds": measure_row(pipeline, raw.head(1))})
