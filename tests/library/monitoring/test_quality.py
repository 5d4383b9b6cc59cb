from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from modelyard.core.params import Params
from modelyard.monitoring.quality import compute_violation_share, data_quality, parse_column_rule
from tests.library.monitoring.examples import REFERENCE, make_rows, make_window

SCHEMA = "columns: {x: {dtype: float64}, y: {dtype: str, isin: [a, b, c, d]}}\n"


@pytest.mark.parametrize(
    ("spec", "column", "share"),
    [
        ({"dtype": "float64", "in_range": {"min_value": -1, "max_value": 1}}, [0.0, 2.0, None, 0.5], 0.5),
        ({"dtype": "float64", "nullable": True}, [0.0, 2.0, None, 0.5], 0.0),
        ({"dtype": "str", "isin": ["a", "b"]}, ["a", "b", "c", "c"], 0.5),
        ({"dtype": "int64", "in_range": {"min_value": 0, "max_value": 9}}, [1.0, 2.0, 2.5, 10.0], 0.5),
        ({"dtype": "datetime64[us]"}, list(pd.to_datetime(["2024-01-01", None])), 0.5),
    ],
)
def test_compute_violation_share_by_schema(spec: dict[str, Any], column: list[Any], share: float) -> None:
    assert compute_violation_share(parse_column_rule("x", spec), pd.Series(column), 0.0) == share


def test_compute_violation_share_without_rule_is_what_cannot_be_read() -> None:
    assert compute_violation_share(None, pd.Series([1.0]), 0.25) == 0.25


@pytest.mark.parametrize(("share", "state"), [(0.0, "ok"), (0.1, "warning"), (0.9, "critical")])
def test_data_quality_one_window_is_enough(small: Params, share: float, state: str) -> None:
    Path("schema.yaml").write_text(SCHEMA, encoding="utf-8")
    rows = make_rows(1000, 1)
    rows.loc[: int(1000 * share) - 1, "y"] = "z"
    found = {signal.name: signal.state for signal in data_quality(small, REFERENCE, [make_window(rows)])}
    assert found == {"x": "ok", "y": state}


def test_data_quality_few_rows_are_not_judged(small: Params) -> None:
    Path("schema.yaml").write_text(SCHEMA, encoding="utf-8")
    found = data_quality(small, REFERENCE, [make_window(make_rows(10))])
    assert {signal.state for signal in found} == {"unjudged"}


def test_data_quality_personal_column_is_left_out(small: Params) -> None:
    Path("schema.yaml").write_text("columns: {x: {dtype: float64}, y: {dtype: str, personal: true}}\n")
    found = data_quality(small, REFERENCE, [make_window(make_rows(1000))])
    assert [signal.name for signal in found] == ["x"]
