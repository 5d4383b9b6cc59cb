"""Reads rows from any file that adopt takes, with the columns and types of schema.yaml: the one reader after adopt."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from msgspec.structs import replace

from modelyard.core.errors import InvalidFileError
from modelyard.data.column_kinds import (
    EPOCHS,
    TEXT,
    WHOLE_NUMBER,
    describe_kind,
    get_parser,
    kind_of_dtype,
    parse_whole_number,
)
from modelyard.data.dialect import Dialect
from modelyard.data.importing import (
    cast_to_plain_type,
    detect_format,
    read_json,
    read_parquet_batches,
    read_parquet_schema,
    to_plain_type,
)
from modelyard.data.text_files import decode_ends, read_column_names, read_text_blocks

FIRST_ROW = "first_row"
ROW_BYTES = 100  # about the length of a row of text
TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".txt", ".jsonl")
COMPRESSED_SUFFIXES = (".gz", ".zip", ".bz2", ".xz")
ColumnDtypes = dict[str, str]


def is_table_name(path: Path) -> bool:
    """Return whether a file has the name of a table, which may be compressed."""
    stem = path.with_suffix("") if path.suffix in COMPRESSED_SUFFIXES else path
    return stem.suffix in TABLE_SUFFIXES


def read_rows(
    path: Path, dtypes: ColumnDtypes, dialect: Dialect, rows: int, optional: Collection[str] = ()
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in batches, with some of its columns.

    Parameters
    ----------
    path
        A Parquet file, JSON lines, or a text file.
    dtypes
        The columns to read, with their pandas types.
    dialect
        How the project's text files are written. A text file with other columns in that dialect is read as plain CSV.
    rows
        Rows in a batch; of a text file about as many.
    optional
        Those of the columns that the file need not have.

    Yields
    ------
    pandas.DataFrame
        The columns in the order of `dtypes`; its `attrs` hold the number of its `FIRST_ROW`, from 1 on.

    Raises
    ------
    InvalidFileError
        The file lacks a column, or holds a value that is not of its type.
    """
    required = [name for name in dtypes if name not in optional]
    form = detect_format(path)
    if form == "text":
        dialect, names = fit_dialect(path, dialect, required)
        columns = select_columns(path, names, dtypes, required)
        batches = read_text_blocks(path, dialect, names, columns, rows * ROW_BYTES)
    elif form == "json":
        content = read_json(path)
        columns = select_columns(path, content.column_names, dtypes, required)
        batches = iter(content.select(columns).to_batches(rows))
    else:
        columns = select_columns(path, read_parquet_schema(path).names, dtypes, required)
        batches = read_parquet_batches(path, columns, rows)
    start = 1
    for batch in batches:
        typed = {name: _read_column(path, batch.column(name), name, dtypes[name], dialect, start) for name in columns}
        frame = pd.DataFrame(typed)
        frame.attrs[FIRST_ROW] = start
        yield frame
        start += len(batch)


def fit_dialect(path: Path, dialect: Dialect, required: Collection[str]) -> tuple[Dialect, list[str]]:
    """Return the dialect of a text file and its columns: that of the project, or plain CSV if only that gives them.

    A file that is UTF-8 is read as that, whatever the encoding of the project's files is.
    """
    if dialect.encoding != "utf-8" and decode_ends(path, "utf-8"):
        dialect = replace(dialect, encoding="utf-8")
    names = read_column_names(path, dialect)
    if all(name in names for name in required):
        return dialect, names
    plain = dialect.to_plain_layout()
    plain_names = read_column_names(path, plain)
    return (plain, plain_names) if all(name in plain_names for name in required) else (dialect, names)


def select_columns(path: Path, names: Collection[str], wanted: Collection[str], required: Collection[str]) -> list[str]:
    """Return the wanted columns that a file has; an `InvalidFileError` where it lacks a required one."""
    missing = [name for name in required if name not in names]
    if missing:
        cure = "add what is missing, or choose a file that is written as `dialect` in schema.yaml says"
        raise InvalidFileError(path, f"lacks {', '.join(missing)}", cure)
    return [name for name in wanted if name in names]


def _read_column(path: Path, values: pa.Array, name: str, dtype: str, dialect: Dialect, start: int) -> "pd.Series[Any]":
    """Return a column of a batch as a pandas type; `start` is the number of its first row."""
    kind = dialect.formats.get(name) or kind_of_dtype(dtype)
    is_epoch = kind in EPOCHS and to_plain_type(values.type) in (pa.int64(), pa.float64())
    if to_plain_type(values.type) == pa.string() or is_epoch or kind == TEXT:
        values = _parse_values(path, cast_to_plain_type(values, pa.string()), name, kind, start)
    elif to_plain_type(values.type) is None:
        raise InvalidFileError(path, f"has {values.type} in {name}", f"it must be {dtype}")
    column: pd.Series[Any] = values.to_pandas()
    if column.hasnans and dtype.startswith(("int", "uint", "bool")):
        row = start + int(column.isna().to_numpy().argmax())
        raise InvalidFileError(path, f"has no value of {name} in row {row}", f"schema.yaml says that it is {dtype}")
    return column


def _parse_values(path: Path, values: pa.Array, name: str, kind: str, start: int) -> pa.Array:
    """Return text as values of a kind; an `InvalidFileError` names the first that is not."""
    parse = parse_whole_number if kind == WHOLE_NUMBER else get_parser(kind)
    try:
        return parse(values)
    except ValueError:
        place = _count_good_values(values, parse)
    value = values[place].as_py()
    problem = f"has {value!r} for {name} in row {start + place}, where schema.yaml says {describe_kind(kind)}"
    raise InvalidFileError(path, problem, "correct it, or adopt the table again")


def _count_good_values(values: pa.Array, parse: Any) -> int:
    """Return how many values can be parsed before the first one that cannot."""
    low, high = 0, len(values)
    while low < high - 1:
        middle = (low + high) // 2
        try:
            parse(values.slice(low, middle - low))
            low = middle
        except ValueError:
            high = middle
    return low
