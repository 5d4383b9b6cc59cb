"""Training that goes on from an earlier model, with the rows that are new to it.

Only estimators that really go on learning are accepted: those with `partial_fit`, and forests, which grow trees.
"""

from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelyard.core.errors import SettingError, UserError
from modelyard.core.model_at import load_row_hashes_file
from modelyard.core.params import Params, StartParams
from modelyard.core.start_model import check_start_files, get_start_path
from modelyard.data.hashing import row_hashes
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import prepare_features, select_features

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

RowHashes = npt.NDArray[np.uint64]


class TrainingState(NamedTuple):
    """An earlier model, the hashes of its training rows, shape (n,), and its holdout."""

    pipeline: "Pipeline"
    rows: RowHashes
    holdout: pd.DataFrame


def load_training_state(start: StartParams) -> TrainingState:
    """Read the earlier model from models/start/ after a check of its digests.

    Parameters
    ----------
    start
        The block `train.start` of params.yaml.

    Raises
    ------
    MissingFileError, IntegrityError
        Where the files are not those that params.yaml names.
    """
    check_start_files(start)
    pipeline = load_model(get_start_path("model"), start.model)
    rows = load_row_hashes_file(get_start_path("rows"))
    return TrainingState(pipeline, rows, pd.read_parquet(get_start_path("holdout")))


def update_pipeline(pipeline: "Pipeline", raw: pd.DataFrame, target: "pd.Series[Any]", rows_before: int) -> "Pipeline":
    """Fit the estimator of a pipeline on new rows; the step before it stays as it was fitted.

    Parameters
    ----------
    pipeline
        The fitted pipeline, which is changed in place.
    raw
        New raw rows.
    target
        Their true values.
    rows_before
        How many rows the pipeline was fitted on: a forest grows in proportion.

    Returns
    -------
    sklearn.pipeline.Pipeline
        The same pipeline.

    Raises
    ------
    SettingError
        Where the estimator cannot go on learning.
    """
    estimator = pipeline[-1]
    kind = type(estimator).__name__
    is_forest = "Forest" in kind and hasattr(estimator, "warm_start")
    if not is_forest and not hasattr(estimator, "partial_fit"):
        raise SettingError(f"train.start: {kind}", "cannot go on learning", "set it to null, or name another estimator")
    try:
        table = pipeline[:-1].transform(prepare_features(raw))
        truth = target.to_numpy()
        if is_forest:
            new_trees = ceil(estimator.n_estimators * len(raw) / max(rows_before, 1))
            estimator.set_params(warm_start=True, n_estimators=estimator.n_estimators + new_trees)
            estimator.fit(table, truth)
        else:
            estimator.partial_fit(table, truth)
    except ValueError as problem:
        raise UserError(f"{kind} could not learn on: {str(problem).splitlines()[0]}") from None
    return pipeline


def resume_training(params: Params, table: pd.DataFrame) -> "tuple[Pipeline, RowHashes]":
    """Fit the model of `train.start` on the rows that are new to it.

    Parameters
    ----------
    params
        The project's parameters, with `train.start`.
    table
        The training rows. Those that the earlier model has learned, or has held out, are left out.

    Returns
    -------
    sklearn.pipeline.Pipeline
        The model.
    numpy.ndarray
        The sorted hashes of all rows that it has learned, shape (n,).

    Raises
    ------
    UserError
        Where no row is new.
    """
    from threadpoolctl import threadpool_limits

    if params.train.start is None:
        raise SettingError("train.start", "is null", "name the model to go on from")
    state = load_training_state(params.train.start)
    known = np.concatenate([state.rows, row_hashes(state.holdout)])
    new = table[~np.isin(row_hashes(table), known)]
    if new.empty:
        raise UserError(f"the model of {params.train.start.commit[:12]} has seen every row; bring new ones")
    raw = select_features(params, new)
    with threadpool_limits(params.train.threads):
        pipeline = update_pipeline(state.pipeline, raw, new[params.data.target], len(state.rows))
    return pipeline, np.sort(np.concatenate([state.rows, row_hashes(new)]))
