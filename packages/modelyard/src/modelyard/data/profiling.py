"""What a table's columns hold: counted over all rows in blocks, or looked at closely in a sample of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelyard.data.schema_fields import read_personal_columns

MAX_DISTINCT_KEPT = 1000  # more distinct values than this are not kept
BATCH_ROWS = 1 << 16
NUMBER_PATTERN = r"^[+-]?[0-9][0-9.,]*$"
SKETCH_SIZE = 1 << 16  # that are counted; more are estimated


@dataclass
class ColumnProfile:
    """A column's type, gaps, range (of text: its lengths), and its distinct values while they are few."""

    name: str
    type: str
    rows: int = 0
    missing_count: int = 0
    low: Any = None
    high: Any = None
    values: set[Any] | None = field(default_factory=set)
    numbers: int = 0
    non_numeric_example: Any = None  # text without the digits that others have

    def add(self, column: pa.Array) -> None:
        """Count a block of the column's values."""
        self.rows, self.missing_count = self.rows + len(column), self.missing_count + column.null_count
        full = column.drop_null()
        if len(full) == 0:
            return
        ends = pc.min_max(pc.utf8_length(full) if self.type == "str" else full).as_py()
        self.low = ends["min"] if self.low is None else min(self.low, ends["min"])
        self.high = ends["max"] if self.high is None else max(self.high, ends["max"])
        if self.values is not None:
            self.values |= set(pc.unique(full).slice(0, MAX_DISTINCT_KEPT + 1).to_pylist())
            self.values = self.values if len(self.values) <= MAX_DISTINCT_KEPT else None
        if self.type == "str":
            digits = pc.match_substring_regex(full, NUMBER_PATTERN)
            self.numbers += pc.sum(digits).as_py()
            if self.non_numeric_example is None and not pc.all(digits).as_py():
                self.non_numeric_example = full[pc.index(digits, False).as_py()].as_py()

    @property
    def count(self) -> int:
        """How many distinct values there are, or one more than are kept."""
        return len(self.values) if self.values is not None else MAX_DISTINCT_KEPT + 1

    @property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers."""
        return self.type in ("int64", "float64")

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers, as far as they were kept."""
        return self.type == "int64" or (self.is_numeric and all(v == int(v) for v in self.values or [0.5]))


def profile_columns(path: Path) -> dict[str, ColumnProfile]:
    """The facts of each column of a Parquet file, in its order, with the types that pandas gives them."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        types = file.schema_arrow.empty_table().to_pandas().dtypes
        found = {name: ColumnProfile(name, str(types[name])) for name in types.index}
        for batch in file.iter_batches(BATCH_ROWS):
            for name, facts in found.items():
                facts.add(batch.column(name))
    for facts in found.values():
        facts.type = "float64" if facts.missing_count and facts.is_numeric else facts.type
    return found


def sample_rows(path: Path, rows: int, columns: list[str] | None = None) -> pd.DataFrame:
    """At most so many rows, spread evenly over the file."""
    parts, seen = [], 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        step = max(1, -(-file.metadata.num_rows // rows))
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            parts.append(batch.take(pa.array(range(-seen % step, len(batch), step), pa.int64())))
            seen += len(batch)
    return pa.Table.from_batches(parts).to_pandas()


def merge_profiles(profiles: list[dict[str, Any]], sketches: dict[str, np.ndarray]) -> dict[str, Any]:
    """The profile of a table from those of its blocks; distinct values from the smallest hashes of a column."""
    rows, columns = np.array([one["rows"] for one in profiles]), {}
    for name, marks in sketches.items():
        parts = [one["columns"][name] for one in profiles]
        many = len(marks) == SKETCH_SIZE
        full = rows * (1 - np.array([part["missing"] for part in parts]))
        columns[name] = parts[0] | {
            "missing": float(1 - full.sum() / rows.sum()),
            "distinct": int((SKETCH_SIZE - 1) / (int(marks[-1]) / 2**64)) if many else len(marks),
        }
        if numbers := [(part, weight) for part, weight in zip(parts, full, strict=True) if "mean" in part]:
            columns[name] |= {
                "min": min(part["min"] for part, _ in numbers),
                "max": max(part["max"] for part, _ in numbers),
                "mean": float(np.average([p["mean"] for p, _ in numbers], weights=[w for _, w in numbers])),
            }
    return {"rows": int(rows.sum()), "columns": columns}


def profile_table(table: pd.DataFrame) -> dict[str, Any]:
    """What reports compare: the rows, and of each column type, gaps and distinct values, of numbers range and mean."""
    found, hidden = dict[str, dict[str, Any]](), read_personal_columns()
    for name, values in ((str(name), table[name]) for name in table):
        missing, distinct = float(values.isna().mean()), int(values.nunique())
        found[name] = {"type": str(values.dtype), "missing": missing, "distinct": distinct}
        if name not in hidden and pd.api.types.is_numeric_dtype(values) and values.notna().any():
            found[name] |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    return {"rows": len(table), "columns": found}
