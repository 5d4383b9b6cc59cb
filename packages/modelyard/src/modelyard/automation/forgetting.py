"""TODO doc."""

from pathlib import Path

import numpy as np

from modelyard.core import model_at
from modelyard.core.errors import UserError
from modelyard.core.params import Params
from modelyard.core.paths import MODEL
from modelyard.core.predictions import class_names, encode
from modelyard.data.hashing import marks
from modelyard.pipeline.estimator import predict
from modelyard.pipeline.model_file import load
from modelyard.pipeline.preprocessing import inputs
from modelyard.pipeline.warm_start import earlier
from modelyard.statistics.comparison import Difference, difference


def forgetting(params: Params, commit: str) -> Difference:
    """What the model here has lost, against the model of a commit, on that one's holdout."""
    before, _, held = earlier(commit)
    rows = held[~np.isin(marks(held), model_at.learned(Path()))].reset_index(drop=True)
    if rows.empty:
        raise UserError("every row of the earlier holdout has been learned since; forgetting cannot be judged")
    answers = [predict(pipeline, inputs(params, rows)) for pipeline in (before, load(MODEL))]
    truth, classes = rows[params.data.target], class_names(rows[params.data.target], *answers)
    (codes, old), (_, new) = (encode(truth, frame, classes) for frame in answers)
    return difference(params.evaluate.metric, codes, old, new, cost=params.evaluate.cost)
