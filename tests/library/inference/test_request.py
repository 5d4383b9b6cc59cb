from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from modelyard.core.errors import InvalidFileError, SettingError, UserError
from modelyard.core.params import DataParams
from modelyard.core.yaml import dump_yaml
from modelyard.inference.request import RequestDecoder, RequestError, Row, build_row_type, restore_names

COLUMNS: dict[str, dict[str, Any]] = {
    "at": {"dtype": "datetime64[us]"},
    "Origin Airport": {"dtype": "str", "isin": ["EWR", "JFK"]},
    "code": {"dtype": "str", "str_matches": "^[A-Z]{2}$"},
    "miles": {"dtype": "int64", "in_range": {"min_value": 1, "max_value": 100}},
    "gust": {"dtype": "float64", "nullable": True, "checks": {"greater_than": 0, "less_than_or_equal_to": 9.5}},
    "open": {"dtype": "bool"},
    "note": {"dtype": "str", "nullable": True, "str_length": {"min_value": 1, "max_value": 3}},
    "state": {"dtype": "str", "notin": ["XX"]},
    "key": {"dtype": "int64"},
    "y": {"dtype": "int64", "isin": [0, 1]},
}
FEATURES = list(COLUMNS)[:8]
GOOD: dict[str, Any] = {
    **{"at": "2024-05-06T07:08:09", "Origin Airport": "JFK", "code": "AB", "miles": 5, "gust": 1.5},
    **{"open": True, "note": "abc", "state": "NY"},
}


MakeDecoder = Callable[..., RequestDecoder]


@pytest.fixture
def make_decoder(tmp_path: Path) -> MakeDecoder:
    """Returns a decoder for some columns."""

    def make(columns: dict[str, Any] | None = None, flag_violations: bool = False) -> RequestDecoder:
        schema = tmp_path / "schema.yaml"
        schema.write_text(dump_yaml({"columns": columns or COLUMNS}), encoding="utf-8")
        features = [name for name in FEATURES if name in (columns or COLUMNS)]
        data = DataParams(path="", target="y", task="classification", features=features)
        return RequestDecoder(data, flag_violations=flag_violations, schema=schema)

    return make


def decode(decoder: RequestDecoder, *values: dict[str, Any]) -> tuple[list[Row], list[list[str]]]:
    """Return the decoded rows and the columns of each that break a rule; one value is sent as an object."""
    rows = decoder.decode(msgspec.json.encode(values[0] if len(values) == 1 else values))
    return rows, decoder.find_violations(rows)


def test_rows_become_the_table_of_the_schema(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    found, flags = decode(decoder, GOOD, GOOD | {"gust": None, "key": 7})
    table = decoder.to_dataframe(found)
    assert flags == [[], []]
    assert list(table) == FEATURES
    assert {str(name): str(dtype) for name, dtype in table.dtypes.items()} == {n: COLUMNS[n]["dtype"] for n in FEATURES}
    assert table["at"][0] == pd.Timestamp("2024-05-06T07:08:09") and pd.isna(table["gust"][1])


def test_one_object_is_one_row(make_decoder: MakeDecoder) -> None:
    assert len(decode(make_decoder(), GOOD)[0]) == 1


def test_a_light_table_has_the_same_values(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    found, _ = decode(decoder, GOOD, GOOD | {"gust": None})
    light, table = decoder.to_light_frame(found), decoder.to_dataframe(found)
    assert all(pd.Series(light[name].tolist()).equals(pd.Series(table[name].tolist())) for name in FEATURES)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"miles": "5"}, "miles"),
        ({"miles": 5.5}, "miles"),
        ({"miles": 101}, "miles"),
        ({"miles": 2**70}, "miles"),
        ({"gust": 0}, "gust"),
        ({"gust": 9.6}, "gust"),
        ({"Origin Airport": "LGA"}, "Origin Airport"),
        ({"code": "abc"}, "code"),
        ({"code": None}, "code"),
        ({"open": 1}, "open"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2024-05-06T07:08:09Z"}, "at"),
        ({"note": "long"}, "note"),
        ({"note": ""}, "note"),
        ({"state": "XX"}, "state"),
        ({"stranger": 1}, "stranger"),
        ({"y": 1}, "y"),
    ],
    ids=str,
)
def test_what_breaks_the_schema_is_refused_with_its_place(
    make_decoder: MakeDecoder, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestError) as alone:
        decode(make_decoder(), GOOD | change)
    with pytest.raises(RequestError) as among:
        decode(make_decoder(), GOOD, GOOD | change)
    assert (alone.value.status, alone.value.field) == (422, field)
    assert (among.value.row, among.value.field) == (1, field)


def test_a_missing_column_is_refused_unless_it_may_be_null(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    assert decode(decoder, {name: value for name, value in GOOD.items() if name != "gust"})
    with pytest.raises(RequestError, match="missing required field `code`") as refused:
        decode(decoder, {name: value for name, value in GOOD.items() if name != "code"})
    assert refused.value.field == "code"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"code": "\xff"}', b"NaN", b"[", b'{"miles": Infinity}'])
def test_what_is_no_json_is_refused(make_decoder: MakeDecoder, body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        make_decoder().decode(body)
    assert refused.value.status == 400


def test_whole_numbers_may_come_with_a_point(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    found, _ = decode(decoder, GOOD | {"miles": 5.0})
    assert str(decoder.to_dataframe(found)["miles"].dtype) == "int64"


def test_flagging_answers_and_marks_what_lies_outside(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(flag_violations=True)
    found, flags = decode(decoder, GOOD, GOOD | {"miles": 101, "code": "?", "state": "XX"})
    assert len(found) == 2 and flags == [[], ["code", "miles", "state"]]
    with pytest.raises(RequestError):
        decode(decoder, GOOD | {"miles": "many"})


def test_time_bounds_may_be_text(make_decoder: MakeDecoder) -> None:
    late = {"at": {"dtype": "datetime64[ns]", "greater_than": "2024-01-01"}, "y": COLUMNS["y"]}
    decoder = make_decoder(late)
    assert decode(decoder, {"at": "2024-01-02T00:00:00"})
    with pytest.raises(RequestError) as refused:
        decode(decoder, {"at": datetime(2023, 1, 1)})
    assert refused.value.field == "at"


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"at": {"dtype": "complex128"}, "y": COLUMNS["y"]}, "complex128"),
        ({"at": {"dtype": "str", "unique_values_eq": ["a"]}, "y": COLUMNS["y"]}, "unique_values_eq"),
    ],
)
def test_a_schema_that_one_row_cannot_keep_is_refused(
    make_decoder: MakeDecoder, columns: dict[str, Any], name: str
) -> None:
    with pytest.raises(UserError, match=name):
        make_decoder(columns)


def test_a_feature_that_the_schema_lacks(tmp_path: Path) -> None:
    schema = tmp_path / "schema.yaml"
    schema.write_text(dump_yaml({"columns": {"y": COLUMNS["y"]}}), encoding="utf-8")
    data = DataParams(path="", target="y", task="classification", features=["miles"])
    with pytest.raises(SettingError) as raised:
        RequestDecoder(data, schema=schema)
    assert raised.value.setting == "data.features"


def test_a_column_that_is_no_mapping(make_decoder: MakeDecoder) -> None:
    with pytest.raises(InvalidFileError):
        make_decoder({"miles": None, "y": COLUMNS["y"]})


def test_checks_in_panderas_longer_form_hold_too(make_decoder: MakeDecoder) -> None:
    bounds = [{"value": 3, "options": {"check_name": "greater_than"}}]
    decoder = make_decoder({"miles": {"dtype": "int64", "checks": bounds}, "y": COLUMNS["y"]})
    assert decode(decoder, {"miles": 4})
    with pytest.raises(RequestError):
        decode(decoder, {"miles": 3})


def test_a_column_that_the_log_has_a_word_for_is_logged_apart(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder({"miles": COLUMNS["miles"], "model": {"dtype": "str"}, "y": COLUMNS["y"]})
    found = decode(decoder, {"miles": 5, "model": "A4"})[0][0]
    assert decoder.to_log_row(found) == {"miles": 5, "model_": "A4"}
    assert decoder.to_log_row(decode(decoder, {"miles": 5})[0][0]) == {"miles": 5}


@pytest.mark.parametrize("name", ['Size "gross"', "a\\b", "two\nlines", '"\\'])
def test_any_column_name_can_be_sent_checked_and_logged(make_decoder: MakeDecoder, name: str) -> None:
    decoder = make_decoder({"miles": COLUMNS["miles"], name: COLUMNS["gust"], "y": COLUMNS["y"]})
    rows, flags = decode(decoder, {"miles": 5, name: 1.5})
    assert flags == [[]]
    assert decoder.to_log_row(rows[0]) == {"miles": 5, name: 1.5}
    with pytest.raises(RequestError) as refused:
        decode(decoder, {"miles": 5, name: "much"})
    assert (refused.value.field, refused.value.status) == (name, 422)
    described = msgspec.json.schema(build_row_type(decoder.columns, described=True))
    restored = msgspec.json.decode(restore_names(msgspec.json.encode(described)))
    assert name in restored["$defs"]["Row"]["properties"]
