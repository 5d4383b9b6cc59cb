"""TODO doc."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modelyard.core.parallel import use_parallel_backend
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE
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
    """The loss of the primary metric when a raw column is shuffled, on at most 2,000 rows, and its spread."""
    from sklearn.inspection import permutation_importance

    rows, target = pd.read_parquet(HOLDOUT_PARQUET), params.data.target
    rows = rows.sample(min(IMPORTANCE_ROWS, len(rows)), random_state=params.seed)
    sign = 1 if get_metric(params.evaluate.metric).higher_is_better else -1

    def score(pipeline: "Pipeline", table: pd.DataFrame, truth: pd.Series) -> float:
        return sign * compute_primary_metric(params, pipeline, table.assign(**{target: truth}))

    options: dict[str, Any] = {"scoring": score, "n_repeats": N_REPEATS, "random_state": params.seed}
    with use_parallel_backend(params.compute):
        found = permutation_importance(load_model(MODEL_FILE), select_features(params, rows), rows[target], **options)
    lost = zip(params.data.features, found.importances_mean.tolist(), found.importances_std.tolist(), strict=True)
    return sorted(lost, key=lambda item: -item[1])


def extract_scores(frame: pd.DataFrame) -> np.ndarray:
    """One number for each prediction: the probability of the last class, or the number."""
    return frame[frame.columns[-1]].to_numpy(dtype=float)


def compute_contributions(
    params: Params, pipeline: "Pipeline", rows: pd.DataFrame, chosen: Sequence[int], others: pd.DataFrame
) -> np.ndarray:
    """By chosen row and column: how far a prediction lies from what it is with other rows' values of the column."""
    names = params.data.features
    mine = rows.iloc[np.repeat(chosen, len(names) * len(others))].reset_index(drop=True)
    for place, name in enumerate(names):
        of = np.arange(len(mine)) // len(others) % len(names) == place
        mine.loc[of, name] = others[name].array.take(np.arange(len(mine)) % len(others))[of]
    swapped = (
        extract_scores(predict_frame(pipeline, select_features(params, mine)))
        .reshape(len(chosen), len(names), -1)
        .mean(axis=2)
    )
    return np.asarray(
        extract_scores(predict_frame(pipeline, select_features(params, rows.iloc[list(chosen)])))[:, None] - swapped
    )
