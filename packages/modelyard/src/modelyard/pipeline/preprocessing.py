"""From raw columns to the numbers that the estimator is fitted on."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.hooks import ProjectHooks
from modelyard.core.params import Params, TrainParams
from modelyard.core.project import Project

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer

NAN_TOLERANT_ESTIMATORS = ("HistGradientBoosting",)  # learn from missing values themselves
TREE_MODULES = ("sklearn.ensemble.", "sklearn.tree.")
MIN_CATEGORY_ROWS = 10


def select_features(params: Params, table: pd.DataFrame) -> pd.DataFrame:
    """Return the raw columns that the model may see; a `UserError` names those that are missing."""
    missing = [name for name in params.data.features if name not in table]
    if missing:
        raise UserError(f"the table lacks {', '.join(missing)}; params.yaml names it under data.features")
    return table[params.data.features]


def make_default_preprocessor(train: TrainParams, table: pd.DataFrame) -> "ColumnTransformer":
    """Return the transformer that fits the estimator.

    Parameters
    ----------
    train
        Trees get categories as codes; other estimators get them one-hot, and numbers scaled.
    table
        The features of the training rows, shape (n, features).
    """
    from sklearn.compose import ColumnTransformer

    is_tree = train.estimator.startswith(TREE_MODULES)
    number, category = make_tree_steps(train.estimator) if is_tree else make_linear_steps()
    numeric = list(table.select_dtypes("number").columns)
    categories = [name for name in table if name not in numeric]
    return ColumnTransformer([("numbers", number, numeric), ("categories", category, categories)])


def make_tree_steps(estimator: str) -> tuple[Any, Any]:
    """Return what is done with numbers and with categories before an estimator of trees."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OrdinalEncoder

    tolerates_missing = any(name in estimator for name in NAN_TOLERANT_ESTIMATORS)
    unknown = np.nan if tolerates_missing else -1
    category = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=unknown,
        encoded_missing_value=unknown,
        min_frequency=MIN_CATEGORY_ROWS,
        max_categories=250,
    )
    number = "passthrough" if tolerates_missing else SimpleImputer(strategy="median", keep_empty_features=True)
    return number, category


def make_linear_steps() -> tuple[Any, Any]:
    """Return what is done with numbers and with categories before any other estimator."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    number = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    category = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=MIN_CATEGORY_ROWS,
        max_categories=50,
        sparse_output=False,
    )
    return number, category


def prepare_features(
    raw: pd.DataFrame, hooks: ProjectHooks | None = None, *, check_purity: bool = False
) -> pd.DataFrame:
    """Return the features of raw rows; columns that are not numbers become text, with None for missing values.

    Parameters
    ----------
    raw
        The columns of `data.features`.
    hooks
        The hooks of the project; a service binds them once, else they are looked up for each call.
    check_purity
        Whether to try on a sample that a row's features depend on that row alone.

    Raises
    ------
    HookError
        Where `features` breaks its contract.
    """
    if hooks is None:
        hooks = Project.load().hooks
    table = hooks.compute_pure_features(raw) if check_purity else hooks.compute_features(raw)
    text = table.columns.difference(table.select_dtypes("number").columns)
    return table.assign(**{name: table[name].astype("object").where(table[name].notna(), None) for name in text})
