"""TODO doc."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modelyard.core.parallel import slots
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT, MODEL
from modelyard.pipeline.estimator import predict
from modelyard.pipeline.evaluate import value
from modelyard.pipeline.model_file import load
from modelyard.pipeline.preprocessing import inputs
from modelyard.statistics.metrics import find

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SAMPLE = 2000
REPEATS = 3


def importance(params: Params) -> list[tuple[str, float, float]]:
    """The loss of the primary metric when a raw column is shuffled, on at most 2,000 rows, and its spread."""
    from sklearn.inspection import permutation_importance

    rows, target = pd.read_parquet(HOLDOUT), params.data.target
    rows = rows.sample(min(SAMPLE, len(rows)), random_state=params.seed)
    sign = 1 if find(params.evaluate.metric).higher_is_better else -1

    def score(pipeline: "Pipeline", table: pd.DataFrame, truth: pd.Series) -> float:
        return sign * value(params, pipeline, table.assign(**{target: truth}))

    options: dict[str, Any] = {"scoring": score, "n_repeats": REPEATS, "random_state": params.seed}
    with slots(params.compute):
        found = permutation_importance(load(MODEL), inputs(params, rows), rows[target], **options)
    lost = zip(params.data.features, found.importances_mean.tolist(), found.importances_std.tolist(), strict=True)
    return sorted(lost, key=lambda item: -item[1])


def said(frame: pd.DataFrame) -> np.ndarray:
    """One number for each prediction: the probability of the last class, or the number."""
    return frame[frame.columns[-1]].to_numpy(dtype=float)


def contributions(
    params: Params, pipeline: "Pipeline", rows: pd.DataFrame, chosen: Sequence[int], others: pd.DataFrame
) -> np.ndarray:
    """By chosen row and column: how far a prediction lies from what it is with other rows' values of the column."""
    names = params.data.features
    mine = rows.iloc[np.repeat(chosen, len(names) * len(others))].reset_index(drop=True)
    for place, name in enumerate(names):
        of = np.arange(len(mine)) // len(others) % len(names) == place
        mine.loc[of, name] = others[name].array.take(np.arange(len(mine)) % len(others))[of]
    swapped = said(predict(pipeline, inputs(params, mine))).reshape(len(chosen), len(names), -1).mean(axis=2)
    return np.asarray(said(predict(pipeline, inputs(params, rows.iloc[list(chosen)])))[:, None] - swapped)
