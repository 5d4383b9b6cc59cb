from typing import Any

import msgspec
import pytest

from modelyard.core.errors import InvalidFileError, SettingError
from modelyard.core.paths import SCHEMA_YAML
from modelyard.data.schema_fields import build_field, normalize_checks, read_column_specs, read_personal_columns


@pytest.mark.parametrize(
    ("spec", "checks"),
    [
        ({"isin": ["a", "b"]}, {"isin": ["a", "b"]}),
        ({"checks": {"isin": {"value": ["a"], "options": {}}}}, {"isin": ["a"]}),
        ({"checks": [{"value": 1, "options": {"check_name": "equal_to"}}]}, {"equal_to": 1}),
        (
            {"in_range": {"min_value": 0, "max_value": 1, "include_max": False}},
            {"greater_than_or_equal_to": 0, "less_than": 1},
        ),
        ({"str_length": {"min_value": 2}}, {"str_length_min_value": 2}),
        ({"str_length": 3}, {"str_length_min_value": 3, "str_length_max_value": 3}),
        ({"dtype": "str", "nullable": True, "checks": None}, {}),
    ],
)
def test_checks_have_one_form(spec: dict[str, Any], checks: dict[str, Any]) -> None:
    assert normalize_checks(spec) == checks


def test_a_value_fails_the_first_check_that_does_not_hold() -> None:
    field = build_field("size", {"dtype": "int64", "in_range": {"min_value": 0, "max_value": 9}}, True)
    assert field.find_failed_check(10) == "less_than_or_equal_to"
    assert field.find_failed_check(9) is field.find_failed_check(None) is None
    assert field.find_failed_check(msgspec.UNSET) is None


@pytest.mark.parametrize(("value", "is_accepted"), [(3, True), (3.0, True), (3.5, False), ("3", False), (2**63, False)])
def test_a_whole_number_may_be_written_with_a_point(value: Any, is_accepted: bool) -> None:
    assert build_field("size", {"dtype": "int64"}, True).accepts(value) == is_accepted


def test_openapi_gets_the_checks_that_it_has_words_for() -> None:
    spec = {"dtype": "str", "str_matches": "a+", "notin": ["aaa"]}
    schema = msgspec.json.schema(build_field("code", spec, True).to_openapi_type())
    assert schema == {"type": "string", "pattern": "^(?:a+)"}


def test_times_of_checks_may_be_text() -> None:
    field = build_field("at", {"dtype": "datetime64[us]", "greater_than": "2024-01-01"}, True)
    assert field.checks["greater_than"].year == 2024


@pytest.mark.parametrize("spec", [{"dtype": "complex128"}, {"dtype": "int64", "unique_values_eq": [1]}])
def test_a_column_that_the_service_cannot_check_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="column size") as refusal:
        build_field("size", spec, True)
    assert "column size" in refusal.value.setting


def test_personal_columns_are_those_that_are_marked() -> None:
    SCHEMA_YAML.write_text("columns: {a: {personal: true}, b: {personal: false}, c: {}}\n")
    assert read_personal_columns() == {"a"}


@pytest.mark.parametrize("text", ["", "columns: 5", "[", "other: 1"])
def test_a_schema_without_columns_is_refused(text: str) -> None:
    SCHEMA_YAML.write_text(text)
    with pytest.raises(InvalidFileError) as refusal:
        read_column_specs()
    assert refusal.value.path == SCHEMA_YAML
