"""The light table: the part of pandas' interface that most `features()` need, on NumPy arrays, in microseconds.

A DataFrame of one row costs about a millisecond, more than the model itself, so the service runs `features()` on a
`LightFrame` where that is safe. `make compile` decides it: the light table is used only if it gives the same
predictions as pandas on the holdout and on generated edge cases (`modelyard.inference.edge_rows`). An attribute that
is missing here raises `AttributeError`, and the service falls back to pandas for those rows.

`serve.light_table: false` in params.yaml switches the light table off.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import numpy as np

DTYPE_PREFIXES = {
    "number": ("int", "uint", "float", "Int", "UInt", "Float"),
    "datetime": ("datetime64[",),
    "bool": ("bool",),
}
DATETIME_PARTS: dict[str, Callable[[datetime], int]] = {
    **{name: attrgetter(name) for name in ("year", "month", "day", "hour", "minute", "second", "microsecond")},
    **dict.fromkeys(("day_of_week", "dayofweek", "weekday"), datetime.weekday),
    **dict.fromkeys(("day_of_year", "dayofyear"), lambda time: time.timetuple().tm_yday),
}


def as_light_series(values: Any) -> "LightSeries":
    """Return values as a column: a numeric array where they are numbers, else an array of objects."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        array = np.array(values, object)
    return array.view(LightSeries)


def is_missing(value: Any) -> bool:
    """Return whether a value is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


class LightSeries(np.ndarray[Any, Any]):
    """A column of shape (n,): NumPy's arithmetic and functions, and the most used methods of a pandas Series."""

    abs = np.ndarray.__abs__

    @property
    def dt(self) -> "DatetimeAccessor":
        """The parts of times, such as `dt.hour`."""
        return DatetimeAccessor(self.tolist())

    def isna(self) -> "LightSeries":
        """Return which values are missing."""
        return as_light_series([is_missing(value) for value in self.tolist()])

    def notna(self) -> "LightSeries":
        """Return which values are not missing."""
        return as_light_series(~self.isna())

    def fillna(self, value: Any) -> "LightSeries":
        """Return the column with a value in place of missing ones."""
        return as_light_series(np.where(self.isna(), value, self))

    def where(self, kept: Any, other: Any = np.nan) -> "LightSeries":
        """Return the column with another value where `kept` is false."""
        return as_light_series(np.where(kept, self, other))

    def isin(self, values: Iterable[Any]) -> "LightSeries":
        """Return which values are among the given ones."""
        allowed = frozenset(values)
        return as_light_series([value in allowed for value in self.tolist()])

    def map(self, rule: Mapping[Any, Any] | Callable[[Any], Any]) -> "LightSeries":
        """Return what a mapping or a function makes of each value."""
        if isinstance(rule, Mapping):
            return as_light_series([rule.get(value, np.nan) for value in self.tolist()])
        return as_light_series([rule(value) for value in self.tolist()])


class DatetimeAccessor:
    """`Series.dt` for times without a time zone: their parts as numbers, NaN for a missing time."""

    def __init__(self, times: Sequence[datetime | None]) -> None:
        self.times = times

    def __getattr__(self, name: str) -> LightSeries:
        if name not in DATETIME_PARTS:
            raise AttributeError(name)
        read_part = DATETIME_PARTS[name]
        return as_light_series([np.nan if time is None else read_part(time) for time in self.times])


class LightFrame(dict[str, LightSeries]):
    """Columns by name, with the dtypes that they have in pandas."""

    def __init__(self, columns: Mapping[str, Any], dtypes: Mapping[str, str]) -> None:
        super().__init__(columns)
        self.dtypes = dtypes
        self.columns = self.keys()

    def __setitem__(self, name: str, values: Any) -> None:
        column = values if isinstance(values, LightSeries) else as_light_series(values)
        super().__setitem__(name, column)

    def copy(self) -> "LightFrame":
        """Return a table with the same columns, to which others can be added."""
        return LightFrame(self, self.dtypes)

    def select_dtypes(self, kind: str) -> "LightFrame":
        """Return the columns of one kind: `number`, `datetime` or `bool`."""
        prefixes = DTYPE_PREFIXES[kind]
        return LightFrame({name: self[name] for name in self if self.dtypes[name].startswith(prefixes)}, self.dtypes)

    def assign(self, **new: Any) -> "LightFrame":
        """Return a copy with columns added; a value may be a function of the table."""
        table = self.copy()
        for name, values in new.items():
            table[name] = values(table) if callable(values) else values
        return table

    def drop(self, *, columns: str | Sequence[str]) -> "LightFrame":
        """Return a copy without some columns."""
        dropped = [columns] if isinstance(columns, str) else columns
        return LightFrame({name: self[name] for name in self if name not in dropped}, self.dtypes)
