from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.inference.columns import LightFrame, as_light_series
from tests.library.project.src.flight_delays.features import features

TIMES = [pd.Timestamp("2024-02-29T23:59:58").to_pydatetime(), None, pd.Timestamp("2021-01-03").to_pydatetime()]
VALUES: dict[str, list[Any]] = {"a": [1.5, float("nan"), -3.0], "t": ["x", None, "yz"], "at": TIMES, "n": [3, 0, 7]}
DTYPES = {"a": "float64", "t": "str", "at": "datetime64[us]", "n": "int64"}


def apply_to_both(rule: Callable[[Any], Any]) -> tuple[list[Any], list[Any]]:
    """Return what a function makes of a pandas table and of a light one."""
    light = LightFrame({name: as_light_series(values) for name, values in VALUES.items()}, DTYPES)
    frame = pd.DataFrame({name: pd.Series(values, dtype=DTYPES[name]) for name, values in VALUES.items()})
    return rule(frame).tolist(), rule(light).tolist()


@pytest.mark.parametrize(
    "rule",
    [
        lambda t: t["a"] * 2 + t["n"] / 3,
        lambda t: np.log1p(t["n"]),
        lambda t: t["n"] > 2,
        lambda t: t["a"].isna(),
        lambda t: t["t"].isna(),
        lambda t: t["at"].isna(),
        lambda t: t["t"].notna(),
        lambda t: t["a"].fillna(0.5),
        lambda t: t["a"].abs().fillna(0),
        lambda t: t["n"].where(t["n"] > 2),
        lambda t: t["t"].isin(["x"]),
        lambda t: t["t"].map({"x": 1.0, "yz": 2.0}),
        lambda t: t["n"].map(lambda n: n + 1),
        lambda t: t["n"].astype("float64"),
        lambda t: t["at"].dt.hour + t["at"].dt.minute / 60,
        lambda t: t["at"].dt.day_of_week.astype("float64"),
        lambda t: t["at"].dt.day_of_year,
        lambda t: t["at"].dt.year,
        lambda t: t.assign(b=lambda u: u["n"] * 2)["b"],
        lambda t: pd.Series(list(t.drop(columns=["a", "t"]).columns)),
        lambda t: pd.Series(list(t.select_dtypes("number").columns)),
        lambda t: pd.Series(list(t.select_dtypes("datetime").columns)),
    ],
)
def test_light_equals_pandas(rule: Callable[[Any], Any]) -> None:
    pandas, light = apply_to_both(rule)
    pd.testing.assert_series_equal(pd.Series(pandas), pd.Series(light), check_dtype=False)


def test_what_is_missing_raises_so_that_pandas_is_used() -> None:
    table = LightFrame({"t": as_light_series(["x"])}, {"t": "str"})
    with pytest.raises(AttributeError):
        table["t"].str.upper()
    with pytest.raises(AttributeError):
        getattr(table, "groupby")("t")  # noqa: B009


def test_a_copy_does_not_change_the_table() -> None:
    table = LightFrame({"a": as_light_series([1.0])}, {"a": "float64"})
    table.copy()["b"] = 2 * table["a"]
    assert list(table) == ["a"]


def make_light_frame(frame: pd.DataFrame) -> LightFrame:
    """Return a table as the service would make it."""
    columns = {}
    for name in frame:
        values = frame[name].astype("object").where(frame[name].notna(), None).tolist()
        if name in frame.select_dtypes("datetime"):
            values = [value.to_pydatetime() for value in values]
        if name in frame.select_dtypes("number"):
            values = frame[name].to_numpy()
        columns[str(name)] = as_light_series(values)
    return LightFrame(columns, {str(name): str(dtype) for name, dtype in frame.dtypes.items()})


def test_features_are_the_same_on_both(frame: pd.DataFrame) -> None:
    found = features(make_light_frame(frame))  # type: ignore[arg-type]
    expected = features(frame)
    assert list(found) == list(expected)
    for name in expected.select_dtypes("number"):
        np.testing.assert_array_equal(np.asarray(found[name], float), expected[name].to_numpy(float))
