import numpy as np
import pytest

from modelyard.core.errors import InvalidFileError, MissingFileError
from modelyard.core.files import sha256
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE
from modelyard.core.predictions import Predictions
from modelyard.inference.bundle import BUNDLE_JSON, ModelBundle, compute_max_difference, to_response
from tests.library.inference.conftest import read_features


def test_bundle_names_the_model_and_its_columns(bundle: ModelBundle, params: Params) -> None:
    holdout = read_features(params, HOLDOUT_PARQUET)
    assert bundle.model == sha256(MODEL_FILE)
    assert list(bundle.dtypes) == list(holdout)
    assert set(bundle.rows[0]) == set(holdout)
    assert bundle.difference <= 1e-6


def test_read_without_a_bundle() -> None:
    with pytest.raises(MissingFileError) as raised:
        ModelBundle.read()
    assert raised.value.path == BUNDLE_JSON


def test_read_a_broken_bundle() -> None:
    BUNDLE_JSON.parent.mkdir(exist_ok=True)
    BUNDLE_JSON.write_text('{"model": 1}', encoding="utf-8")
    with pytest.raises(InvalidFileError) as raised:
        ModelBundle.read()
    assert raised.value.path == BUNDLE_JSON


def test_to_response_of_classes() -> None:
    predictions = Predictions(np.array(["b"]), np.array([[0.25, 0.75]]), ("a", "b"))
    assert to_response(predictions) == [{"prediction": "b", "probabilities": {"a": 0.25, "b": 0.75}}]


def test_to_response_of_numbers() -> None:
    assert to_response(Predictions(np.array([1.5, 2.0]))) == [{"prediction": 1.5}, {"prediction": 2.0}]


def test_max_difference_is_relative_for_large_numbers() -> None:
    assert compute_max_difference([{"prediction": 110.0}], [{"prediction": 100.0}]) == pytest.approx(0.1)


def test_a_number_close_to_zero_has_the_rounding_error_of_the_others() -> None:
    """A linear model of large columns is compiled in single precision: 46 of 1,000 is 7e-5 off, as 1,000 would be."""
    found = [{"prediction": -46.76291}, {"prediction": 1000.0}]
    expected = [{"prediction": -46.76283}, {"prediction": 1000.0}]
    assert compute_max_difference(found, expected) < 1e-6


def test_max_difference_keeps_nan() -> None:
    assert np.isnan(compute_max_difference([{"prediction": float("nan")}], [{"prediction": 1.0}]))
