from pathlib import Path
from typing import Any

import pytest

from modelyard.core.params import DataParams
from modelyard.core.yaml import dump_yaml
from modelyard.inference.edge_rows import generate_edge_rows
from modelyard.inference.request import RequestDecoder

COLUMNS: dict[str, dict[str, Any]] = {
    "at": {"dtype": "datetime64[us]"},
    "code": {"dtype": "str", "str_matches": "^[A-Z]{2}$"},
    "count": {"dtype": "int64", "in_range": {"min_value": 1, "max_value": 100}},
    "level": {"dtype": "float64", "nullable": True, "less_than": 9.5},
    "open": {"dtype": "bool"},
    "y": {"dtype": "int64"},
}
BASE = {"at": "2024-05-06T07:08:09", "code": "AB", "count": 5, "level": 1.5, "open": True}


@pytest.fixture
def changes(tmp_path: Path) -> dict[str, list[Any]]:
    """The values of each column in the rows that differ from the base row in one column."""
    return list_single_changes(make_decoder(tmp_path, COLUMNS), BASE)


def make_decoder(folder: Path, columns: dict[str, Any], flag_violations: bool = False) -> RequestDecoder:
    path = folder / "schema.yaml"
    path.write_text(dump_yaml({"columns": columns}), encoding="utf-8")
    features = [name for name in columns if name != "y"]
    data = DataParams(path="", target="y", task="classification", features=features)
    return RequestDecoder(data, flag_violations=flag_violations, schema=path)


def list_single_changes(decoder: RequestDecoder, base: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for edge in generate_edge_rows(decoder, base):
        if len(edge.change) == 1:
            ((name, value),) = edge.change.items()
            found.setdefault(name, []).append(value)
    return found


def test_only_nullable_columns_are_missing(changes: dict[str, list[Any]]) -> None:
    assert [name for name, values in changes.items() if None in values] == ["level"]


def test_an_unknown_category_keeps_the_pattern(changes: dict[str, list[Any]]) -> None:
    assert changes["code"] == ["XX", "QQ"]


def test_numbers_stand_at_the_bounds_of_the_schema(changes: dict[str, list[Any]]) -> None:
    assert set(changes["count"]) == {1, 2, 99, 100}
    assert max(value for value in changes["level"] if value is not None) == pytest.approx(9.5)


def test_times_stand_at_the_edges_of_day_and_year_and_on_leap_days(changes: dict[str, list[Any]]) -> None:
    wanted = {"2024-12-31T23:59:59.999999", "2025-01-01T00:00:00", "2024-02-29T23:59:59.999999"}
    assert wanted <= set(changes["at"])


def test_all_columns_change_at_once(tmp_path: Path) -> None:
    edges = generate_edge_rows(make_decoder(tmp_path, COLUMNS), BASE)
    assert any(len(edge.change) == len(BASE) for edge in edges)


def test_a_service_that_flags_takes_values_outside_the_schema(tmp_path: Path) -> None:
    changes = list_single_changes(make_decoder(tmp_path, COLUMNS, flag_violations=True), BASE)
    assert {-(2**63), 2**63 - 1} <= set(changes["count"])
    assert "never seen" in changes["code"]


def test_times_with_a_zone_come_with_several_offsets(tmp_path: Path) -> None:
    columns = {"at": {"dtype": "datetime64[us, UTC]"}, "y": COLUMNS["y"]}
    changes = list_single_changes(make_decoder(tmp_path, columns), {"at": "2024-05-06T07:08:09+00:00"})
    assert {time[-6:] for time in changes["at"]} == {"+00:00", "+05:45", "-11:00"}


def test_of_a_wide_table_some_columns_of_each_dtype_change(tmp_path: Path) -> None:
    wide = {f"x{number}": {"dtype": "float64"} for number in range(1000)} | {"code": {"dtype": "str"}}
    base = dict.fromkeys(wide, 1.0) | {"code": "AB"}
    changes = list_single_changes(make_decoder(tmp_path, wide | {"y": {"dtype": "int64"}}), base)
    assert 4 <= len(changes) <= 13
    assert "code" in changes
