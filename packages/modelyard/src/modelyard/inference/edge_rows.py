"""Generate rows at the edges of a schema, where code that agrees on everyday rows may differ.

`modelyard.inference.build` compares the light table with pandas on them.
"""

import itertools
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from modelyard.data.schema_fields import SchemaField
from modelyard.inference.example_rows import mask_text
from modelyard.inference.request import RequestDecoder, RequestError, Row

BOUND_CHECKS = (
    "equal_to",
    "greater_than",
    "greater_than_or_equal_to",
    "less_than",
    "less_than_or_equal_to",
)
EDGE_TIMES = (
    "1970-01-01T00:00:00",
    "1969-12-31T23:59:59.999999",
    "1900-03-01T00:00:00",  # 1900 was no leap year
    "2000-02-29T12:30:00",
    "2024-02-29T23:59:59.999999",
    "2024-12-31T23:59:59.999999",  # day 366
    "2023-12-31T23:59:59.999999",
    "2025-01-01T00:00:00",
    "2021-01-03T00:00:00",  # Sunday of ISO year 2020
    "2024-03-31T02:30:00",  # skipped by summer time in Europe
    "2024-06-15T11:59:59.999999",
    "2024-06-15T12:00:00",
    "2199-12-31T23:59:59",
)
UTC_OFFSETS = ("+00:00", "+05:45", "-11:00")
UNSEEN_TEXTS = ("never seen", "", " ", "Ünïcödé 漢字", "NaN", "None", "0", "x" * 300)
MASKS = ("X0", "Q7")  # a letter and a digit in place of a text's own, so that it keeps a pattern such as [A-Z]{2}
EDGE_CELLS = 10_000  # chosen columns times all columns: each of the former costs a dozen rows as wide as the table
MIN_EDGE_COLUMNS = 4


class EdgeRow(NamedTuple):
    """A decoded row, and how it differs from an everyday row."""

    change: dict[str, Any]
    row: Row

    def __str__(self) -> str:
        values = [f"{name}={value!r}" for name, value in self.change.items()]
        return values[0] if len(values) == 1 else f"{len(values)} columns at their edges"


def generate_edge_rows(decoder: RequestDecoder, base: dict[str, Any]) -> list[EdgeRow]:
    """Return rows at the edges of what the service accepts.

    Each differs from the base row in one column (missing, an unknown category, an extreme number, an edge of the day
    or the year, a leap day), or in all of them at once.

    Parameters
    ----------
    decoder
        The service's decoder; a row that it refuses is left out.
    base
        A valid row, as JSON values.

    Returns
    -------
    list
        About a dozen rows for each column, or for each that `choose_columns` returns.
    """
    columns = choose_columns([column for column in decoder.columns if column.is_required])
    edges: dict[str, list[Any]] = {}
    changes: list[dict[str, Any]] = []
    for column in columns:
        values = list_edge_values(column, base.get(column.name))
        edges[column.name] = [value for value in values if decode_row(decoder, base | {column.name: value})]
        changes += [{column.name: value} for value in edges[column.name]]
    for combined in itertools.zip_longest(*edges.values()):
        changes.append({name: value for name, value in zip(edges, combined, strict=True) if value is not None})
    changes.append({column.name: None for column in columns if column.nullable})
    rows = [(change, decode_row(decoder, base | change)) for change in changes]
    return [EdgeRow(change, row) for change, row in rows if row is not None]


def choose_columns(columns: list[SchemaField]) -> list[SchemaField]:
    """Return all columns, or of more than 100 so many that time does not grow with the square of their number.

    They are spread evenly, and there is one of each dtype.
    """
    limit = max(EDGE_CELLS // max(len(columns), 1), MIN_EDGE_COLUMNS)
    step = max(math.ceil(len(columns) / limit), 1)
    first_names = {column.dtype: column.name for column in reversed(columns)}
    chosen = {*first_names.values(), *(column.name for column in columns[::step])}
    return [column for column in columns if column.name in chosen]


def decode_row(decoder: RequestDecoder, values: dict[str, Any]) -> Row | None:
    """Return the decoded row, or None if the service refuses it."""
    try:
        rows = decoder.decode(msgspec.json.encode(values))
        decoder.find_violations(rows)
    except RequestError:
        return None
    return rows[0]


def list_edge_values(column: SchemaField, base: Any) -> list[Any]:
    """Return JSON values at the edges of a column: those of its dtype and those of its checks."""
    dtype = column.dtype.lower()
    values: Sequence[Any]
    if dtype.startswith("datetime"):
        values = list_edge_times(column)
    elif dtype.startswith("bool"):
        values = [True, False]
    elif dtype.startswith(("int", "uint")):
        values = list_edge_integers(column)
    elif dtype.startswith("float"):
        values = list_edge_floats(column)
    else:
        values = [*(mask_text(str(base), *mask) for mask in MASKS), *UNSEEN_TEXTS]
    return [None, *column.checks.get("isin", []), *values]


def list_bounds(column: SchemaField) -> list[Any]:
    """Return the values that a column's checks compare with."""
    return [column.checks[check] for check in BOUND_CHECKS if check in column.checks]


def list_edge_integers(column: SchemaField) -> list[int]:
    """Return the limits of an integer dtype, numbers around zero and numbers around the bounds of the checks."""
    limits = np.iinfo(column.dtype.lower())
    values = [limits.min, limits.max, -1, 0, 1]
    for bound in list_bounds(column):
        values += [int(bound) - 1, int(bound), int(bound) + 1]
    return [int(value) for value in values if limits.min <= value <= limits.max]


def list_edge_floats(column: SchemaField) -> list[float]:
    """Return the largest and smallest floats of a dtype, both zeros and numbers around the bounds of the checks."""
    limits = np.finfo(column.dtype.lower())
    values = [float(limits.min), float(limits.max), float(limits.tiny), -0.0, 0.0, 1.0, -1.0]
    for bound in list_bounds(column):
        number = float(bound)
        values += [float(np.nextafter(number, -np.inf)), number, float(np.nextafter(number, np.inf))]
    return values


def list_edge_times(column: SchemaField) -> list[str]:
    """Return edges of days and years, leap days and times around the bounds of the checks, as ISO 8601 text."""
    times = list(EDGE_TIMES)
    for bound in list_bounds(column):
        moment: datetime = pd.Timestamp(bound).to_pydatetime().replace(tzinfo=None)
        times += [(moment + timedelta(microseconds=step)).isoformat() for step in (-1, 0, 1)]
    if "," not in column.dtype:
        return times
    return [time + offset for time in times for offset in UTC_OFFSETS]
