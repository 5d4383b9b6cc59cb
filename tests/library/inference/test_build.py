from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.errors import HookError
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET
from modelyard.core.predictions import Predictions
from modelyard.inference import build, predictor
from modelyard.inference.bundle import ModelBundle
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.pipeline.preprocessing import select_features
from tests.library.inference.conftest import append_to_features, compute_difference_from_pipeline

pytestmark = pytest.mark.usefixtures("project")

GAP_IN_TEMP = """

features_of_pandas = features


def features(raw):
    table = features_of_pandas(raw)
    if isinstance(raw, pd.DataFrame):
        return table
    return table.assign(temp=table["temp"].fillna(1000.0))
"""
FAILS_ON_LEAP_DAYS = """

features_of_pandas = features


def features(raw):
    if not isinstance(raw, pd.DataFrame):
        [time.replace(year=2023) for time in raw["scheduled"]]
    return features_of_pandas(raw)
"""


def fill_holdout() -> None:
    """Fill the gaps of the holdout."""
    holdout = pd.read_parquet(HOLDOUT_PARQUET)
    numbers = holdout.select_dtypes("number").columns
    holdout[numbers] = holdout[numbers].fillna(holdout[numbers].median())
    holdout.to_parquet(HOLDOUT_PARQUET)


def test_bundle_predicts_as_the_pipeline_does(bundle: ModelBundle, params: Params, frame: pd.DataFrame) -> None:
    assert compute_difference_from_pipeline(bundle, select_features(params, frame)) <= 1e-6


def test_bundle_predicts_unknown_categories_and_gaps_as_the_pipeline_does(
    bundle: ModelBundle, params: Params, frame: pd.DataFrame
) -> None:
    raw = select_features(params, frame.head(6)).copy()
    names = raw.select_dtypes(exclude=["number", "datetime"]).columns
    raw[names] = raw[names].astype("object")
    raw.loc[raw.index[:3], names] = "never seen"
    raw.loc[raw.index[3:5], names] = None
    assert compute_difference_from_pipeline(bundle, raw) <= 1e-6


def test_default_features_run_on_the_light_table(bundle: ModelBundle) -> None:
    assert bundle.engine == "compiled"
    assert (bundle.light, bundle.light_reason) == (True, "")


def test_light_table_is_off_where_a_missing_value_differs(params: Params) -> None:
    fill_holdout()
    append_to_features(GAP_IN_TEMP)
    bundle = load_or_build_bundle(params)
    assert not bundle.light
    assert bundle.light_reason == "on a row with temp=None: the predictions differ"


def test_light_table_is_off_where_a_leap_day_fails(params: Params) -> None:
    append_to_features(FAILS_ON_LEAP_DAYS)
    bundle = load_or_build_bundle(params)
    assert not bundle.light
    assert "on a row with scheduled='2000-02-29T12:30:00': ValueError" in bundle.light_reason


def test_light_table_is_off_where_features_need_pandas(params: Params) -> None:
    append_to_features("\n\nplain = features\n\n\ndef features(raw):\n    return plain(raw.loc[:])\n")
    bundle = load_or_build_bundle(params)
    assert not bundle.light
    assert bundle.light_reason.startswith("on the holdout: AttributeError")


def test_light_table_is_off_where_params_say_so(params: Params) -> None:
    without = replace(params, serve=replace(params.serve, light_table=False))
    bundle = load_or_build_bundle(without)
    assert (bundle.light, bundle.light_reason) == (False, "switched off by serve.light_table")


def test_without_a_converter_the_pipeline_is_the_runtime(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "convert_to_onnx", lambda *_: b"no graph")
    bundle = load_or_build_bundle(params)
    assert (bundle.engine, bundle.light) == ("scikit-learn", False)
    assert bundle.reason
    assert not Path("models/model.onnx").exists()
    assert not isinstance(predictor.load_predictor(bundle), predictor.OnnxPredictor)


def test_a_compiled_model_that_differs_is_not_used(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = predictor.OnnxPredictor.__call__

    def predict_otherwise(*arguments: Any) -> Predictions:
        predictions = predict(*arguments)
        assert predictions.probabilities is not None
        return Predictions(predictions.values, predictions.probabilities + 1e-3, predictions.classes)

    monkeypatch.setattr(predictor.OnnxPredictor, "__call__", predict_otherwise)
    assert load_or_build_bundle(params).engine == "scikit-learn"


def test_features_that_look_at_other_rows_are_refused(params: Params) -> None:
    append_to_features(
        "\n\nplain = features\n\n\ndef features(raw):\n    table = plain(raw)\n"
        "    return table.assign(distance=table['distance'] + table['distance'].to_numpy().std())\n"
    )
    with pytest.raises(HookError) as raised:
        load_or_build_bundle(params)
    assert raised.value.file == "src/flight_delays/features.py"
