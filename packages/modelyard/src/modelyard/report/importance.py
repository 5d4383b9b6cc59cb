"""Measure what the model's columns are worth: permutation importance, and why a prediction is what it is."""

from collections.abc import Callable, Sequence
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
IMPORTANCE_CELLS = 2_000_000  # of a wide table fewer rows are taken, so that the time grows with its columns alone
MIN_IMPORTANCE_ROWS = 200
N_REPEATS = 3
MAX_COLUMNS_MEASURED = 48  # of more, those are measured whose groups lose most
N_GROUPS = 16


def compute_importance(params: Params) -> list[tuple[str, float, float]]:
    """Return the permutation importance of raw columns on at most 2,000 rows of the holdout.

    Parameters
    ----------
    params
        The project's parameters; the model and the holdout are those in the current folder.

    Returns
    -------
    list of (str, float, float)
        Column, mean loss of the primary metric when the column is shuffled, and the standard deviation of the loss
        over the shuffles, both in the metric's unit; the most important column first. Of more than 48 columns, only
        those that `choose_columns` returns.

    References
    ----------
    Breiman, L. (2001). Random forests. Machine Learning 45, 5-32.
    """
    from sklearn.inspection import permutation_importance

    target = params.data.target
    holdout = pd.read_parquet(HOLDOUT_PARQUET)
    n_rows = min(IMPORTANCE_ROWS, max(IMPORTANCE_CELLS // len(params.data.features), MIN_IMPORTANCE_ROWS))
    rows = holdout.sample(min(n_rows, len(holdout)), random_state=params.seed)
    sign = 1 if get_metric(params.evaluate.metric).higher_is_better else -1

    def score(pipeline: "Pipeline", columns: pd.DataFrame, truth: pd.Series) -> float:
        changed = {str(name): columns[name].array for name in columns}
        return sign * compute_primary_metric(params, pipeline, rows.assign(**changed, **{target: truth.array}))

    pipeline = load_model(MODEL_FILE)
    table = select_features(params, rows)
    chosen = choose_columns(table, lambda shuffled: score(pipeline, shuffled, rows[target]), params.seed)
    with use_parallel_backend(params.compute):
        result = permutation_importance(
            pipeline,
            table[chosen],
            rows[target],
            scoring=score,
            n_repeats=N_REPEATS,
            random_state=params.seed,
        )
    losses = result.importances_mean.tolist()
    spreads = result.importances_std.tolist()
    return sorted(zip(chosen, losses, spreads, strict=True), key=lambda row: -row[1])


def choose_columns(table: pd.DataFrame, score: Callable[[pd.DataFrame], float], seed: int) -> list[str]:
    """Return the columns to be measured one by one: all, or of many those in the groups that lose most together.

    The columns are cut into 16 groups, each of which is shuffled as a whole. The half that loses more is cut again,
    until at most 48 columns are left: so the number of predictions grows with the logarithm of the columns.

    Parameters
    ----------
    table
        The raw columns, shape (n, n_columns).
    score
        Takes a table of changed columns and returns the score of all columns; more is better.
    seed
        The seed of the shuffles.
    """
    random = np.random.default_rng(seed)
    columns = list(table.columns)
    while len(columns) > MAX_COLUMNS_MEASURED:
        groups = np.array_split(np.array(columns, dtype=object), N_GROUPS)
        orders = [random.permutation(len(table)) for _ in groups]
        scores = [score(table[list(group)].iloc[order]) for group, order in zip(groups, orders, strict=True)]
        worst_half = np.sort(np.argsort(scores)[: N_GROUPS // 2])
        columns = [str(name) for number in worst_half for name in groups[number]]
    return columns


def predict_scores(params: Params, pipeline: "Pipeline", rows: pd.DataFrame) -> np.ndarray:
    """Return a number for each raw row: the probability of the last class, or the predicted number; shape (n,)."""
    predictions = predict_frame(pipeline, select_features(params, rows))
    return Predictions.from_frame(predictions).get_last_scores()


def compute_contributions(
    params: Params,
    pipeline: "Pipeline",
    rows: pd.DataFrame,
    chosen: Sequence[int],
    background: pd.DataFrame,
    columns: Sequence[str],
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
    columns
        The columns whose contributions are wanted.

    Returns
    -------
    ndarray of shape (k, n_columns)
        In the unit of the prediction (a probability for classes); in the order of `columns`.
    """
    repeated = rows.iloc[np.repeat(chosen, len(background))].reset_index(drop=True)
    own_scores = predict_scores(params, pipeline, rows.iloc[list(chosen)])
    contributions = np.empty((len(chosen), len(columns)))
    for number, name in enumerate(columns):
        values = background[name].array.take(np.tile(np.arange(len(background)), len(chosen)))
        scores = predict_scores(params, pipeline, repeated.assign(**{name: values}))
        contributions[:, number] = own_scores - scores.reshape(len(chosen), -1).mean(axis=1)
    return contributions
