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

KINDS = {"number": ("int", "uint", "float", "Int", "UInt", "Float"), "datetime": ("datetime64[",), "bool": ("bool",)}
PARTS: dict[str, Callable[[datetime], int]] = {
    **{name: attrgetter(name) for name in ("year", "month", "day", "hour", "minute", "second", "microsecond")},
    **dict.fromkeys(("day_of_week", "dayofweek", "weekday"), datetime.weekday),
    **dict.fromkeys(("day_of_year", "dayofyear"), lambda time: time.timetuple().tm_yday),
}


def column(values: Any) -> "Column":
    """Values as a column: of numbers where they are numbers, else of objects."""
    array = np.asarray(values)
    return (array if array.dtype.kind in "biuf" else np.array(values, object)).view(Column)


def missing(value: Any) -> bool:
    """Whether a value is none."""
    return value is None or (isinstance(value, float) and math.isnan(value))


class Column(np.ndarray[Any, Any]):
    """A column: NumPy's arithmetic, comparisons and functions, and the commonest methods of a Series."""

    abs = np.ndarray.__abs__

    @property
    def dt(self) -> "Moments":
        return Moments(self.tolist())

    def isna(self) -> "Column":
        return column([missing(value) for value in self.tolist()])

    def notna(self) -> "Column":
        return column(~self.isna())

    def fillna(self, value: Any) -> "Column":
        return column(np.where(self.isna(), value, self))

    def where(self, kept: Any, other: Any = np.nan) -> "Column":
        return column(np.where(kept, self, other))

    def isin(self, values: Iterable[Any]) -> "Column":
        allowed = frozenset(values)
        return column([value in allowed for value in self.tolist()])

    def map(self, rule: Mapping[Any, Any] | Callable[[Any], Any]) -> "Column":
        if isinstance(rule, Mapping):
            return column([rule.get(value, np.nan) for value in self.tolist()])
        return column([rule(value) for value in self.tolist()])


class Moments:
    """`Series.dt` of times without a zone: their parts as numbers, a gap as NaN."""

    def __init__(self, times: Sequence[datetime | None]) -> None:
        self.times = times

    def __getattr__(self, name: str) -> Column:
        if name not in PARTS:
            raise AttributeError(name)
        return column([np.nan if time is None else PARTS[name](time) for time in self.times])


class Table(dict[str, Column]):
    """Columns by name, with the dtypes that pandas would give them."""

    def __init__(self, columns: Mapping[str, Any], dtypes: Mapping[str, str]) -> None:
        super().__init__(columns)
        self.dtypes, self.columns = dtypes, self.keys()

    def __setitem__(self, name: str, values: Any) -> None:
        super().__setitem__(name, values if isinstance(values, Column) else column(values))

    def copy(self) -> "Table":
        return Table(self, self.dtypes)

    def select_dtypes(self, kind: str) -> "Table":
        return Table({name: self[name] for name in self if self.dtypes[name].startswith(KINDS[kind])}, self.dtypes)

    def assign(self, **new: Any) -> "Table":
        table = self.copy()
        for name, values in new.items():
            table[name] = values(table) if callable(values) else values
        return table

    def drop(self, *, columns: str | Sequence[str]) -> "Table":
        gone = [columns] if isinstance(columns, str) else columns
        return Table({name: self[name] for name in self if name not in gone}, self.dtypes)
