"""Convert a fitted pipeline to an ONNX graph, which `modelyard.inference.build` compares with the pipeline."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.inference.bundle import RUNTIME_FILES, CategoryEncoding
from modelyard.inference.columns import is_missing

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

ONNX_MODEL = RUNTIME_FILES["compiled"]
UNKNOWN_CATEGORY = "\0 unknown"
BOOLEAN_ATTRIBUTE = "nodes_missing_value_tracks_true"
Converter = Callable[[Any, Any, Any], None]  # takes scope, operator and container, as skl2onnx calls it


def extract_category_encodings(encoder: Any, names: list[str]) -> list[CategoryEncoding]:
    """Return the codes of every category, read off the fitted encoder's own output.

    Parameters
    ----------
    encoder
        A fitted OneHotEncoder or OrdinalEncoder, which encode each column on its own.
    names
        The encoder's columns, in its order.

    Raises
    ------
    ValueError
        The encoder is of another kind, so a column's codes may depend on other columns.
    """
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    if not names:
        return []
    if not isinstance(encoder, OneHotEncoder | OrdinalEncoder):
        raise ValueError(f"{type(encoder).__name__} may look at more than one column")
    categories = [known.tolist() for known in encoder.categories_]
    encoded = encode_all_categories(encoder, names, categories)
    column_numbers = find_column_of_each_code(encoder, len(names))
    encodings = []
    for number, (name, known) in enumerate(zip(names, categories, strict=True)):
        codes = encoded[:, column_numbers == number].astype(float).tolist()
        pairs = [(value, code) for value, code in zip(known, codes, strict=False) if not is_missing(value)]
        encodings.append(CategoryEncoding(name, pairs, unknown=codes[-2], missing=codes[-1]))
    return encodings


def encode_all_categories(encoder: Any, names: list[str], categories: list[list[Any]]) -> np.ndarray:
    """Return the codes of all categories row by row, then of an unknown and of a missing value."""
    import pandas as pd

    longest = max(map(len, categories))
    table = {}
    for name, known in zip(names, categories, strict=True):
        padding = known[:1] * (longest - len(known))
        table[name] = [*known, *padding, UNKNOWN_CATEGORY, None]
    return np.asarray(encoder.transform(pd.DataFrame(table, dtype="object")))


def find_column_of_each_code(encoder: Any, width: int) -> np.ndarray:
    """Return for each column of the encoder's output the number of the input column that it comes from."""
    nameless = copy.copy(encoder)
    del nameless.feature_names_in_  # so that it takes these names, whose first six characters are the number
    outputs = nameless.get_feature_names_out([f"{number:06d}|" for number in range(width)])
    return np.array([int(name[:6]) for name in outputs])


class IntegerAttributes:
    """A skl2onnx container that stores a Boolean attribute as integers: ONNX has no Boolean attributes."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> Any:
        """Add a node to the graph."""
        if BOOLEAN_ATTRIBUTE in attributes:
            attributes[BOOLEAN_ATTRIBUTE] = [int(flag) for flag in attributes[BOOLEAN_ATTRIBUTE]]
        return self._container.add_node(*arguments, **attributes)


def use_integer_attributes(convert: Converter) -> Converter:
    """Return a converter of skl2onnx that works on `IntegerAttributes`."""

    def convert_with_integers(scope: Any, operator: Any, container: Any) -> None:
        convert(scope, operator, IntegerAttributes(container))

    return convert_with_integers


def make_custom_converters() -> dict[type, Converter]:
    """Return converters for the estimators whose own ones (skl2onnx 1.20) write Boolean attributes."""
    from skl2onnx.operator_converters import random_forest
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    classifier = random_forest.convert_sklearn_random_forest_classifier
    regressor = random_forest.convert_sklearn_random_forest_regressor_converter
    return {
        HistGradientBoostingClassifier: use_integer_attributes(classifier),
        HistGradientBoostingRegressor: use_integer_attributes(regressor),
    }


def make_column_transformer(pipeline: "Pipeline", numbers: int, width: int) -> "ColumnTransformer":
    """Return the fitted step for the numbers, beside the codes, which are its last columns and pass through."""
    from sklearn.compose import ColumnTransformer

    steps = [
        ("numbers", pipeline["columns"].transformers_[0][1], list(range(numbers))),
        ("codes", "passthrough", list(range(numbers, width))),
    ]
    columns = ColumnTransformer(steps)
    columns.transformers_ = [step for step in steps if step[2]]  # they are fitted already
    return columns


def convert_to_onnx(pipeline: "Pipeline", numbers: list[str], width: int) -> bytes:
    """Return the numbers' step and the estimator of a fitted pipeline as a serialized ONNX graph.

    Parameters
    ----------
    pipeline
        The fitted pipeline of the steps `columns` and `estimator`.
    numbers
        The numeric features.
    width
        The width of the graph's input `x`, of shape (n, width): the numbers, then the codes of the categories.

    Returns
    -------
    bytes
        Equal bytes for equal pipelines. The last output is the predicted numbers, shape (n, 1), or the probabilities,
        shape (n, k); for two classes it may be the second one's alone.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.pipeline import Pipeline

    estimator = pipeline["estimator"]
    columns = make_column_transformer(pipeline, len(numbers), width)
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    model = convert_sklearn(
        Pipeline([("columns", columns), ("estimator", estimator)]),
        name="model",
        initial_types=[("x", FloatTensorType([None, width]))],
        custom_conversion_functions=make_custom_converters(),
        options=options,
    )
    model.opset_import.sort(key=lambda opset: opset.domain)  # skl2onnx leaves their order to chance
    fuse_binary_trees(model)
    return bytes(model.SerializeToString())


def fuse_binary_trees(model: Any) -> None:
    """Turn a boosted classifier of two classes into a sum of trees and a sigmoid, which is a sixth faster.

    The graph's only output is then the probability of the second class, shape (n, 1). Other models stay as they are.
    """
    from onnx.helper import make_attribute, make_node

    node = model.graph.node[-1]
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type != "TreeEnsembleClassifier" or attributes["post_transform"].s != b"LOGISTIC":
        return
    node.op_type = "TreeEnsembleRegressor"
    node.output[:] = ["sum"]
    attributes["post_transform"].s = b"NONE"
    for name, attribute in attributes.items():
        if name.startswith("classlabels"):
            node.attribute.remove(attribute)
    for name in ("ids", "nodeids", "treeids", "weights"):
        attributes[f"class_{name}"].name = f"target_{name}"
    attributes["class_ids"].ints[:] = [0] * len(attributes["class_ids"].ints)
    node.attribute.append(make_attribute("n_targets", 1))
    del model.graph.output[0]
    output = model.graph.output[0]
    output.type.tensor_type.shape.dim[1].dim_value = 1
    model.graph.node.append(make_node("Sigmoid", ["sum"], [output.name]))
