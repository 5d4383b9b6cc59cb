"""Stage: the model is scored on the holdout: flat metrics, its predictions, and the points of the plots."""

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from modelyard.core.console import report_stage
from modelyard.core.files import write_json
from modelyard.core.params import Params, load_params
from modelyard.core.paths import HOLDOUT_PARQUET, METRICS_JSON, MODEL_FILE, PLOTS_FOLDER, PREDICTIONS_PARQUET
from modelyard.core.predictions import encode_predictions
from modelyard.data.parquet import WHOLE_TABLE_ROWS, count_rows, open_writer, read_blocks
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.statistics.metrics import compute_all_metrics, get_metric

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MAX_PLOT_POINTS = 500  # a plot needs no more, and DVC keeps every version of them


def compute_primary_metric(params: Params, pipeline: "Pipeline", table: pd.DataFrame) -> float:
    """The primary metric of a model on a table; NaN where its rows do not define it."""
    truth, scores = encode_predictions(
        table[params.data.target], predict_frame(pipeline, select_features(params, table))
    )
    return float(get_metric(params.evaluate.metric).compute_value(truth, scores, params.evaluate.cost))


def build_plot_tables(truth: np.ndarray, scores: np.ndarray) -> dict[str, pd.DataFrame]:
    """The tables behind the plots (of classes the last one's curves), at most 500 points each, evenly spread."""
    if scores.ndim == 2:
        from sklearn.calibration import calibration_curve
        from sklearn.metrics import precision_recall_curve, roc_curve

        last, chance = truth == scores.shape[1] - 1, scores[:, -1]
        false, true, _ = roc_curve(last, chance)
        precision, recall, _ = precision_recall_curve(last, chance)
        seen, said = calibration_curve(last, np.clip(chance, 0, 1), n_bins=10, strategy="quantile")
        tables = {
            "roc": pd.DataFrame({"fpr": false, "tpr": true}),
            "precision_recall": pd.DataFrame({"recall": recall, "precision": precision}),
            "calibration": pd.DataFrame({"predicted": said, "observed": seen}),
        }
    else:
        order = np.argsort(scores, kind="stable")
        tables = {"residuals": pd.DataFrame({"predicted": scores[order], "residual": (truth - scores)[order]})}
    spread = {name: np.unique(np.linspace(0, len(t) - 1, MAX_PLOT_POINTS).astype(int)) for name, t in tables.items()}
    return {name: table.iloc[spread[name]].round(6) for name, table in tables.items()}


def evaluate_predictions(
    params: Params, predictions: pd.DataFrame, truth: pd.Series
) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    """Every metric that the task has, with the number of rows, and the points of the plots."""
    codes, scores = encode_predictions(truth, predictions)
    metrics = compute_all_metrics(params.data.task, codes, scores, params.evaluate.cost)
    return {**metrics, "rows": len(truth)}, build_plot_tables(codes, scores)


def main() -> int:
    """Write reports/metrics.json, reports/predictions.parquet and reports/plots/."""
    from threadpoolctl import threadpool_limits

    params = load_params()
    with report_stage("evaluate", count_rows(HOLDOUT_PARQUET)) as notes:
        pipeline, target = load_model(MODEL_FILE), params.data.target
        said = list[pd.DataFrame]()
        with threadpool_limits(params.train.threads), open_writer(PREDICTIONS_PARQUET) as add:
            for part in read_blocks(HOLDOUT_PARQUET, whole=WHOLE_TABLE_ROWS // 4):
                said.append(predict_frame(pipeline, select_features(params, part)).assign(truth=part[target].copy()))
                add(said[-1])
        predictions = pd.concat(said)
        del said
        metrics, tables = evaluate_predictions(params, predictions, predictions.pop("truth"))
        shutil.rmtree(PLOTS_FOLDER, ignore_errors=True)  # no older plot stays
        PLOTS_FOLDER.mkdir(parents=True)
        for name, table in tables.items():
            table.to_csv(PLOTS_FOLDER / f"{name}.csv", index=False, lineterminator="\n")
        write_json(METRICS_JSON, metrics)
        notes[params.evaluate.metric] = f"{metrics.get(params.evaluate.metric, float('nan')):.4f}"
    return 0
