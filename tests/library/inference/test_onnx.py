import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from modelyard.inference.bundle import ModelBundle
from modelyard.inference.onnx import IntegerAttributes, extract_category_encodings

TABLE = pd.DataFrame({"color": ["red", "blue", "red"], "size": ["s", "m", "l"]}, dtype="object")


class FakeContainer:
    def __init__(self) -> None:
        self.attributes: dict[str, object] = {}

    def add_node(self, *_: object, **attributes: object) -> None:
        self.attributes = attributes


@pytest.mark.usefixtures("bundle")
def test_domains_of_a_compiled_model_are_sorted() -> None:
    domains = [opset.domain for opset in onnx.load("models/model.onnx").opset_import]
    assert domains == sorted(domains)


def test_two_classes_of_trees_are_one_sum(bundle: ModelBundle) -> None:
    assert bundle.classes == [0, 1]
    operators = [node.op_type for node in onnx.load("models/model.onnx").graph.node]
    assert operators[-2:] == ["TreeEnsembleRegressor", "Sigmoid"]


def test_boolean_attributes_become_integers() -> None:
    container = FakeContainer()
    IntegerAttributes(container).add_node("Tree", nodes_missing_value_tracks_true=[False, np.True_], other=[True])
    assert container.attributes == {"nodes_missing_value_tracks_true": [0, 1], "other": [True]}


def test_encodings_of_an_ordinal_encoder() -> None:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    color, size = extract_category_encodings(encoder.fit(TABLE), ["color", "size"])
    assert color.known == [("blue", [0.0]), ("red", [1.0])]
    assert color.unknown == [-1.0]
    assert [value for value, _ in size.known] == ["l", "m", "s"]


def test_encodings_of_a_one_hot_encoder() -> None:
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    color, size = extract_category_encodings(encoder.fit(TABLE), ["color", "size"])
    assert dict(color.known) == {"blue": [1.0, 0.0], "red": [0.0, 1.0]}
    assert color.unknown == [0.0, 0.0]
    assert size.missing == [0.0, 0.0, 0.0]


def test_a_missing_value_may_be_a_category() -> None:
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    table = pd.DataFrame({"color": ["red", None]}, dtype="object")
    (color,) = extract_category_encodings(encoder.fit(table), ["color"])
    assert color.known == [("red", [1.0, 0.0])]
    assert (color.missing, color.unknown) == ([0.0, 1.0], [0.0, 0.0])


def test_an_encoder_that_looks_at_the_target_is_refused() -> None:
    encoder = TargetEncoder(cv=2)
    with pytest.raises(ValueError, match="TargetEncoder"):
        extract_category_encodings(encoder, ["color"])
