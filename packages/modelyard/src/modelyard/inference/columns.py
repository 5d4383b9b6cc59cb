"""A table of arrays with the part of pandas' interface that features() mostly needs, in microseconds.

features() runs on it only where `compile` saw that the holdout gets the same answers; what is missing here raises
an error, and then pandas itself is used.
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
    """Values as a column: of numbers where they are numbers, else of objects."""
    array = np.asarray(values)
    return (array if array.dtype.kind in "biuf" else np.array(values, object)).view(LightSeries)


def is_missing(value: Any) -> bool:
    """Whether a value is none."""
    return value is None or (isinstance(value, float) and math.isnan(value))


class LightSeries(np.ndarray[Any, Any]):
    """A column: NumPy's arithmetic, comparisons and functions, and the commonest methods of a Series."""

    abs = np.ndarray.__abs__

    @property
    def dt(self) -> "DatetimeAccessor":
        return DatetimeAccessor(self.tolist())

    def isna(self) -> "LightSeries":
        return as_light_series([is_missing(value) for value in self.tolist()])

    def notna(self) -> "LightSeries":
        return as_light_series(~self.isna())

    def fillna(self, value: Any) -> "LightSeries":
        return as_light_series(np.where(self.isna(), value, self))

    def where(self, kept: Any, other: Any = np.nan) -> "LightSeries":
        return as_light_series(np.where(kept, self, other))

    def isin(self, values: Iterable[Any]) -> "LightSeries":
        allowed = frozenset(values)
        return as_light_series([value in allowed for value in self.tolist()])

    def map(self, rule: Mapping[Any, Any] | Callable[[Any], Any]) -> "LightSeries":
        if isinstance(rule, Mapping):
            return as_light_series([rule.get(value, np.nan) for value in self.tolist()])
        return as_light_series([rule(value) for value in self.tolist()])


class DatetimeAccessor:
    """`Series.dt` of times without a zone: their parts as numbers, a gap as NaN."""

    def __init__(self, times: Sequence[datetime | None]) -> None:
        self.times = times

    def __getattr__(self, name: str) -> LightSeries:
        if name not in DATETIME_PARTS:
            raise AttributeError(name)
        return as_light_series([np.nan if time is None else DATETIME_PARTS[name](time) for time in self.times])


class LightFrame(dict[str, LightSeries]):
    """Columns by name, with the dtypes that pandas would give them."""

    def __init__(self, columns: Mapping[str, Any], dtypes: Mapping[str, str]) -> None:
        super().__init__(columns)
        self.dtypes, self.columns = dtypes, self.keys()

    def __setitem__(self, name: str, values: Any) -> None:
        super().__setitem__(name, values if isinstance(values, LightSeries) else as_light_series(values))

    def copy(self) -> "LightFrame":
        return LightFrame(self, self.dtypes)

    def select_dtypes(self, kind: str) -> "LightFrame":
        return LightFrame(
            {name: self[name] for name in self if self.dtypes[name].startswith(DTYPE_PREFIXES[kind])}, self.dtypes
        )

    def assign(self, **new: Any) -> "LightFrame":
        table = self.copy()
        for name, values in new.items():
            table[name] = values(table) if callable(values) else values
        return table

    def drop(self, *, columns: str | Sequence[str]) -> "LightFrame":
        gone = [columns] if isinstance(columns, str) else columns
        return LightFrame({name: self[name] for name in self if name not in gone}, self.dtypes)
