"""The model: a scikit-learn pipeline of columns and estimator, built from params.yaml and the project's hooks."""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import pandas as pd

from modelyard.core.errors import SettingError, UserError
from modelyard.core.hooks import ESTIMATOR, PREPROCESSOR, ProjectHooks
from modelyard.core.params import Params, TrainParams
from modelyard.core.predictions import Predictions
from modelyard.core.project import Project
from modelyard.pipeline.preprocessing import make_default_preprocessor, prepare_features

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline


def make_default_estimator(train: TrainParams, *, seed: int, task: str) -> "BaseEstimator":
    """Return the scikit-learn estimator that `train.estimator` names.

    Parameters
    ----------
    train
        The name and the arguments; nested estimators are made likewise.
    seed
        Used as `random_state` by every estimator that has one.
    task
        `classification` or `regression`.

    Raises
    ------
    SettingError
        Where the name is not one of scikit-learn, or an argument does not fit.
    """
    setting = f"train.estimator {train.estimator}"
    module, _, name = train.estimator.rpartition(".")
    if module.partition(".")[0] != "sklearn":
        cure = "name a scikit-learn class, such as sklearn.ensemble.RandomForestClassifier, or make it in model.py"
        raise SettingError(setting, "is not supported", cure)
    try:
        kind = getattr(importlib.import_module(module), name)
        arguments = {key: make_argument(value, seed, task) for key, value in train.arguments.items()}
        if "random_state" in inspect.signature(kind).parameters:
            arguments.setdefault("random_state", seed)
        return kind(**arguments)
    except (ImportError, AttributeError, TypeError) as problem:
        raise SettingError(setting, f"cannot be made: {problem}", "correct train in params.yaml") from None


def make_argument(value: Any, seed: int, task: str) -> Any:
    """Return an argument as it stands, or the estimators that it describes."""
    if isinstance(value, dict) and "estimator" in value:
        nested = TrainParams(value["estimator"], value.get("arguments", {}))
        return make_default_estimator(nested, seed=seed, task=task)
    if isinstance(value, list) and value and isinstance(value[0], dict) and "estimator" in value[0]:
        return [(f"model{i}", make_argument(item, seed, task)) for i, item in enumerate(value)]
    return value


def build_estimator(params: Params) -> "BaseEstimator":
    """Return the estimator of the project's `make_estimator`, or of the library's.

    Raises
    ------
    HookError
        Where the project's function returns something else.
    SettingError
        Where the estimator is not for the task.
    """
    from sklearn.base import BaseEstimator, is_classifier

    hooks = Project.load().hooks
    task = params.data.task
    make = hooks.make_estimator or make_default_estimator
    estimator = make(params.train, seed=params.seed, task=task)
    if not isinstance(estimator, BaseEstimator):
        raise hooks.error(ESTIMATOR, f"returns a {type(estimator).__name__}; it must return a scikit-learn estimator")
    classifies = task == "classification"
    if is_classifier(estimator) != classifies or (classifies and not hasattr(estimator, "predict_proba")):
        wanted = "a classifier with probabilities" if classifies else "a regressor"
        raise SettingError(f"train.estimator {type(estimator).__name__}", f"is not for {task}", f"name {wanted}")
    return estimator


def build_pipeline(params: Params, table: pd.DataFrame) -> "Pipeline":
    """Return a pipeline (columns, estimator) for a table of features, before it is fitted."""
    from sklearn.pipeline import Pipeline

    estimator = build_estimator(params)
    hooks = Project.load().hooks
    make = hooks.make_preprocessor or make_default_preprocessor
    columns = make(params.train, table)
    if not hasattr(columns, "transform"):
        problem = f"returns a {type(columns).__name__}; it must return a transformer of scikit-learn"
        raise hooks.error(PREPROCESSOR, problem)
    return Pipeline([("columns", columns), ("estimator", estimator)])


def fit_pipeline(params: Params, raw: pd.DataFrame, target: pd.Series) -> "Pipeline":
    """Return a pipeline (columns, estimator) that is fitted on raw rows.

    Parameters
    ----------
    params
        The project's parameters.
    raw
        The columns of `data.features`, shape (n, features).
    target
        The true values, shape (n,).

    Raises
    ------
    HookError
        Where `features` breaks its contract, which is tried on a sample of the rows.
    UserError
        Where the estimator cannot learn from these rows.
    """
    from threadpoolctl import threadpool_limits

    table = prepare_features(raw, check_purity=True)
    pipeline = build_pipeline(params, table)
    try:
        with threadpool_limits(params.train.threads):  # sums depend on the number of threads
            return pipeline.fit(table, target.to_numpy())
    except ValueError as problem:
        name = type(pipeline[-1]).__name__
        raise UserError(f"{name} could not learn: {str(problem).splitlines()[0]}") from None


def predict_frame(pipeline: "Pipeline", raw: pd.DataFrame, hooks: ProjectHooks | None = None) -> pd.DataFrame:
    """Return the predictions of raw rows.

    Parameters
    ----------
    pipeline
        The fitted pipeline.
    raw
        The columns of `data.features`, shape (n, features).
    hooks
        The hooks of the project; a service binds them once, else they are looked up for each call.

    Returns
    -------
    pandas.DataFrame
        The column `prediction`, and for classes `p_<class>`, with the index of `raw`.
    """
    table = prepare_features(raw, hooks)
    if not hasattr(pipeline, "predict_proba"):
        return Predictions(pipeline.predict(table)).to_frame(raw.index)
    predictions = Predictions.from_probabilities(pipeline.predict_proba(table), pipeline.classes_)
    return predictions.to_frame(raw.index)
