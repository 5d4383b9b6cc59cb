"""Any table file as one typed Parquet file, in blocks, so that its size does not matter."""

import bz2
import gzip
import lzma
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import kinds
from .config import UserError

ROWS = 1 << 16
OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x28\xb5\x2f\xfd": lambda path, _: pa.input_stream(str(path), compression="zstd"),
}


@dataclass(frozen=True)
class Table:
    """A typed table that can be read again and again in blocks, and what was noticed while reading it."""

    names: list[str]
    types: dict[str, pa.DataType]
    batches: Callable[[], Iterator[pa.RecordBatch]]
    notes: dict[str, str]


def opened(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed; a zip file must hold one file."""
    with path.open("rb") as file:
        head = file.read(8)
    if not head.startswith(b"PK\x03\x04"):
        return next((made for magic, made in OPENERS.items() if head.startswith(magic)), Path.open)(path, "rb")
    archive = zipfile.ZipFile(path)  # pylint: disable=consider-using-with  # the caller closes the file in it
    inside = [name for name in archive.namelist() if not name.endswith("/")]
    if any(name.startswith("xl/") for name in inside):
        raise UserError(f"{path} is an Excel workbook; save the sheet as CSV and name that file")
    if len(inside) != 1:
        raise UserError(f"{path} holds {len(inside)} files; unpack it and name one of them")
    return archive.open(inside[0])


def existing(path: Path) -> Path:
    """The path of a file with bytes in it; anything else is a `UserError`."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the file in it")
    if not path.is_file():
        raise UserError(f"there is no file {path}; look at the path")
    if not path.stat().st_size:
        raise UserError(f"{path} is empty; bring a file with column names and rows")
    return path


def known(path: Path, names: list[str], *wanted: str) -> None:
    """Refuse a column that the table does not have, with its names."""
    import difflib

    for name in filter(None, wanted):
        if name not in names:
            lower = {other.lower(): other for other in names}
            near = [lower[other] for other in difflib.get_close_matches(name.lower(), lower, 1, 0.6)]
            some = ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
            hint = f"did you mean {near[0]}?" if near else f"it has {some}"
            raise UserError(f"there is no column {name} in {path}; {hint}")


def is_parquet(path: Path) -> bool:
    """Whether the file says that it is Parquet."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def plain(kind: pa.DataType, gaps: bool) -> pa.DataType | None:
    """The one type of its family that projects use; None for what a table cell cannot be."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return pa.timestamp("us")
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pa.float64() if gaps else pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.string() if pa.types.is_time(kind) else None


def cast(values: pa.Array, to: pa.DataType) -> pa.Array:
    """Values as the plain type; empty text and not-a-number become null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_boolean(values.type):
        values = pc.cast(values, "int8")
    if pa.types.is_timestamp(values.type) and values.type.tz:
        values = pc.cast(values, pa.timestamp("us", "UTC"), safe=False)
    values = pc.cast(values, to, safe=not pa.types.is_timestamp(to) and not pa.types.is_floating(to))
    if pa.types.is_string(to):
        return kinds.clean(values, ("",))
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(to) else values


def open_parquet(path: Path, time: str, full: set[str]) -> Table:
    """A Parquet file as a typed table; nested and binary columns are not kept, and noted."""
    try:
        schema = pq.read_schema(path).remove_metadata()
    except (pa.ArrowInvalid, OSError) as problem:
        raise UserError(f"{path} is not a readable Parquet file ({problem}); fetch it again") from None
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise UserError(f"{path} has two columns called {twice[0]}; give each its own name")
    known(path, schema.names, time)
    gaps = gaps_of(path)
    fields = [f for f in schema if not f.name.startswith("__index_level_")]
    types = {f.name: plain(f.type, gaps[f.name] and f.name not in full) for f in fields}
    names = [name for name, kind in types.items() if kind is not None]
    notes = {
        name: f"not kept: {schema.field(name).type} is no number, time or text" for name in set(types) - set(names)
    }
    layout = time_layout(path, time) if time in names and not pa.types.is_timestamp(types[time]) else ""
    if layout:
        types[time] = pa.timestamp("us")

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(ROWS, columns=names):
            columns = [
                kinds.as_time(cast(batch.column(n), pa.string()), layout)
                if layout and n == time
                else cast(batch.column(n), types[n])
                for n in names
            ]
            yield pa.RecordBatch.from_arrays(columns, names)

    return Table(names, {n: types[n] for n in names}, batches, notes)


def gaps_of(path: Path) -> dict[str, bool]:
    """Whether each column has missing values, read once: a file's own statistics may lack."""
    found: Counter[str] = Counter()
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(ROWS):
        found.update({name: batch.column(name).null_count for name in batch.schema.names})
    return {name: found[name] > 0 for name in pq.read_schema(path).names}


def time_layout(path: Path, time: str) -> str:
    """How the time column of a Parquet file writes its times, where it holds text or numbers."""
    guess = kinds.guess(",", time=True)
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(ROWS, columns=[time]):
        guess.narrow(cast(batch.column(0), pa.string()))
    if not guess.kinds:
        raise UserError(f"TIME={time} does not hold times that can be read; write them as 2024-12-31 23:59")
    return guess.kinds[0]


@dataclass
class Written:
    """How many rows were read and written, and the gaps and infinite values in them."""

    read: int = 0
    rows: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    infinite: Counter[str] = field(default_factory=Counter)


def write(table: Table, to: Path, required: list[str], drop: bool) -> Written:
    """Write a table as Parquet; rows with a gap in a required column go if `drop`, else they are only counted."""
    done = Written()
    schema = pa.schema([(name, table.types[name]) for name in table.names])
    with pq.ParquetWriter(to, schema, compression="zstd") as writer:
        for batch in table.batches():
            keep = pa.repeat(True, len(batch))
            for name in required:
                done.gaps[name] += batch.column(name).null_count
                keep = pc.and_(keep, pc.is_valid(batch.column(name)))
            for name in (n for n in table.names if pa.types.is_floating(table.types[n])):
                done.infinite[name] += pc.sum(pc.is_inf(batch.column(name))).as_py() or 0
            done.read += len(batch)
            batch = batch.filter(keep) if drop else batch
            done.rows += len(batch)
            writer.write_batch(batch)
    return done
