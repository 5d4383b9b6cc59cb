"""The model: built from params.yaml, predicting from raw rows, and one file whose SHA-256 is its identity."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.params import Params, TrainParams
from modelyard.core.project import Project

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer

NAN_TOLERANT_ESTIMATORS = ("HistGradientBoosting",)  # learn from missing values themselves
TREE_MODULES = ("sklearn.ensemble.", "sklearn.tree.")


def select_features(params: Params, table: pd.DataFrame) -> pd.DataFrame:
    """The raw columns that the model may see; a missing one is a `UserError` that names it."""
    missing = [name for name in params.data.features if name not in table]
    if missing:
        raise UserError(f"the table lacks {', '.join(missing)}; params.yaml names it under data.features")
    return table[params.data.features]


def build_column_transformer(recipe: TrainParams, table: pd.DataFrame) -> "ColumnTransformer":
    """How each feature enters: categories as codes for trees, else one-hot; gaps filled where needed."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    number: Any = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    category: Any = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=10,
        max_categories=50,
        sparse_output=False,
    )
    if recipe.estimator.startswith(TREE_MODULES):
        unknown = np.nan if any(name in recipe.estimator for name in NAN_TOLERANT_ESTIMATORS) else -1
        category = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=unknown,
            encoded_missing_value=unknown,
            min_frequency=10,
            max_categories=250,
        )
        number = "passthrough" if unknown != -1 else SimpleImputer(strategy="median", keep_empty_features=True)
    numeric = list(table.select_dtypes("number").columns)
    return ColumnTransformer(
        [
            ("numbers", number, numeric),
            ("categories", category, [c for c in table if c not in numeric]),
        ]
    )


def prepare_features(raw: pd.DataFrame) -> pd.DataFrame:
    """The features of raw rows; what is no number is text, so that serving and training agree on a type."""
    table = Project.load().features(raw)
    text = table.columns.difference(table.select_dtypes("number").columns)
    return table.assign(**{name: table[name].astype("object").where(table[name].notna(), None) for name in text})
