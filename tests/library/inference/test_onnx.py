from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx as onnx_format
import pandas as pd
import pytest
import yaml

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE, SCHEMA_YAML
from modelyard.data import schema_fields
from modelyard.inference import bundle, predictor, prepare
from modelyard.inference.request import RequestDecoder
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def passport(params: Params, project: Path) -> bundle.ModelBundle:
    return prepare.load_or_build_bundle(params)


def far(passport: bundle.ModelBundle, raw: pd.DataFrame, right: pd.DataFrame) -> float:
    """How far what answers is from the pipeline."""
    chances = right.iloc[:, 1:].to_numpy() if right.shape[1] > 1 else None
    said = passport.to_response((right["prediction"].to_numpy(), chances))
    return bundle.compute_max_difference(passport.to_response(predictor.load_predictor(passport)(raw)), said)


def test_the_passport_names_the_model_and_its_answers(passport: bundle.ModelBundle, params: Params) -> None:
    holdout = select_features(params, pd.read_parquet("data/holdout.parquet"))
    assert passport.model == sha256(Path("models/model.skops"))
    assert list(passport.dtypes) == list(holdout) and set(passport.rows[0]) == set(holdout)
    assert passport.difference <= 1e-6


def test_what_answers_equals_the_pipeline(passport: bundle.ModelBundle, params: Params, frame: pd.DataFrame) -> None:
    raw = select_features(params, frame)
    right = predict_frame(load_model(Path("models/model.skops")), raw)
    assert far(passport, raw, right) <= 1e-6


def test_unknown_categories_and_gaps_equal_the_pipeline(
    passport: bundle.ModelBundle, params: Params, frame: pd.DataFrame
) -> None:
    raw = select_features(params, frame.head(6)).copy()
    texts = [name for name in raw if not pd.api.types.is_numeric_dtype(raw[name])]
    texts = [name for name in texts if not pd.api.types.is_datetime64_any_dtype(raw[name])]
    raw[texts] = raw[texts].astype("object")
    for name in texts:
        raw.loc[raw.index[:3], name] = "never seen"
        raw.loc[raw.index[3:5], name] = None
    try:
        right = predict_frame(load_model(Path("models/model.skops")), raw)
    except ValueError:
        pytest.skip("the pipeline itself takes no gaps there")
    assert far(passport, raw, right) <= 1e-6


def test_making_it_again_does_nothing(
    passport: bundle.ModelBundle, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "build_bundle", lambda _: pytest.fail("compiled again"))
    assert prepare.load_or_build_bundle(params).sources == passport.sources


def test_the_parts_of_a_compiled_model_have_one_order(passport: bundle.ModelBundle) -> None:
    if passport.engine != "compiled":
        pytest.skip("nothing is compiled")
    domains = [one.domain for one in onnx_format.load("models/model.onnx").opset_import]
    assert domains == sorted(domains)


def test_without_a_converter_the_pipeline_itself_answers(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "convert_to_onnx", lambda *_: b"no graph")
    passport = prepare.load_or_build_bundle(params)
    assert passport.engine == "scikit-learn" and passport.reason and not passport.light
    assert not Path("models/model.onnx").exists()
    assert not isinstance(predictor.load_predictor(passport), predictor.OnnxPredictor)


def test_a_compiled_model_that_differs_is_not_used(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = predictor.OnnxPredictor.__call__

    def differs(*arguments: Any) -> bundle.PredictionArrays:
        predictions, chances = plain(*arguments)
        return predictions + (chances is None), None if chances is None else chances + 1e-3

    monkeypatch.setattr(predictor.OnnxPredictor, "__call__", differs)
    assert prepare.load_or_build_bundle(params).engine == "scikit-learn"


def test_features_that_look_at_other_rows_are_refused(project: Path, params: Params) -> None:
    impure = "\n\npure = features\n\n\ndef features(raw):\n    table = pure(raw)\n    return table.assign(distance=table['distance'] + table['distance'].to_numpy().std())\n"
    with (project / "src/flight_delays/features.py").open("a") as file:
        file.write(impure)
    with pytest.raises(UserError, match="one row at a time"):
        prepare.load_or_build_bundle(params)


@pytest.mark.parametrize("name", ["model.onnx", "model.skops"])
def test_a_replaced_file_is_refused(passport: bundle.ModelBundle, name: str) -> None:
    path = Path("models") / name
    if not path.exists() or (name == "model.skops") == (passport.engine == "compiled"):
        pytest.skip("this file does not answer")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="refusing to start"):
        predictor.load_predictor(passport)


def mark(name: str, **rules: Any) -> None:
    """Let schema.yaml call a column personal."""
    schema = yaml.safe_load(SCHEMA_YAML.read_text())
    schema["columns"][name] |= {"personal": True, **rules}
    SCHEMA_YAML.write_text(yaml.safe_dump(schema, sort_keys=False))


def test_no_value_of_a_personal_column_is_in_the_passport(params: Params) -> None:
    real = select_features(params, pd.read_parquet(HOLDOUT_PARQUET))
    for name in real:
        mark(name)
    passport = prepare.load_or_build_bundle(params)
    invented = pd.DataFrame(passport.rows)
    for name in real.select_dtypes("float"):
        assert not set(invented[name].dropna()) & set(real[name])
    accepted = RequestDecoder(params.data, passport.dtypes)
    sent = accepted.decode(msgspec.json.encode(passport.rows))
    assert not any(accepted.check(sent))
    right = predict_frame(load_model(MODEL_FILE), accepted.frame(sent))
    chances = right.iloc[:, 1:].to_numpy() if right.shape[1] > 1 else None
    assert (
        bundle.compute_max_difference(passport.answers, passport.to_response((right["prediction"].to_numpy(), chances)))
        <= 1e-6
    )


@pytest.mark.parametrize(
    ("values", "checks", "made"),
    [
        (["Ann-1", "Bo é"], {}, ["Xxx-0", "Xx x"]),
        (["b", "b"], {"isin": ["a", "b"]}, ["a", "b"]),
        ([1, 4], {}, [2, 2]),
        ([1.0, None, 4.0], {}, [2.5, None, 2.5]),
        ([True, True, False], {}, [True, True, True]),
        (list(pd.to_datetime(["2026-01-01", "2026-01-03"])), {}, list(pd.to_datetime(["2026-01-02"] * 2))),
    ],
)
def test_values_of_nobody_are_of_the_same_kind(values: list[Any], checks: dict[str, Any], made: list[Any]) -> None:
    real = pd.Series(values)
    found = prepare.synthesize_values(real, schema_fields.SchemaField("name", str(real.dtype), True, True, str, checks))
    pd.testing.assert_series_equal(found, pd.Series(made, dtype=real.dtype))


def test_a_rule_that_no_invented_value_keeps_is_one_sentence(params: Params) -> None:
    holdout = pd.DataFrame({"name": ["Ann", "Bo"]})
    accepted = RequestDecoder(params.data)
    accepted.columns = [schema_fields.SchemaField("name", "str", False, True, str, {"str_matches": "Ann|Bo"})]
    accepted.personal = frozenset(["name"])
    with pytest.raises(UserError, match=r"no value can be invented .* column name"):
        prepare.select_example_rows(holdout, accepted)


def test_a_distance_of_nothing_to_compare_is_no_distance_of_zero() -> None:
    assert np.isnan(bundle.compute_max_difference([{"prediction": float("nan")}], [{"prediction": 1.0}]))


def test_without_a_model_it_says_what_to_do(params: Params) -> None:
    for path in Path("models").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="make pipeline"):
        prepare.load_or_build_bundle(params)


def test_other_libraries_are_refused(passport: bundle.ModelBundle) -> None:
    passport.versions["numpy"] = "1.0"
    with pytest.raises(UserError, match=r"numpy .* \(made with 1\.0\)"):
        predictor.load_predictor(passport)
