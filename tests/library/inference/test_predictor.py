from pathlib import Path

import numpy as np
import pytest

from modelyard.inference.bundle import BundleMismatchError, CategoryEncoding, ModelBundle
from modelyard.inference.predictor import CategoryLookup, load_predictor


@pytest.mark.parametrize("name", ["model.onnx", "model.skops"])
def test_a_replaced_file_is_refused(bundle: ModelBundle, name: str) -> None:
    if name == "model.skops":
        bundle.engine = "scikit-learn"
        bundle.versions = {}
    path = Path("models", name)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleMismatchError) as raised:
        load_predictor(bundle)
    assert str(path) in raised.value.problem


def test_another_library_version_is_refused(bundle: ModelBundle) -> None:
    bundle.versions["numpy"] = "1.0"
    with pytest.raises(BundleMismatchError) as raised:
        load_predictor(bundle)
    assert f"numpy {np.__version__} (made with 1.0)" in raised.value.problem


def test_category_lookup_of_known_unknown_and_missing_values() -> None:
    lookup = CategoryLookup(CategoryEncoding("name", [("a", [1.0]), ("b", [2.0])], unknown=[-1.0], missing=[-2.0]))
    values = np.array(["b", "a", "c", None, float("nan")], dtype=object)
    assert lookup.encode_column(values).ravel().tolist() == [2.0, 1.0, -1.0, -2.0, -2.0]
