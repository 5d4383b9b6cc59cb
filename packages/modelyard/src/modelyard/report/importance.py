"""Measure what the model's columns are worth: permutation importance, and why a prediction is what it is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from modelyard.core.parallel import use_parallel_backend
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE
from modelyard.core.predictions import Predictions
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.evaluate import compute_primary_metric
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.statistics.metrics import get_metric

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

IMPORTANCE_ROWS = 2000
N_REPEATS = 3


def compute_importance(params: Params) -> list[tuple[str, float, float]]:
    """Return the permutation importance of each raw column on at most 2,000 rows of the holdout.

    Parameters
    ----------
    params
        The project's parameters; the model and the holdout are those in the current folder.

    Returns
    -------
    list of (str, float, float)
        Column, mean loss of the primary metric when the column is shuffled, and the standard deviation of the loss
        over the shuffles, both in the metric's unit; the most important column first.

    References
    ----------
    Breiman, L. (2001). Random forests. Machine Learning 45, 5-32.
    """
    from sklearn.inspection import permutation_importance

    target = params.data.target
    holdout = pd.read_parquet(HOLDOUT_PARQUET)
    rows = holdout.sample(min(IMPORTANCE_ROWS, len(holdout)), random_state=params.seed)
    sign = 1 if get_metric(params.evaluate.metric).higher_is_better else -1

    def score(pipeline: "Pipeline", table: pd.DataFrame, truth: pd.Series) -> float:
        return sign * compute_primary_metric(params, pipeline, table.assign(**{target: truth}))

    with use_parallel_backend(params.compute):
        result = permutation_importance(
            load_model(MODEL_FILE),
            select_features(params, rows),
            rows[target],
            scoring=score,
            n_repeats=N_REPEATS,
            random_state=params.seed,
        )
    losses = result.importances_mean.tolist()
    spreads = result.importances_std.tolist()
    return sorted(zip(params.data.features, losses, spreads, strict=True), key=lambda row: -row[1])


def predict_scores(params: Params, pipeline: "Pipeline", rows: pd.DataFrame) -> np.ndarray:
    """Return a number for each raw row: the probability of the last class, or the predicted number; shape (n,)."""
    predictions = predict_frame(pipeline, select_features(params, rows))
    return Predictions.from_frame(predictions).get_last_scores()


def compute_contributions(
    params: Params, pipeline: "Pipeline", rows: pd.DataFrame, chosen: Sequence[int], background: pd.DataFrame
) -> np.ndarray:
    """Return by how much each column moves a prediction.

    A column's contribution is the prediction minus the mean prediction with the column's value replaced by that of
    each background row, the other columns unchanged.

    Parameters
    ----------
    params
        The project's parameters.
    pipeline
        The fitted pipeline.
    rows
        Raw rows.
    chosen
        Positions of the k rows to explain.
    background
        The m raw rows whose values are put in.

    Returns
    -------
    ndarray of shape (k, n_columns)
        In the unit of the prediction (a probability for classes); columns in the order of `data.features`.
    """
    columns = params.data.features
    repeats = len(columns) * len(background)
    swapped = rows.iloc[np.repeat(chosen, repeats)].reset_index(drop=True)
    position = np.arange(len(swapped))
    swapped_column = position // len(background) % len(columns)
    background_row = position % len(background)
    for number, name in enumerate(columns):
        here = swapped_column == number
        swapped.loc[here, name] = background[name].array.take(background_row[here])
    scores = predict_scores(params, pipeline, swapped)
    mean_scores = scores.reshape(len(chosen), len(columns), -1).mean(axis=2)
    own_scores = predict_scores(params, pipeline, rows.iloc[list(chosen)])
    return np.asarray(own_scores[:, None] - mean_scores)
