"""TODO doc."""

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
from modelyard.statistics.comparison import Difference, compute_difference


def measure_forgetting(params: Params, start: StartParams) -> Difference:
    """Return what the current model has lost, compared with the model that it started from, on that one's holdout."""
    before, _, held = load_training_state(start)
    rows = held[~np.isin(row_hashes(held), model_at.load_row_hashes(Path()))].reset_index(drop=True)
    if rows.empty:
        raise UserError("every row of the earlier holdout has been learned since; forgetting cannot be judged")
    features = select_features(params, rows)
    earlier = Predictions.from_frame(predict_frame(before, features))
    current = Predictions.from_frame(predict_frame(load_model(MODEL_FILE), features))
    codes, (old, new) = encode_aligned(rows[params.data.target], earlier, current)
    return compute_difference(params.evaluate.metric, codes, old, new, cost=params.evaluate.cost)
