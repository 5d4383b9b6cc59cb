"""What is fitted. A function that is not here is the library's default; params.yaml names the estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard import TrainParams, defaults

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer

# Types that a model file may hold besides the library's own list, such as {"lightgbm.sklearn.LGBMClassifier"}.
TRUSTED_TYPES: frozenset[str] = defaults.TRUSTED_TYPES


def make_estimator(train: TrainParams, *, seed: int, task: str) -> BaseEstimator:
    """Return an estimator that is not fitted yet: a classifier with `predict_proba`, or a regressor.

    `train` is the block of that name in params.yaml, `seed` is for every random draw, and `task` is `classification` or
    `regression`. Raise `modelyard.UserError` where params.yaml asks for what cannot be. Another estimator:

        return lightgbm.LGBMClassifier(**train.arguments, random_state=seed)
    """
    return defaults.make_estimator(train, seed=seed, task=task)


def make_preprocessor(train: TrainParams, table: pd.DataFrame) -> ColumnTransformer:
    """Return the transformer, not fitted yet, that turns features into the numbers that the estimator learns from.

    `table` has the features of the training rows: numbers, and text with None where it is missing. The transformer also
    meets categories that training never saw. Numbers alone:

        return ColumnTransformer([("numbers", StandardScaler(), list(table.select_dtypes("number")))])
    """
    return defaults.make_preprocessor(train, table)
