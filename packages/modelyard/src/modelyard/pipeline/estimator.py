"""TODO doc."""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.params import Params, TrainParams
from modelyard.core.predictions import Predictions
from modelyard.pipeline.preprocessing import build_column_transformer, prepare_features

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline


def make_estimator(recipe: TrainParams, seed: int) -> "BaseEstimator":
    """The scikit-learn estimator that a recipe names; a nested `{estimator, arguments}` is built likewise."""
    module, _, name = recipe.estimator.rpartition(".")
    if module.partition(".")[0] != "sklearn":
        raise UserError(
            f"train.estimator {recipe.estimator} is not supported; "
            "name a scikit-learn class, such as sklearn.ensemble.RandomForestClassifier"
        )
    try:
        kind = getattr(importlib.import_module(module), name)
        arguments = {key: make_argument(value, seed) for key, value in recipe.arguments.items()}
        if "random_state" in inspect.signature(kind).parameters:
            arguments.setdefault("random_state", seed)
        return kind(**arguments)
    except (ImportError, AttributeError, TypeError) as problem:
        raise UserError(f"train.estimator {recipe.estimator} cannot be made: {problem}") from None


def make_argument(value: Any, seed: int) -> Any:
    """An argument as it stands, or the estimators that it describes."""
    if isinstance(value, dict) and "estimator" in value:
        return make_estimator(TrainParams(value["estimator"], value.get("arguments", {})), seed)
    if isinstance(value, list) and value and isinstance(value[0], dict) and "estimator" in value[0]:
        return [(f"model{i}", make_argument(item, seed)) for i, item in enumerate(value)]
    return value


def fit_pipeline(params: Params, raw: pd.DataFrame, target: pd.Series) -> "Pipeline":
    """A scikit-learn pipeline (columns, estimator) fitted on raw rows."""
    from sklearn.base import is_classifier
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

    last = make_estimator(params.train, params.seed)
    classifies = params.data.task == "classification"
    if is_classifier(last) != classifies or (classifies and not hasattr(last, "predict_proba")):
        wanted = "a classifier with probabilities" if classifies else "a regressor"
        raise UserError(f"train.estimator {params.train.estimator} is not for {params.data.task}; name {wanted}")
    table = prepare_features(raw)
    pipeline = Pipeline([("columns", build_column_transformer(params.train, table)), ("estimator", last)])
    try:
        with threadpool_limits(params.train.threads):  # sums depend on the number of threads
            return pipeline.fit(table, target.to_numpy())
    except ValueError as problem:
        raise UserError(f"{params.train.estimator} could not learn: {str(problem).splitlines()[0]}") from None


def predict_frame(pipeline: "Pipeline", raw: pd.DataFrame) -> pd.DataFrame:
    """A row of predictions for each raw row: `prediction`, and `p_<class>` for each class."""
    table = prepare_features(raw)
    if not hasattr(pipeline, "predict_proba"):
        return Predictions(pipeline.predict(table)).to_frame(raw.index)
    predictions = Predictions.from_probabilities(pipeline.predict_proba(table), pipeline.classes_)
    return predictions.to_frame(raw.index)
