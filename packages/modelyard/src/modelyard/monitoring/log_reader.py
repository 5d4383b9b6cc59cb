"""Read prediction logs and feedback file by file, in bounded memory, whatever state the files are in.

A record of `predictions-*` has id, time, model, the raw columns, prediction and `p_<class>`; a record of `feedback-*`
has id, truth and time. Both have the name of the client's key, where clients have keys. Files are Parquet or JSON
lines. Rows are identified, and sampled, by the hash of their id.
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

from modelyard.core.errors import ToolError, UserError
from modelyard.core.predictions import is_probability_column, normalize_class_names
from modelyard.core.process import last_error_line, run_dvc

BLOCK_BYTES = 16 << 20  # of JSON lines
BATCH_ROWS = 1 << 16  # of Parquet
SAMPLE_OVERFLOW = 4  # a sample holds this many times its size before it is shrunk


class EmptyLogError(UserError):
    """A folder of logs holds nothing that the command could use.

    Parameters
    ----------
    folder
        The folder of the logs.
    problem, cure
        What is missing, and what to do.
    """

    def __init__(self, folder: Path | str, problem: str, cure: str) -> None:
        super().__init__(f"{folder}/ {problem}; {cure}")
        self.folder = Path(folder)
        self.problem = problem


@dataclass
class ReadStats:
    """Counts of what was read and what was left out, by reason; `unreadable_files` maps file names to errors."""

    counts: Counter[str] = field(default_factory=Counter)
    unreadable_files: dict[str, str] = field(default_factory=dict)


def fetch_logs(address: str, folder: Path) -> None:
    """Replace the fetched logs with those at an address.

    Parameters
    ----------
    address
        A bucket, a server or a folder, as `dvc get-url` accepts it.
    folder
        The folder of the logs; they are put into its sub-folder `fetched`.

    Raises
    ------
    ToolError
        DVC cannot fetch the address.
    """
    target = folder / "fetched"
    shutil.rmtree(target, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    done = run_dvc("get-url", "--quiet", address, target)
    if done.returncode:
        reason = last_error_line(done.stderr)
        raise ToolError("DVC", f"the logs at {address} could not be fetched ({reason}); check the address in LOGS")


def parse_json_lines(lines: list[bytes], stats: ReadStats) -> pd.DataFrame:
    """Return the lines that are JSON objects, and count the others."""
    records = []
    for line in filter(bytes.strip, lines):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            stats.counts["broken lines"] += 1
    return pd.DataFrame(records)


def read_json_blocks(path: Path, stats: ReadStats) -> Iterator[pd.DataFrame]:
    """Yield a JSON-lines file in blocks of 16 MB; a block with broken lines gives its good ones."""
    with path.open("rb") as file:
        while lines := file.readlines(BLOCK_BYTES):
            try:
                yield pyarrow.json.read_json(pa.BufferReader(b"".join(lines))).to_pandas()
            except pa.ArrowException:
                yield parse_json_lines(lines, stats)


def read_parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    """Yield a Parquet file in batches of rows, with these columns (None: all) and the probabilities."""
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        wanted = [name for name in names if columns is None or name in columns or is_probability_column(name)]
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            yield batch.to_pandas()


def read_records(
    folder: Path, kind: str, stats: ReadStats, columns: Sequence[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Yield every readable part of a folder's logs, in the order of the file names.

    Parameters
    ----------
    folder
        The folder of the logs, searched with its sub-folders.
    kind
        "predictions" or "feedback".
    stats
        Receives the counts, and the files that cannot be read to the end.
    columns
        The columns to read from Parquet; all if None.

    Yields
    ------
    DataFrame
        Rows that have an id and a time, with `time` in UTC and the uint64 `hash` of the id.
    """
    paths = [path for path in folder.rglob(f"{kind}-*") if path.suffix in (".jsonl", ".parquet")]
    for path in sorted(paths):
        stats.counts["files"] += 1
        try:
            is_json = path.suffix == ".jsonl"
            parts = read_json_blocks(path, stats) if is_json else read_parquet_batches(path, columns)
            for part in parts:
                rows = with_id_and_time(part, stats)
                if len(rows):
                    yield rows
        except (pa.ArrowException, OSError, ValueError) as problem:
            stats.unreadable_files[path.name] = " ".join(str(problem).split())[:120]


def with_id_and_time(frame: pd.DataFrame, stats: ReadStats) -> pd.DataFrame:
    """Return the rows that have an id and a time, with `time` in UTC and `hash` added, and count the others."""
    stats.counts["rows"] += len(frame)
    if not {"id", "time"} <= set(frame.columns):
        stats.counts["without id or time"] += len(frame)
        return frame.head(0)
    times = pd.to_datetime(frame["time"], utc=True, errors="coerce", format="ISO8601")
    complete = times.notna() & frame["id"].notna()
    stats.counts["without id or time"] += int((~complete).sum())
    frame = frame.assign(time=times.astype("datetime64[us, UTC]"), hash=hash_ids(frame["id"]))
    return frame if complete.all() else frame[complete]


def hash_ids(ids: pd.Series) -> npt.NDArray[np.uint64]:
    """Return the hash of each id, the same in every file and process; shape (n,)."""
    return pd.util.hash_array(ids.astype(str).to_numpy(dtype=object), categorize=False)


class HashSample:
    """A random sample that does not depend on the order of the rows: those with the smallest hashes.

    Of several rows with the same id, the latest is kept.

    Parameters
    ----------
    size
        The most rows of the sample.

    Attributes
    ----------
    rows_in_memory
        At most four times the size, plus one part.
    repeated
        The number of rows dropped because their id was there already.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows_in_memory = 0
        self.repeated = 0
        self.max_hash = np.uint64(2**64 - 1)
        self.parts: list[pd.DataFrame] = []

    def add(self, frame: pd.DataFrame) -> None:
        """Add the rows that may belong to the sample."""
        frame = frame[(frame["hash"] <= self.max_hash).to_numpy()]
        if len(frame):
            self.parts.append(frame)
            self.rows_in_memory += len(frame)
        if self.rows_in_memory > SAMPLE_OVERFLOW * self.size:
            self.shrink()

    def shrink(self) -> pd.DataFrame:
        """Drop the rows that do not belong to the sample, and return it."""
        if not self.parts:
            return pd.DataFrame()
        rows = pd.concat(self.parts, ignore_index=True).sort_values(["hash", "time"], kind="stable")
        unique = self.drop_repeated(rows)
        self.repeated += len(rows) - len(unique)
        sample = unique.head(self.size)
        if len(unique) >= self.size:
            self.max_hash = sample["hash"].iloc[-1]
        self.parts = [sample]
        self.rows_in_memory = len(sample)
        return sample

    def drop_repeated(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the row to keep of each hash; the rows are sorted by hash and time."""
        return rows.drop_duplicates("hash", keep="last")


class LabelSample(HashSample):
    """A sample of labels, in which the first truth of an id counts: who comes later changes nothing.

    The column `is_contradicted` says whether a later label of the id has another truth.
    """

    def drop_repeated(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the first label of each hash, marked if contradicted; the rows are sorted by hash and time."""
        first = rows.drop_duplicates("hash", keep="first")
        names = normalize_class_names(rows["truth"])
        differs = names != names.groupby(rows["hash"]).transform("first")
        if "is_contradicted" in rows:
            differs |= rows["is_contradicted"].eq(True)
        return first.assign(is_contradicted=first["hash"].isin(rows.loc[differs, "hash"]))
