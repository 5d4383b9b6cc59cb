"""Learning on: a model of an earlier commit takes new rows in, and is held to what it knew.

Only estimators that really go on are let through: those with `partial_fit`, and forests that grow trees.
"""

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from . import champion
from .compare import Difference, difference
from .config import DVC, HOLDOUT, LOCK, MODEL, Params, UserError
from .evaluate import class_names, encode
from .model import inputs, load, predict, prepare
from .split import marks

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Hashes = npt.NDArray[np.uint64]


def earlier(commit: str) -> tuple["Pipeline", Hashes, pd.DataFrame]:
    """The model of a commit, the rows it learned from, and its holdout."""
    with champion.checkout(commit) as project:
        champion.bring(project, champion.Champion("base", None, commit))
        pipeline, rows = load(project / MODEL), champion.learned(project)
        held = champion.cached(champion.outs(champion.at(commit, LOCK) or {}).get(str(HOLDOUT)))
        if not held.is_file():
            champion.run(project, *DVC, "repro", "split")
            held = project / HOLDOUT
        return pipeline, rows, pd.read_parquet(held)


def go_on(pipeline: "Pipeline", raw: pd.DataFrame, target: "pd.Series[Any]", before: int) -> "Pipeline":
    """The pipeline after new rows: its columns stay as they were fitted, its estimator learns on."""
    columns, estimator = pipeline[:-1], pipeline[-1]
    kind = type(estimator).__name__
    try:
        rows, truth = columns.transform(prepare(raw)), target.to_numpy()
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


def resume(params: Params, chosen: pd.DataFrame) -> tuple["Pipeline", Hashes]:
    """The model of `train.start` after the rows that are new to it, and all rows that it has learned from."""
    from threadpoolctl import threadpool_limits

    pipeline, rows, held = earlier(str(params.train.start))
    new = chosen[~np.isin(marks(chosen), np.concatenate([rows, marks(held)]))]
    if new.empty:
        raise UserError(f"the model of {str(params.train.start)[:12]} has seen every row; bring new ones")
    with threadpool_limits(params.train.threads):
        pipeline = go_on(pipeline, inputs(params, new), new[params.data.target], len(rows))
    return pipeline, np.sort(np.concatenate([rows, marks(new)]))


def forgetting(params: Params, commit: str) -> Difference:
    """What the model here has lost, against the model of a commit, on that one's holdout."""
    before, _, held = earlier(commit)
    rows = held[~np.isin(marks(held), champion.learned(Path()))].reset_index(drop=True)
    if rows.empty:
        raise UserError("every row of the earlier holdout has been learned since; forgetting cannot be judged")
    answers = [predict(pipeline, inputs(params, rows)) for pipeline in (before, load(MODEL))]
    truth, classes = rows[params.data.target], class_names(rows[params.data.target], *answers)
    (codes, old), (_, new) = (encode(truth, frame, classes) for frame in answers)
    return difference(params.evaluate.metric, codes, old, new, cost=params.evaluate.cost)
