"""Measures what a model has lost by learning on."""

from pathlib import Path

import numpy as np

from modelyard.core import model_at
from modelyard.core.errors import UserError
from modelyard.core.params import Params, StartParams
from modelyard.core.paths import MODEL_FILE
from modelyard.core.predictions import Predictions, encode_aligned
from modelyard.data.hashing import row_hashes
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.pipeline.warm_start import load_training_state
from modelyard.statistics.clusters import build_clusters
from modelyard.statistics.comparison import Difference, compute_difference


def measure_forgetting(params: Params, start: StartParams) -> Difference:
    """Compare the current model with the one that it started from, on the holdout of the latter.

    Parameters
    ----------
    params
        The project's parameters.
    start
        The earlier model (`train.start`).

    Returns
    -------
    Difference
        The current model as the candidate, the earlier one as the champion.

    Raises
    ------
    UserError
        The current model has learned every row of that holdout.
    """
    before, _, holdout = load_training_state(start)
    is_learned = np.isin(row_hashes(holdout), model_at.load_row_hashes(Path()))
    rows = holdout[~is_learned].reset_index(drop=True)
    if rows.empty:
        raise UserError("every row of the earlier holdout has been learned since, so forgetting cannot be measured")
    features = select_features(params, rows)
    earlier = Predictions.from_frame(predict_frame(before, features))
    current = Predictions.from_frame(predict_frame(load_model(MODEL_FILE), features))
    codes, (old, new) = encode_aligned(rows[params.data.target], earlier, current)
    return compute_difference(
        params.evaluate.metric,
        codes,
        old,
        new,
        groups=build_clusters(params.data, rows),
        cost=params.evaluate.cost,
        margin=params.gate.margin,
    )
