"""Stage: the model is scored on the holdout: flat metrics, its predictions, and the points of the plots."""

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from modelyard.core.console import stage
from modelyard.core.files import write_json
from modelyard.core.params import Params, load_params
from modelyard.core.paths import HOLDOUT, METRICS, MODEL, PLOTS, PREDICTIONS
from modelyard.core.predictions import encode
from modelyard.data.parquet import WHOLE, blocks, size, writing
from modelyard.pipeline.estimator import predict
from modelyard.pipeline.model_file import load
from modelyard.pipeline.preprocessing import inputs
from modelyard.statistics.metrics import evaluate_all, find

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

POINTS = 500  # a plot needs no more, and DVC keeps every version of them


def value(params: Params, pipeline: "Pipeline", table: pd.DataFrame) -> float:
    """The primary metric of a model on a table; NaN where its rows do not define it."""
    truth, scores = encode(table[params.data.target], predict(pipeline, inputs(params, table)))
    return float(find(params.evaluate.metric).function(truth, scores, params.evaluate.cost))


def points(truth: np.ndarray, scores: np.ndarray) -> dict[str, pd.DataFrame]:
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
    spread = {name: np.unique(np.linspace(0, len(t) - 1, POINTS).astype(int)) for name, t in tables.items()}
    return {name: table.iloc[spread[name]].round(6) for name, table in tables.items()}


def evaluate(
    params: Params, predictions: pd.DataFrame, truth: pd.Series
) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    """Every metric that the task has, with the number of rows, and the points of the plots."""
    codes, scores = encode(truth, predictions)
    metrics = evaluate_all(params.data.task, codes, scores, params.evaluate.cost)
    return {**metrics, "rows": len(truth)}, points(codes, scores)


def main() -> int:
    """Write reports/metrics.json, reports/predictions.parquet and reports/plots/."""
    from threadpoolctl import threadpool_limits

    params = load_params()
    with stage("evaluate", size(HOLDOUT)) as notes:
        pipeline, target = load(MODEL), params.data.target
        said = list[pd.DataFrame]()
        with threadpool_limits(params.train.threads), writing(PREDICTIONS) as add:
            for part in blocks(HOLDOUT, whole=WHOLE // 4):
                said.append(predict(pipeline, inputs(params, part)).assign(truth=part[target].copy()))
                add(said[-1])
        predictions = pd.concat(said)
        del said
        metrics, tables = evaluate(params, predictions, predictions.pop("truth"))
        shutil.rmtree(PLOTS, ignore_errors=True)  # no older plot stays
        PLOTS.mkdir(parents=True)
        for name, table in tables.items():
            table.to_csv(PLOTS / f"{name}.csv", index=False, lineterminator="\n")
        write_json(METRICS, metrics)
        notes[params.evaluate.metric] = f"{metrics.get(params.evaluate.metric, float('nan')):.4f}"
    return 0
