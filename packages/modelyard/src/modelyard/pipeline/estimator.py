"""The model: a scikit-learn pipeline of columns and estimator, built from params.yaml and the project's hooks."""

import importlib
import inspect
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd

from modelyard.core.errors import SettingError, UserError
from modelyard.core.hooks import ESTIMATOR, PREPROCESSOR, ProjectHooks, import_from_folder
from modelyard.core.params import Params, TrainParams
from modelyard.core.predictions import Predictions
from modelyard.core.project import Project
from modelyard.pipeline.preprocessing import make_default_preprocessor, prepare_features

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

# Libraries whose estimators have scikit-learn's form, and are used where they are installed.
OTHER_LIBRARIES = ("catboost", "lightgbm", "xgboost")
PUBLIC_NAME = re.compile(r"([a-zA-Z]\w*\.)+[a-zA-Z]\w*", re.ASCII)
ESTIMATOR_CURE = "name a scikit-learn class, such as sklearn.ensemble.RandomForestClassifier, or a class of src/"


def find_estimator_class(name: str) -> "type[BaseEstimator]":
    """Return the class that a dotted name means, without calling anything.

    Only a public module of scikit-learn, a library of its form or the project's own package is imported for it: a name
    in params.yaml must not start other code.

    Parameters
    ----------
    name
        Such as `sklearn.ensemble.RandomForestClassifier`.

    Raises
    ------
    SettingError
        Where the name is not that of an estimator: a class with `fit` and with `predict` or `transform`.
    """
    from sklearn.base import BaseEstimator

    setting = f"train.estimator {name}"
    module_name, _, class_name = name.rpartition(".")
    if not PUBLIC_NAME.fullmatch(name) or not is_estimator_module(module_name):
        raise SettingError(setting, "is not supported", ESTIMATOR_CURE)
    try:
        found: Any = vars(import_estimator_module(module_name)).get(class_name)
    except Exception as problem:  # whatever the user's code raises while it is imported
        reason = " ".join(str(problem).split())
        raise SettingError(setting, f"cannot be imported: {type(problem).__name__}: {reason}", ESTIMATOR_CURE) from None
    is_estimator = inspect.isclass(found) and issubclass(found, BaseEstimator) and hasattr(found, "fit")
    if not is_estimator or not (hasattr(found, "predict") or hasattr(found, "transform")):
        raise SettingError(setting, "is no estimator", ESTIMATOR_CURE)
    estimator: type[BaseEstimator] = found
    return estimator


def is_estimator_module(name: str) -> bool:
    """Return whether estimators may come from a module: one of scikit-learn's own list, or a file of the project."""
    import sklearn

    library, _, part = name.partition(".")
    project = Project.load()
    if library == project.package:
        return project.source.joinpath(*part.split(".")).with_suffix(".py").is_file()
    return (library == "sklearn" and part in sklearn.__all__) or name in OTHER_LIBRARIES


def import_estimator_module(name: str) -> ModuleType:
    """Import a module that estimators may come from."""
    library, _, part = name.partition(".")
    project = Project.load()
    if library == project.package:
        return import_from_folder(project.root / "src", library, part)
    return importlib.import_module(name)


def make_default_estimator(train: TrainParams, *, seed: int, task: str) -> "BaseEstimator":
    """Return the estimator that `train.estimator` names: of scikit-learn, or of the project's own package.

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
        Where the name is not that of an estimator, or an argument does not fit.
    """
    setting = f"train.estimator {train.estimator}"
    kind = find_estimator_class(train.estimator)
    if train.arguments.get("memory") is not None:  # joblib would read pickles from there
        raise SettingError(setting, "has the argument memory, a folder of pickles", "leave it out")
    try:
        arguments = {key: make_argument(value, seed, task) for key, value in train.arguments.items()}
        if "random_state" in inspect.signature(kind).parameters:
            arguments.setdefault("random_state", seed)
        return kind(**arguments)
    except (TypeError, msgspec.ValidationError) as problem:
        raise SettingError(setting, f"cannot be made: {problem}", "correct train in params.yaml") from None


def make_argument(value: Any, seed: int, task: str) -> Any:
    """Return an argument as it stands, or the estimators that it describes."""
    if isinstance(value, dict) and "estimator" in value:
        return make_default_estimator(msgspec.convert(value, TrainParams), seed=seed, task=task)
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
    setting = f"train.estimator {type(estimator).__name__}"
    if is_classifier(estimator) != classifies:
        wanted = "a classifier with probabilities" if classifies else "a regressor"
        raise SettingError(setting, f"is not for {task}", f"name {wanted}")
    if classifies and not predicts_probabilities(estimator):
        cure = "name a classifier with probabilities, or put sklearn.calibration.CalibratedClassifierCV around it"
        if "voting" in estimator.get_params(deep=False):
            cure = "add `voting: soft` to its arguments"
        raise SettingError(setting, "predicts no probabilities", cure)
    return estimator


def predicts_probabilities(estimator: "BaseEstimator") -> bool:
    """Return whether a classifier that is not fitted yet will predict probabilities."""
    settings = estimator.get_params(deep=False)
    if "final_estimator" in settings and settings["final_estimator"] is None:
        return True  # a StackingClassifier makes its logistic regression when it is fitted
    return hasattr(estimator, "predict_proba")


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
