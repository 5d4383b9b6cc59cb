"""Profiles the columns of a table: types, gaps, ranges and distinct values, over all rows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelyard.data.schema_fields import read_personal_columns

MAX_DISTINCT_KEPT = 1000
BATCH_ROWS = 1 << 16
MAX_STRAYS_KEPT = 20
NUMBER_PATTERN = r"^[+-]?[$€£]?[0-9][0-9.,]*%?$"
SKETCH_SIZE = 1 << 16  # distinct values up to this number are counted, more are estimated


@dataclass
class ColumnProfile:
    """The contents of a column.

    Parameters
    ----------
    name
        Its name.
    type
        Its pandas type: `int64`, `float64`, `str` or `datetime64[us]`.
    rows
        The number of rows.
    missing_count
        The number of missing values.
    low, high
        The smallest and the largest value; of text, the shortest and the longest length. None without values.
    values
        The distinct values; None where they are more than `MAX_DISTINCT_KEPT`.
    numeric_count
        The number of texts that look like numbers.
    strays
        The first distinct texts that do not look like a number, up to `MAX_STRAYS_KEPT` and one more.
    """

    name: str
    type: str
    rows: int = 0
    missing_count: int = 0
    low: Any = None
    high: Any = None
    values: set[Any] | None = field(default_factory=set)
    numeric_count: int = 0
    strays: list[str] = field(default_factory=list)

    def add(self, column: pa.Array) -> None:
        """Add a block of the column's values."""
        self.rows += len(column)
        self.missing_count += column.null_count
        full = column.drop_null()
        if len(full) == 0:
            return
        self._add_range(pc.utf8_length(full) if self.type == "str" else full)
        self._add_distinct(full)
        if self.type == "str":
            self._add_text(full)

    def _add_range(self, values: pa.Array) -> None:
        """Extend the range by some values or lengths."""
        ends = pc.min_max(values).as_py()
        self.low = ends["min"] if self.low is None else min(self.low, ends["min"])
        self.high = ends["max"] if self.high is None else max(self.high, ends["max"])

    def _add_distinct(self, values: pa.Array) -> None:
        """Keep the distinct values while they are few."""
        if self.values is None:
            return
        self.values |= set(pc.unique(values).slice(0, MAX_DISTINCT_KEPT + 1).to_pylist())
        if len(self.values) > MAX_DISTINCT_KEPT:
            self.values = None

    def _add_text(self, values: pa.Array) -> None:
        """Count the texts that look like numbers, and keep those that do not."""
        is_number = pc.match_substring_regex(values, NUMBER_PATTERN)
        self.numeric_count += pc.sum(is_number).as_py()
        if len(self.strays) <= MAX_STRAYS_KEPT:
            others = pc.unique(pc.filter(values, pc.invert(is_number))).slice(0, 2 * MAX_STRAYS_KEPT).to_pylist()
            self.strays = list(dict.fromkeys([*self.strays, *others]))[: MAX_STRAYS_KEPT + 1]

    @property
    def distinct_count(self) -> int:
        """The number of distinct values; `MAX_DISTINCT_KEPT` + 1 where there are more than are kept."""
        return MAX_DISTINCT_KEPT + 1 if self.values is None else len(self.values)

    @property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers."""
        return self.type in ("int64", "float64")

    @property
    def is_whole(self) -> bool:
        """Whether the column holds whole numbers, as far as its values were kept."""
        if self.type == "int64":
            return True
        return self.is_numeric and bool(self.values) and all(float(value).is_integer() for value in self.values or ())


def profile_columns(path: Path) -> dict[str, ColumnProfile]:
    """Return the profile of each column of a Parquet file, in its order."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        types = file.schema_arrow.empty_table().to_pandas().dtypes
        profiles = {name: ColumnProfile(name, str(types[name])) for name in types.index}
        for batch in file.iter_batches(BATCH_ROWS):
            for name, profile in profiles.items():
                profile.add(batch.column(name))
    for profile in profiles.values():
        if profile.missing_count and profile.is_numeric:
            profile.type = "float64"
    return profiles


def sample_rows(path: Path, rows: int, columns: list[str] | None = None) -> pd.DataFrame:
    """Return at most so many rows of a Parquet file, spread evenly over it."""
    parts = []
    seen = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        step = max(1, -(-file.metadata.num_rows // rows))
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            places = range(-seen % step, len(batch), step)
            parts.append(batch.take(pa.array(places, pa.int64())))
            seen += len(batch)
    return pa.Table.from_batches(parts).to_pandas()


def profile_table(table: pd.DataFrame) -> dict[str, Any]:
    """Return the profile of a table that reports compare.

    Parameters
    ----------
    table
        Raw rows.

    Returns
    -------
    dict
        `rows`, and for each of `columns` its `type`, the share of `missing` values and the number of `distinct` ones;
        for numbers that are not personal also `min`, `max` and `mean`.
    """
    columns: dict[str, dict[str, Any]] = {}
    hidden = read_personal_columns()
    for column in table:
        name = str(column)
        values = table[column]
        profile: dict[str, Any] = {
            "type": str(values.dtype),
            "missing": float(values.isna().mean()),
            "distinct": int(values.nunique()),
        }
        if name not in hidden and pd.api.types.is_numeric_dtype(values) and values.notna().any():
            profile |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
        columns[name] = profile
    return {"rows": len(table), "columns": columns}


def merge_profiles(profiles: list[dict[str, Any]], sketches: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the profile of a table from those of its blocks.

    Parameters
    ----------
    profiles
        What `profile_table` returns for each block.
    sketches
        For each column, the smallest hashes of its distinct values, sorted, `SKETCH_SIZE` at most.

    Notes
    -----
    More than `SKETCH_SIZE` distinct values are estimated from the largest hash that was kept: Bar-Yossef et al.,
    *Counting distinct elements in a data stream*, RANDOM 2002.
    """
    rows = np.array([profile["rows"] for profile in profiles])
    columns = {}
    for name, hashes in sketches.items():
        parts = [profile["columns"][name] for profile in profiles]
        full = rows * (1 - np.array([part["missing"] for part in parts]))
        merged = parts[0] | {"missing": float(1 - full.sum() / rows.sum()), "distinct": _estimate_distinct(hashes)}
        columns[name] = merged | _merge_ranges(parts, full)
    return {"rows": int(rows.sum()), "columns": columns}


def _estimate_distinct(hashes: np.ndarray) -> int:
    """Return the number of distinct values whose smallest hashes are these."""
    if len(hashes) < SKETCH_SIZE:
        return len(hashes)
    covered_share = int(hashes[-1]) / 2**64
    return int((SKETCH_SIZE - 1) / covered_share)


def _merge_ranges(parts: list[dict[str, Any]], weights: np.ndarray) -> dict[str, float]:
    """Return the range and the mean of a column from those of its blocks; empty where it has no numbers."""
    is_numeric = ["mean" in part for part in parts]
    numeric = [part for part in parts if "mean" in part]
    if not numeric:
        return {}
    return {
        "min": min(part["min"] for part in numeric),
        "max": max(part["max"] for part in numeric),
        "mean": float(np.average([part["mean"] for part in numeric], weights=weights[is_numeric])),
    }
