from typing import Any

import msgspec
import pandas as pd
import pytest

from modelyard.core.errors import SettingError
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET
from modelyard.data.schema_fields import SchemaField
from modelyard.inference.bundle import compute_max_difference, to_response
from modelyard.inference.example_rows import mask_text, select_evenly, select_example_rows, synthesize_values
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.inference.request import RequestDecoder
from tests.library.inference.conftest import mark_personal, predict_with_pipeline, read_features


@pytest.mark.usefixtures("project")
def test_no_value_of_a_personal_column_is_in_the_bundle(params: Params) -> None:
    real = read_features(params, HOLDOUT_PARQUET)
    for name in real:
        mark_personal(str(name))
    bundle = load_or_build_bundle(params)
    shown = pd.DataFrame(bundle.rows)
    for name in real.select_dtypes("float"):
        assert not set(shown[name].dropna()) & set(real[name])
    decoder = RequestDecoder(params.data, bundle.dtypes)
    rows = decoder.decode(msgspec.json.encode(bundle.rows))
    assert not any(decoder.find_violations(rows))
    expected = to_response(predict_with_pipeline(decoder.to_dataframe(rows)))
    assert compute_max_difference(bundle.answers, expected) <= 1e-6


@pytest.mark.parametrize(
    ("values", "checks", "expected"),
    [
        (["Ann-1", "Bo é"], {}, ["Xxx-0", "Xx x"]),
        (["b", "b"], {"isin": ["a", "b"]}, ["a", "b"]),
        ([1, 4], {}, [2, 2]),
        ([1.0, None, 4.0], {}, [2.5, None, 2.5]),
        ([True, True, False], {}, [True, True, True]),
        (list(pd.to_datetime(["2026-01-01", "2026-01-03"])), {}, list(pd.to_datetime(["2026-01-02"] * 2))),
    ],
)
def test_synthetic_values_are_of_the_same_kind(values: list[Any], checks: dict[str, Any], expected: list[Any]) -> None:
    real = pd.Series(values)
    found = synthesize_values(real, SchemaField("name", str(real.dtype), True, True, str, checks))
    pd.testing.assert_series_equal(found, pd.Series(expected, dtype=real.dtype))


@pytest.mark.usefixtures("project")
def test_a_rule_that_no_synthetic_value_keeps(params: Params) -> None:
    decoder = RequestDecoder(params.data)
    decoder.columns = [SchemaField("name", "str", False, True, str, {"str_matches": "Ann|Bo"})]
    decoder.personal = frozenset(["name"])
    with pytest.raises(SettingError) as raised:
        select_example_rows(pd.DataFrame({"name": ["Ann", "Bo"]}), decoder)
    assert raised.value.setting.endswith("name")


def test_mask_text_keeps_case_and_other_signs() -> None:
    assert mask_text("Ab-12é", letter="Q", digit="7") == "Qq-77q"


def test_select_evenly_takes_the_first_and_the_last_row() -> None:
    assert select_evenly(pd.DataFrame({"a": range(10)}), 3)["a"].tolist() == [0, 4, 9]
    assert len(select_evenly(pd.DataFrame({"a": range(2)}), 3)) == 2
