from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
import yaml

from modelyard.core.errors import UserError
from modelyard.core.params import DataParams
from modelyard.core.predictions import to_log_column
from modelyard.inference.request import RequestDecoder, RequestError

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


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def inner(columns: dict[str, Any] | None = None, flag: bool = False) -> RequestDecoder:
        found = columns or COLUMNS
        path = tmp_path / "schema.yaml"
        path.write_text(yaml.safe_dump({"columns": found}))
        features = [name for name in FEATURES if name in found]
        return RequestDecoder(
            DataParams(path="", target="y", task="classification", features=features), flag=flag, schema=path
        )

    return inner


def decode(rows: RequestDecoder, *values: dict[str, Any]) -> Any:
    found = rows.decode(msgspec.json.encode(values[0] if len(values) == 1 else values))
    return found, rows.check(found)


def test_rows_become_the_table_of_the_schema(make: Any) -> None:
    rows = make()
    found, flags = decode(rows, GOOD, GOOD | {"gust": None, "key": 7})
    table = rows.frame(found)
    assert flags == [[], []]
    assert list(table) == FEATURES
    assert {str(name): str(dtype) for name, dtype in table.dtypes.items()} == {n: COLUMNS[n]["dtype"] for n in FEATURES}
    assert table["at"][0] == pd.Timestamp("2024-05-06T07:08:09") and pd.isna(table["gust"][1])


def test_one_object_is_one_row(make: Any) -> None:
    assert len(decode(make(), GOOD)[0]) == 1


def test_a_light_table_has_the_same_values(make: Any) -> None:
    rows = make()
    found, _ = decode(rows, GOOD, GOOD | {"gust": None})
    light, table = rows.table(found), rows.frame(found)
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
def test_what_breaks_the_schema_is_refused_with_its_place(make: Any, change: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as alone:
        decode(make(), GOOD | change)
    with pytest.raises(RequestError) as among:
        decode(make(), GOOD, GOOD | change)
    assert (alone.value.status, alone.value.field) == (422, field)
    assert (among.value.row, among.value.field) == (1, field)


def test_a_missing_column_is_refused_unless_it_may_be_null(make: Any) -> None:
    rows = make()
    assert decode(rows, {name: value for name, value in GOOD.items() if name != "gust"})
    with pytest.raises(RequestError, match="missing required field `code`") as refused:
        decode(rows, {name: value for name, value in GOOD.items() if name != "code"})
    assert refused.value.field == "code"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"code": "\xff"}', b"NaN", b"[", b'{"miles": Infinity}'])
def test_what_is_no_json_is_refused(make: Any, body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        make().decode(body)
    assert refused.value.status == 400


def test_whole_numbers_may_come_with_a_point(make: Any) -> None:
    rows = make()
    found, _ = decode(rows, GOOD | {"miles": 5.0})
    assert str(rows.frame(found)["miles"].dtype) == "int64"


def test_flagging_answers_and_marks_what_lies_outside(make: Any) -> None:
    rows = make(flag=True)
    found, flags = decode(rows, GOOD, GOOD | {"miles": 101, "code": "?", "state": "XX"})
    assert len(found) == 2 and flags == [[], ["code", "miles", "state"]]
    with pytest.raises(RequestError):
        decode(rows, GOOD | {"miles": "many"})


def test_time_bounds_may_be_text(make: Any) -> None:
    late = {"at": {"dtype": "datetime64[ns]", "greater_than": "2024-01-01"}, "y": COLUMNS["y"]}
    rows = make(late)
    assert decode(rows, {"at": "2024-01-02T00:00:00"})
    with pytest.raises(RequestError) as refused:
        decode(rows, {"at": datetime(2023, 1, 1)})
    assert refused.value.field == "at"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"at": {"dtype": "complex128"}, "y": COLUMNS["y"]}, "complex128"),
        ({"at": {"dtype": "str", "unique_values_eq": ["a"]}, "y": COLUMNS["y"]}, "unique_values_eq"),
    ],
)
def test_a_schema_that_one_row_cannot_keep_is_one_sentence(make: Any, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make(columns)


def test_checks_in_panderas_longer_form_hold_too(make: Any) -> None:
    bounds = [{"value": 3, "options": {"check_name": "greater_than"}}]
    rows = make({"miles": {"dtype": "int64", "checks": bounds}, "y": COLUMNS["y"]})
    assert decode(rows, {"miles": 4})
    with pytest.raises(RequestError):
        decode(rows, {"miles": 3})


def test_a_column_that_the_log_has_a_word_for_is_logged_apart(make: Any) -> None:
    rows = make({"miles": COLUMNS["miles"], "model": {"dtype": "str"}, "y": COLUMNS["y"]})
    found = decode(rows, {"miles": 5, "model": "A4"})[0][0]
    assert rows.to_log_row(found) == {"miles": 5, "model_": "A4"}
    assert rows.to_log_row(decode(rows, {"miles": 5})[0][0]) == {"miles": 5}


def test_each_column_has_a_place_of_its_own_in_the_log() -> None:
    columns = ["x", "id", "id_", "truth", "p_1"]
    assert [to_log_column(name) for name in columns] == ["x", "id_", "id__", "truth_", "p_1_"]
