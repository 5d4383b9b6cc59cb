"""Prediction logs and feedback, read file by file in bounded memory, whatever state a file is in.

A record of `predictions-*` has id, time, model, the raw features, prediction and `p_<class>`; one of `feedback-*`
has id, truth and time. Files are Parquet or JSON lines. Rows are told apart, and drawn, by the hash of their id.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from modelyard.core.errors import UserError
from modelyard.core.predictions import is_probability_column
from modelyard.core.process import last_error_line, run_dvc

BLOCK_BYTES = 16 << 20  # bytes of JSON lines
BATCH_ROWS = 1 << 16  # of Parquet


@dataclass
class ReadStats:
    """What was read and what had to be left out, by reason; `broken` names files that end in the middle."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: dict[str, str] = field(default_factory=dict)


def fetch_logs(address: str, folder: Path) -> None:
    """Bring the logs from a bucket, a server or another folder, whatever address `dvc get-url` knows, anew."""
    place = folder / "fetched"
    shutil.rmtree(place, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    done = run_dvc("get-url", "--quiet", address, place)
    if done.returncode:
        why = last_error_line(done.stderr)
        raise UserError(f"the logs at {address} could not be fetched ({why}); LOGS is a folder's address")


def parse_json_lines(lines: list[bytes], tally: ReadStats) -> pd.DataFrame:
    """The lines that are JSON objects; the others are counted."""
    found = []
    for line in filter(bytes.strip, lines):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            found.append(row)
        else:
            tally.counts["broken lines"] += 1
    return pd.DataFrame(found)


def read_json_blocks(path: Path, tally: ReadStats) -> Iterator[pd.DataFrame]:
    """A JSON-lines file in blocks; where a block does not hold together, its good lines."""
    with path.open("rb") as file:
        while lines := file.readlines(BLOCK_BYTES):
            try:
                yield pyarrow.json.read_json(pa.BufferReader(b"".join(lines))).to_pandas()
            except pa.ArrowException:
                yield parse_json_lines(lines, tally)


def read_parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    """A Parquet file in batches of rows."""
    with pq.ParquetFile(path) as file:
        there = file.schema_arrow.names
        wanted = [name for name in there if columns is None or name in columns or is_probability_column(name)]
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            yield batch.to_pandas()


def read_records(
    folder: Path, kind: str, tally: ReadStats, columns: Sequence[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Every readable part of the folder's `predictions-*` or `feedback-*`, by name: rows with id, time (UTC), hash."""
    for path in sorted(p for p in folder.rglob(f"{kind}-*") if p.suffix in (".jsonl", ".parquet")):
        tally.counts["files"] += 1
        try:
            parts = read_json_blocks(path, tally) if path.suffix == ".jsonl" else read_parquet_batches(path, columns)
            yield from (found for part in parts if len(found := with_id_and_time(part, tally)))
        except (pa.ArrowException, OSError, ValueError) as problem:
            tally.broken[path.name] = " ".join(str(problem).split())[:120]


def with_id_and_time(frame: pd.DataFrame, tally: ReadStats) -> pd.DataFrame:
    """The rows with an id and a time, `time` as UTC and `hash` added; the others are counted."""
    tally.counts["rows"] += len(frame)
    if not {"id", "time"} <= set(frame.columns):
        tally.counts["without id or time"] += len(frame)
        return frame.head(0)
    times = pd.to_datetime(frame["time"], utc=True, errors="coerce", format="ISO8601")
    good = times.notna() & frame["id"].notna()
    tally.counts["without id or time"] += int((~good).sum())
    frame = frame.assign(time=times.astype("datetime64[us, UTC]"), hash=hash_ids(frame["id"]))
    return frame if good.all() else frame[good]


def hash_ids(ids: pd.Series) -> npt.NDArray[np.uint64]:
    """A hash of each id: the same in every file and process."""
    return pd.util.hash_array(ids.astype(str).to_numpy(dtype=object), categorize=False)


class HashSample:
    """The rows with the smallest hashes, each id once (the last one wins): a random draw that no order changes."""

    def __init__(self, size: int) -> None:
        self.size, self.held, self.repeated = size, 0, 0
        self.max_hash = np.uint64(2**64 - 1)
        self.parts: list[pd.DataFrame] = []

    def add(self, frame: pd.DataFrame) -> None:
        """Take the rows in that may belong to the sample."""
        frame = frame[(frame["hash"] <= self.max_hash).to_numpy()]
        if len(frame):
            self.parts.append(frame)
            self.held += len(frame)
        if self.held > 4 * self.size:
            self.settle()

    def settle(self) -> pd.DataFrame:
        """The sample so far."""
        if not self.parts:
            return pd.DataFrame()
        frame = pd.concat(self.parts, ignore_index=True).sort_values(["hash", "time"], kind="stable")
        once = frame.drop_duplicates("hash", keep="last")
        self.repeated += len(frame) - len(once)
        frame = once.head(self.size)
        if len(once) >= self.size:
            self.max_hash = frame["hash"].iloc[-1]
        self.parts, self.held = [frame], len(frame)
        return frame
