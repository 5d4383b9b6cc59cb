"""The library's defaults for the hooks of a project; each imports what it needs only when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer

    from modelyard.core.hooks import DataSource
    from modelyard.core.params import TrainParams

# Nothing beyond what the library trusts itself, and no metrics beyond those that it has.
TRUSTED_TYPES: frozenset[str] = frozenset()
METRICS: tuple[()] = ()


def load(source: DataSource) -> Iterator[pd.DataFrame]:
    """Return the rows of a Parquet file, block by block; the library then reads the file itself.

    Parameters
    ----------
    source
        Its path names the file.
    """
    from modelyard.data.source import load_parquet

    return load_parquet(source)


def make_estimator(train: TrainParams, *, seed: int, task: str) -> BaseEstimator:
    """Return the estimator that `train.estimator` names: of scikit-learn, or of the project's own package.

    Parameters
    ----------
    train
        The name and the arguments. An argument `{estimator: …, arguments: {…}}`, or a list of such, is made likewise.
    seed
        Used as `random_state` by every estimator that has one.
    task
        `classification` or `regression`.

    Raises
    ------
    modelyard.UserError
        Where the name is not that of an estimator, or an argument does not fit.
    """
    from modelyard.pipeline.estimator import make_default_estimator

    return make_default_estimator(train, seed=seed, task=task)


def make_preprocessor(train: TrainParams, table: pd.DataFrame) -> ColumnTransformer:
    """Return the transformer that fits the estimator.

    Trees get categories as codes, other estimators get them one-hot and numbers scaled. Missing values are filled
    unless the estimator learns from them.

    Parameters
    ----------
    train
        Its estimator decides.
    table
        The features of the training rows.
    """
    from modelyard.pipeline.preprocessing import make_default_preprocessor

    return make_default_preprocessor(train, table)
