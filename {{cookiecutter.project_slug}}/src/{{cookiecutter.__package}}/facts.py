"""What a table's columns hold: counted over all rows in blocks, or looked at closely in a sample of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .split import hashes

CLASSES = 1000  # more distinct values than this are not kept
BLOCK = 1 << 16


@dataclass
class Facts:
    """A column's type, gaps, range and longest text, and its distinct values while they are few."""

    name: str
    type: str
    rows: int = 0
    gaps: int = 0
    low: Any = None
    high: Any = None
    longest: int = 0
    values: set[Any] | None = field(default_factory=set)

    def add(self, column: pa.Array) -> None:
        """Count a block of the column's values."""
        self.rows, self.gaps = self.rows + len(column), self.gaps + column.null_count
        full = column.drop_null()
        if len(full) == 0:
            return
        if self.type == "str":
            self.longest = max(self.longest, pc.max(pc.utf8_length(full)).as_py())
        else:
            ends = pc.min_max(full).as_py()
            self.low = ends["min"] if self.low is None else min(self.low, ends["min"])
            self.high = ends["max"] if self.high is None else max(self.high, ends["max"])
        if self.values is not None:
            self.values |= set(pc.unique(full).slice(0, CLASSES + 1).to_pylist())
            if len(self.values) > CLASSES:
                self.values = None

    @property
    def distinct(self) -> list[Any]:
        """The distinct values in order; none where they are too many."""
        return sorted(self.values or ())

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers."""
        return self.type.lstrip("u").startswith(("int", "float"))

    @property
    def whole(self) -> bool:
        """Whether it holds numbers, all of them whole, as far as they were kept."""
        few = self.numeric and all(v == int(v) for v in self.values or [0.5])
        return few or self.type.lstrip("u").startswith("int")


def facts_of(path: Path) -> dict[str, Facts]:
    """The facts of each column of a Parquet file, in its order."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        types = file.schema_arrow.empty_table().to_pandas().dtypes
        found = {name: Facts(name, str(types[name])) for name in types.index}
        for batch in file.iter_batches(BLOCK):
            for name, facts in found.items():
                facts.add(batch.column(name))
    for facts in found.values():
        if facts.gaps and facts.whole and facts.type != "float64":
            facts.type = "float64"  # as pandas reads them
    return found


def sample(path: Path, rows: int, columns: list[str] | None = None) -> pd.DataFrame:
    """At most so many rows, spread evenly over the file."""
    parts = []
    with pq.ParquetFile(path, pre_buffer=False) as file:
        step, seen = max(1, -(-file.metadata.num_rows // rows)), 0
        for batch in file.iter_batches(BLOCK, columns=columns):
            parts.append(batch.take(pa.array(range(-seen % step, len(batch), step), pa.int64())))
            seen += len(batch)
        schema = file.schema_arrow
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    return pa.Table.from_batches(parts, schema).to_pandas()


def hashed(path: Path, columns: list[str], how: Callable[[pd.DataFrame], np.ndarray]) -> np.ndarray:
    """What a function makes of some columns, block by block: a few bytes for each row."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        blocks = file.iter_batches(BLOCK, columns=columns)
        return np.concatenate([how(block.to_pandas()[columns]) for block in blocks])


def repeated(path: Path, key: list[str]) -> int:
    """How many rows repeat the key of an earlier row."""
    every = hashed(path, key, hashes)
    return len(every) - len(np.unique(every))
