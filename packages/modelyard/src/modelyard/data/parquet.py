"""Reads and writes Parquet tables, block by block where they are large."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core.errors import InvalidFileError, MissingFileError
from modelyard.core.files import atomic_write

WHOLE_TABLE_ROWS = 1 << 18  # the most rows of a table that is read as a whole; larger ones come in quarters of it


def count_rows(path: Path) -> int:
    """Return the number of rows of a table.

    Raises
    ------
    MissingFileError, InvalidFileError
        The file is missing, or is not Parquet.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError:
        raise MissingFileError(path, "`dvc pull` fetches it, `make adopt CSV=…` imports new data") from None
    except (OSError, ValueError) as problem:
        raise InvalidFileError(path, f"is not a Parquet table ({problem})", "`make adopt CSV=…` makes one") from None


def read_table(path: Path) -> pd.DataFrame:
    """Return a whole table; raises as `count_rows` does."""
    count_rows(path)
    return pd.read_parquet(path)


def read_blocks(path: Path, columns: list[str] | None = None, whole: int = 0) -> Iterator[pd.DataFrame]:
    """Yield a table block by block; raises as `count_rows` does.

    Parameters
    ----------
    path
        A Parquet file.
    columns
        The columns to read; all of them by default.
    whole
        The most rows of a table that comes as one block. The blocks of a larger table have a quarter of them. The
        default is `WHOLE_TABLE_ROWS`.

    Yields
    ------
    pandas.DataFrame
        Rows with the types and the index that they have in the whole table.
    """
    whole = whole or WHOLE_TABLE_ROWS
    if count_rows(path) <= whole:
        yield pd.read_parquet(path, columns=columns)
        return
    with pq.ParquetFile(path, pre_buffer=False) as file:
        types = nullable_integer_columns(file)
        start = 0
        for batch in file.iter_batches(whole // 4, columns=columns, use_threads=False):
            fields = [pa.field(field.name, types.get(field.name, field.type)) for field in batch.schema]
            frame = batch.cast(pa.schema(fields, batch.schema.metadata)).to_pandas()
            frame.index = pd.RangeIndex(start, start + len(frame))
            start += len(frame)
            yield frame


@contextmanager
def open_writer(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that adds rows to a Parquet file; the file appears when the block succeeds."""
    with atomic_write(path) as draft, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None

        def add(rows: pd.DataFrame) -> None:
            nonlocal writer
            table = pa.Table.from_pandas(rows, preserve_index=False)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(draft, table.schema))
            writer.write_table(table)

        yield add


def nullable_integer_columns(file: pq.ParquetFile) -> dict[str, pa.DataType]:
    """Return the type float64 for each column of whole numbers with gaps, as pandas reads it in the whole table."""
    found = {}
    for number, field in enumerate(file.schema_arrow):
        if not pa.types.is_integer(field.type):
            continue
        groups = [file.metadata.row_group(group).column(number).statistics for group in range(file.num_row_groups)]
        if any(group is None or group.null_count for group in groups):
            found[field.name] = pa.float64()
    return found
