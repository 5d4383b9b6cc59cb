"""Stage: evaluate the model on the holdout: metrics, predictions, and the points of the plots."""

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from modelyard.core.console import report_stage
from modelyard.core.files import write_json
from modelyard.core.params import Params, load_params
from modelyard.core.paths import HOLDOUT_PARQUET, METRICS_JSON, MODEL_FILE, PLOTS_FOLDER, PREDICTIONS_PARQUET
from modelyard.core.predictions import Predictions
from modelyard.data.parquet import WHOLE_TABLE_ROWS, count_rows, open_writer, read_blocks
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.statistics.metrics import compute_all_metrics, get_metric

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MAX_PLOT_POINTS = 500  # a plot needs no more, and DVC keeps every version of them
HISTOGRAM_BINS = 40


def compute_primary_metric(params: Params, pipeline: "Pipeline", table: pd.DataFrame) -> float:
    """Return the primary metric of a model on a table of raw rows; NaN where the rows do not define it."""
    predictions = Predictions.from_frame(predict_frame(pipeline, select_features(params, table)))
    truth, scores = predictions.encode(table[params.data.target])
    return float(get_metric(params.evaluate.metric).compute_value(truth, scores, params.evaluate.cost))


def build_plot_tables(truth: np.ndarray, scores: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return the tables behind the plots, at most 500 points each, evenly spread.

    Parameters
    ----------
    truth
        Class codes or numbers, shape (n,).
    scores
        Probabilities, shape (n, k), or predicted numbers, shape (n,).

    Returns
    -------
    dict
        By name of the plot, a table with two columns, x first. The curves of a classifier are those of the last class.
    """
    if scores.ndim == 2:
        tables = build_class_curves(truth == scores.shape[1] - 1, scores[:, -1])
    else:
        tables = build_residual_tables(truth, scores)
    return {name: thin_out(table).round(6) for name, table in tables.items()}


def build_class_curves(positive: np.ndarray, probability: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return the curves of one class from its truth and its probabilities, both of shape (n,)."""
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import precision_recall_curve, roc_curve

    false_positive_rate, true_positive_rate, _ = roc_curve(positive, probability)
    precision, recall, _ = precision_recall_curve(positive, probability)
    observed, predicted = calibration_curve(positive, np.clip(probability, 0, 1), n_bins=10, strategy="quantile")
    return {
        "roc": pd.DataFrame({"fpr": false_positive_rate, "tpr": true_positive_rate}),
        "precision_recall": pd.DataFrame({"recall": recall, "precision": precision}),
        "calibration": pd.DataFrame({"predicted": predicted, "observed": observed}),
        "scores": outline_histogram(probability),
    }


def build_residual_tables(truth: np.ndarray, predicted: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return the residuals by prediction, and the histogram of predictions; both arguments have shape (n,)."""
    order = np.argsort(predicted, kind="stable")
    residuals = pd.DataFrame({"predicted": predicted[order], "residual": (truth - predicted)[order]})
    return {"residuals": residuals, "scores": outline_histogram(predicted)}


def outline_histogram(values: np.ndarray) -> pd.DataFrame:
    """Return the outline of a histogram as steps: the left edge of each bin and its density."""
    constant = np.ptp(values) <= 1e-9 * np.abs(values).max()
    density, edges = np.histogram(values, bins=1 if constant else HISTOGRAM_BINS, density=True)
    steps = np.concatenate([[0.0], density, [0.0]])
    return pd.DataFrame({"prediction": np.insert(edges, 0, edges[0]), "density": steps})


def thin_out(table: pd.DataFrame) -> pd.DataFrame:
    """Return at most 500 rows of a table, evenly spread, the first and the last among them."""
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, MAX_PLOT_POINTS).astype(int))]


def evaluate_predictions(
    params: Params, predictions: pd.DataFrame, truth: pd.Series
) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    """Return every metric of the task, with the number of rows, and the tables behind the plots.

    Parameters
    ----------
    params
        The project's parameters.
    predictions
        The columns `prediction` and, for classes, `p_<class>`.
    truth
        The true values, in the same order.
    """
    codes, scores = Predictions.from_frame(predictions).encode(truth)
    metrics = compute_all_metrics(params.data.task, codes, scores, params.evaluate.cost)
    return {**metrics, "rows": len(truth)}, build_plot_tables(codes, scores)


def predict_holdout(params: Params) -> pd.DataFrame:
    """Write the predictions of the holdout with their truth to reports/predictions.parquet, and return them."""
    from threadpoolctl import threadpool_limits

    pipeline = load_model(MODEL_FILE)
    parts = []
    with threadpool_limits(params.train.threads), open_writer(PREDICTIONS_PARQUET) as write:
        for block in read_blocks(HOLDOUT_PARQUET, whole=WHOLE_TABLE_ROWS // 4):
            predictions = predict_frame(pipeline, select_features(params, block))
            predictions["truth"] = block[params.data.target].copy()  # a view would hold the whole block
            write(predictions)
            parts.append(predictions)
    return pd.concat(parts)


def write_plots(tables: dict[str, pd.DataFrame]) -> None:
    """Write the tables behind the plots to reports/plots/, and remove older ones."""
    shutil.rmtree(PLOTS_FOLDER, ignore_errors=True)
    PLOTS_FOLDER.mkdir(parents=True)
    for name, table in tables.items():
        table.to_csv(PLOTS_FOLDER / f"{name}.csv", index=False, lineterminator="\n")


def main() -> int:
    """Write reports/metrics.json, reports/predictions.parquet and reports/plots/."""
    params = load_params()
    with report_stage("evaluate", count_rows(HOLDOUT_PARQUET)) as notes:
        predictions = predict_holdout(params)
        truth = predictions.pop("truth")
        metrics, tables = evaluate_predictions(params, predictions, truth)
        write_plots(tables)
        write_json(METRICS_JSON, metrics)
        primary = metrics.get(params.evaluate.metric, float("nan"))
        notes[params.evaluate.metric] = f"{primary:.4f}"
    return 0
