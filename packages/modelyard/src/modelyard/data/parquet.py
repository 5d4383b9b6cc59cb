"""TODO doc."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write

WHOLE_TABLE_ROWS = 1 << 18  # rows of a table that is read as a whole; a larger one in blocks of a quarter of them


def count_rows(path: Path) -> int:
    """The rows of a table; a missing or broken file is a `UserError`."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError:
        say = f"the data {path} is missing; `dvc pull` fetches it, `make adopt CSV=…` brings new data"
        raise UserError(say) from None
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} is not a Parquet table ({problem}); `make adopt CSV=…` makes one") from None


def read_table(path: Path) -> pd.DataFrame:
    """The raw table; a missing or broken file is a `UserError`."""
    count_rows(path)
    return pd.read_parquet(path)


def read_blocks(path: Path, columns: list[str] | None = None, whole: int = 0) -> Iterator[pd.DataFrame]:
    """The table as one block where it has no more rows than `whole`, else in blocks of a quarter of that."""
    whole = whole or WHOLE_TABLE_ROWS
    if count_rows(path) <= whole:
        yield pd.read_parquet(path, columns=columns)
        return
    with pq.ParquetFile(path, pre_buffer=False) as file:
        types, start = nullable_integer_columns(file), 0
        for batch in file.iter_batches(whole // 4, columns=columns, use_threads=False):
            fields = [pa.field(field.name, types.get(field.name, field.type)) for field in batch.schema]
            frame = batch.cast(pa.schema(fields, batch.schema.metadata)).to_pandas()
            frame.index = pd.RangeIndex(start, start := start + len(frame))
            yield frame


@contextmanager
def open_writer(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """What adds rows to a Parquet file, which takes its place when the block ends well."""
    with atomic_write(path) as draft, ExitStack() as stack:
        files = list[pq.ParquetWriter]()

        def add(rows: pd.DataFrame) -> None:
            table = pa.Table.from_pandas(rows, preserve_index=False)
            if not files:
                files.append(stack.enter_context(pq.ParquetWriter(draft, table.schema)))
            files[0].write_table(table)

        yield add


def nullable_integer_columns(file: pq.ParquetFile) -> dict[str, pa.DataType]:
    """Columns of whole numbers with gaps somewhere: pandas reads the table as a whole with floats there."""
    found = {}
    for number, field in enumerate(file.schema_arrow):
        groups = (file.metadata.row_group(i).column(number).statistics for i in range(file.num_row_groups))
        if pa.types.is_integer(field.type) and any(s is None or s.null_count for s in groups):
            found[field.name] = pa.float64()
    return found
