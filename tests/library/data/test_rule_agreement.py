"""Rows made from a schema are accepted, and a broken rule is found by validate, the service and the monitor alike."""

from typing import Any, NamedTuple

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.params import DataParams, Params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.yaml import dump_yaml
from modelyard.data.schema import collect_failures, load_schema
from modelyard.inference.example_rows import to_json_rows
from modelyard.inference.request import RequestDecoder, RequestError
from modelyard.monitoring.quality import compute_violation_share, parse_column_rule
from modelyard.testing.rows import make_rows
from tests.library.core.test_fuzz import fuzz

ROWS = 24
ROW = 7  # that breaks a rule
Spec = dict[str, Any]


class Breach(NamedTuple):
    """A value that breaks one rule: its name in pandera, in the service, and the value."""

    rule: str
    check: str
    value: Any


Column = tuple[Spec, list[Breach]]


def number_column(dtype: str, low: int, width: int, form: str) -> Column:
    """Return a column of numbers with one rule, and what breaks it."""
    high = low + width
    above, below = "greater_than_or_equal_to", "less_than_or_equal_to"
    rules: dict[str, tuple[Any, list[Breach]]] = {
        "in_range": (
            {"min_value": low, "max_value": high},
            [Breach("in_range", above, low - 1), Breach("in_range", below, high + 1)],
        ),
        "greater_than": (low, [Breach("greater_than", "greater_than", low)]),
        above: (low, [Breach(above, above, low - 1)]),
        "less_than": (high, [Breach("less_than", "less_than", high)]),
        below: (high, [Breach(below, below, high + 1)]),
        "isin": ([low, high], [Breach("isin", "isin", high + 1)]),
        "notin": ([-1, -2], [Breach("notin", "notin", -2)]),
    }
    rule, breaches = rules[form]
    return {"dtype": dtype, form: rule}, breaches


def text_column(size: int, form: str) -> Column:
    """Return a column of texts with one rule, and what breaks it."""
    rules: dict[str, tuple[Any, list[Breach]]] = {
        "isin": (["a", "b c", "é"], [Breach("isin", "isin", "A")]),
        "notin": (["?"], [Breach("notin", "notin", "?")]),
        "str_length": (
            {"min_value": 1, "max_value": size},
            [
                Breach("str_length", "str_length_min_value", ""),
                Breach("str_length", "str_length_max_value", "x" * (size + 1)),
            ],
        ),
        "str_matches": (f"^[A-Z]{{{size}}}$", [Breach("str_matches", "str_matches", "Z" * (size + 1))]),
    }
    rule, breaches = rules[form]
    return {"dtype": "str", form: rule}, breaches


def time_column(year: int) -> Column:
    return {"dtype": "datetime64[us]", "greater_than": f"{year}-01-01"}, [
        Breach("greater_than", "greater_than", pd.Timestamp(year - 1, 6, 1))
    ]


NUMBER_FORMS = [*("in_range", "greater_than", "greater_than_or_equal_to"), *("less_than", "less_than_or_equal_to")]
COLUMNS = (
    st.builds(
        number_column,
        st.sampled_from(["int64", "float64"]),
        st.integers(0, 1000),
        st.integers(1, 1000),
        st.sampled_from([*NUMBER_FORMS, "isin", "notin"]),
    )
    | st.builds(text_column, st.integers(1, 6), st.sampled_from(["isin", "notin", "str_length", "str_matches"]))
    | st.builds(time_column, st.integers(1990, 2023))
)


def with_gaps(column: Column) -> Column:
    """Return a column that may have gaps."""
    spec, breaches = column
    return spec | {"nullable": True}, breaches


GAPLESS_TYPES = ("int64",)
SCHEMAS = st.lists(
    COLUMNS | COLUMNS.filter(lambda column: column[0]["dtype"] not in GAPLESS_TYPES).map(with_gaps),
    min_size=1,
    max_size=4,
)


def write_schema(columns: list[Column]) -> Spec:
    """Write a schema with the columns c0, c1, … and a target, and return it."""
    specs: dict[str, Spec] = {f"c{number}": dict(spec) for number, (spec, _) in enumerate(columns)}
    schema = {"schema_type": "dataframe", "api": "pandas", "columns": specs | {"y": {"dtype": "float64"}}}
    SCHEMA_YAML.write_text(dump_yaml(schema), encoding="utf-8")
    return schema


def find_by_validate(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return column, rule and rows of what pandera finds."""
    failures = collect_failures(table, load_schema())
    rules = [check.partition("(")[0] for check in failures["check"]]
    return list(zip(failures["column"], rules, failures["examples"], strict=True))


def find_by_service(table: pd.DataFrame, data: DataParams) -> tuple[str | None, str, int | None] | None:
    """Return column, check and row of what the service refuses."""
    decoder = RequestDecoder(data)
    body = msgspec.json.encode(to_json_rows(table[data.features]))
    try:
        assert not any(decoder.find_violations(decoder.decode(body)))
    except RequestError as problem:
        return problem.field, str(problem).partition("schema.yaml: ")[2].partition(" ")[0], problem.row
    return None


def find_by_monitor(table: pd.DataFrame, schema: Spec) -> dict[str, float]:
    """Return the share of each column's values that the monitor counts as violations, where there are any."""
    shares = {
        name: compute_violation_share(parse_column_rule(name, spec), table[name], 0.0)
        for name, spec in schema["columns"].items()
    }
    return {name: share for name, share in shares.items() if share}


@pytest.mark.usefixtures("small_project")
@fuzz
@given(columns=SCHEMAS, data=st.data())
def test_a_broken_rule_is_found_by_validate_service_and_monitor(
    params: Params, columns: list[Column], data: st.DataObject
) -> None:
    schema = write_schema(columns)
    features = [f"c{number}" for number in range(len(columns))]
    own = msgspec.structs.replace(params, data=DataParams("", "y", "regression", features))
    table = make_rows(schema, own, ROWS)
    assert find_by_validate(table) == []
    assert find_by_service(table, own.data) is None
    assert find_by_monitor(table, schema) == {}

    number = data.draw(st.integers(0, len(columns) - 1))
    breach = data.draw(st.sampled_from(columns[number][1]))
    name = f"c{number}"
    table.loc[ROW, name] = breach.value
    assert find_by_validate(table) == [(name, breach.rule, str(ROW))]
    assert find_by_service(table, own.data) == (name, breach.check, ROW)
    assert find_by_monitor(table, schema) == {name: pytest.approx(1 / ROWS)}


@pytest.mark.usefixtures("small_project")
@fuzz
@given(column=COLUMNS.filter(lambda column: column[0]["dtype"] not in GAPLESS_TYPES))
def test_a_gap_that_is_not_allowed_is_found_by_validate_service_and_monitor(params: Params, column: Column) -> None:
    schema = write_schema([column])
    own = msgspec.structs.replace(params, data=DataParams("", "y", "regression", ["c0"]))
    table = make_rows(schema, own, ROWS)
    table.loc[ROW, "c0"] = None
    assert find_by_validate(table) == [("c0", "not_nullable", str(ROW))]
    found = find_by_service(table, own.data)
    assert found and (found[0], found[2]) == ("c0", ROW)
    assert find_by_monitor(table, schema) == {"c0": pytest.approx(1 / ROWS)}
