"""The raw rows of a project as one Parquet table, wherever its `load` takes them from."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core.dvc_lock import IGNORED_PATHS
from modelyard.core.errors import MissingFileError
from modelyard.core.files import atomic_write, sha256
from modelyard.core.hooks import LOAD, DataSource, ProjectHooks
from modelyard.core.project import Project
from modelyard.data.parquet import read_blocks

TABLE_FOLDER = Path("data")
TABLE_NAME = "loaded-{}.parquet"


class ParquetBlocks(Iterator[pd.DataFrame]):
    """The rows of a Parquet file, block by block.

    Where a project's `load` returns this, the library reads the file itself: nothing is copied.

    Parameters
    ----------
    path
        The Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blocks: Iterator[pd.DataFrame] | None = None

    def __next__(self) -> pd.DataFrame:
        """Return the next block."""
        if self._blocks is None:
            self._blocks = read_blocks(self.path)
        return next(self._blocks)


def load_parquet(source: DataSource) -> ParquetBlocks:
    """Return the rows of the Parquet file at the source: the library's own `load`."""
    return ParquetBlocks(source.path)


def open_table(project: Project, path: Path | None = None, folder: Path = TABLE_FOLDER) -> Path:
    """Return the Parquet table with a project's raw rows.

    Where the rows come from the library's own `load`, that is the file that `data.path` names. Those of another `load`
    are streamed once into a table in a folder, under a name made of the digest of the source and of the code in src/;
    older such tables are removed.

    Parameters
    ----------
    project
        The project whose `load` brings the rows.
    path
        The file or folder with the raw rows; by default the one that the project's `data.path` names.
    folder
        Where a table is written.

    Returns
    -------
    pathlib.Path
        The table; `modelyard.data.parquet` reads it.

    Raises
    ------
    MissingFileError
        Where the source of another `load` is missing.
    HookError
        Where `load` yields something else than tables with the same columns and types.
    """
    source = DataSource(path or Path(project.params.data.path))
    hooks = project.hooks
    if hooks.load is None:
        return source.path
    blocks = hooks.call_load(source)
    if isinstance(blocks, ParquetBlocks):
        return blocks.path
    if not source.path.exists():
        raise MissingFileError(source.path, "`dvc pull` fetches it")
    digest = hashlib.sha256(f"{hash_source(source.path)}{hash_source(project.source)}".encode()).hexdigest()
    table = folder / TABLE_NAME.format(digest[:16])
    if not table.exists():
        write_blocks(blocks, table, hooks)
        for other in folder.glob(TABLE_NAME.format("*")):
            if other != table:
                other.unlink()
    return table


def hash_source(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and digests of a folder's files; caches do not count."""
    if not path.is_dir():
        return sha256(path)
    lines = []
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and not IGNORED_PATHS.search(name):
            lines.append(f"{sha256(file)}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_blocks(blocks: Iterable[pd.DataFrame], path: Path, hooks: ProjectHooks) -> None:
    """Write the blocks of a project's `load` into one Parquet table; it appears only when all of them are written."""
    writer = None
    with atomic_write(path) as draft:
        try:
            for block in blocks:
                if not isinstance(block, pd.DataFrame):
                    raise hooks.error(LOAD, f"yields a {type(block).__name__}; it must yield DataFrames")
                table = _to_arrow(block, writer.schema if writer else None, hooks)
                if writer is None:
                    writer = pq.ParquetWriter(draft, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise hooks.error(LOAD, "yields no table; it must yield at least one")


def _to_arrow(block: pd.DataFrame, schema: pa.Schema | None, hooks: ProjectHooks) -> pa.Table:
    """Return a block as an Arrow table with the columns and types of the first one."""
    if schema is not None and list(block) != schema.names:
        raise hooks.error(
            LOAD, "yields blocks with different columns; give every block the same ones in the same order"
        )
    try:
        return pa.Table.from_pandas(block, schema=schema, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as problem:
        reason = str(problem.args[0] if problem.args else problem).splitlines()[0]
        cure = "give every block the same types as the first one"
        raise hooks.error(LOAD, f"yields a block that does not fit the table ({reason}); {cure}") from None
