"""Learning on: a model of an earlier commit takes new rows in, and is held to what it knew.

Only estimators that really go on are let through: those with `partial_fit`, and forests that grow trees.
"""

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelyard.core import dvc_lock, git_objects, model_at
from modelyard.core.errors import UserError
from modelyard.core.params import Params
from modelyard.core.paths import DVC_LOCK, HOLDOUT_PARQUET, MODEL_FILE
from modelyard.core.process import DVC_COMMAND
from modelyard.data.hashing import row_hashes
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import prepare_features, select_features

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

RowHashes = npt.NDArray[np.uint64]


def load_training_state(commit: str) -> tuple["Pipeline", RowHashes, pd.DataFrame]:
    """The model of a commit, the rows it learned from, and its holdout."""
    with git_objects.checkout_commit(commit) as project:
        model_at.restore_model(project, model_at.Champion("base", None, commit))
        pipeline, rows = load_model(project / MODEL_FILE), model_at.load_row_hashes(project)
        held = dvc_lock.get_cache_path(
            dvc_lock.get_hashes(git_objects.read_yaml_at(commit, DVC_LOCK) or {}).get(str(HOLDOUT_PARQUET))
        )
        if not held.is_file():
            model_at.run_in_checkout(project, *DVC_COMMAND, "repro", "split")
            held = project / HOLDOUT_PARQUET
        return pipeline, rows, pd.read_parquet(held)


def update_pipeline(pipeline: "Pipeline", raw: pd.DataFrame, target: "pd.Series[Any]", before: int) -> "Pipeline":
    """The pipeline after new rows: its columns stay as they were fitted, its estimator learns on."""
    columns, estimator = pipeline[:-1], pipeline[-1]
    kind = type(estimator).__name__
    try:
        rows, truth = columns.transform(prepare_features(raw)), target.to_numpy()
        if hasattr(estimator, "partial_fit"):
            estimator.partial_fit(rows, truth)
        elif "Forest" in kind and hasattr(estimator, "warm_start"):
            more = ceil(estimator.n_estimators * len(raw) / max(before, 1))
            estimator.set_params(warm_start=True, n_estimators=estimator.n_estimators + more).fit(rows, truth)
        else:
            raise UserError(f"{kind} cannot go on learning; set train.start to null, or name another estimator")
    except ValueError as problem:
        raise UserError(f"{kind} could not learn on: {str(problem).splitlines()[0]}") from None
    return pipeline


def resume_training(params: Params, chosen: pd.DataFrame) -> tuple["Pipeline", RowHashes]:
    """The model of `train.start` after the rows that are new to it, and all rows that it has learned from."""
    from threadpoolctl import threadpool_limits

    pipeline, rows, held = load_training_state(str(params.train.start))
    new = chosen[~np.isin(row_hashes(chosen), np.concatenate([rows, row_hashes(held)]))]
    if new.empty:
        raise UserError(f"the model of {str(params.train.start)[:12]} has seen every row; bring new ones")
    with threadpool_limits(params.train.threads):
        pipeline = update_pipeline(pipeline, select_features(params, new), new[params.data.target], len(rows))
    return pipeline, np.sort(np.concatenate([rows, row_hashes(new)]))
