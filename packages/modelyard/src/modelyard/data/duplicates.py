"""TODO doc."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pandas as pd

from modelyard.data.parquet import read_blocks
from modelyard.data.schema import MAX_EXAMPLES
from modelyard.data.schema_fields import read_personal_columns


def duplicate_hashes(path: Path, names: list[str]) -> np.ndarray:
    """The hash of each row's values in some columns that a row before it has; hashes wait on disk, by their ends."""
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile()) for _ in range(64)]
        for part in read_blocks(path, names):
            marks = pd.util.hash_pandas_object(part, index=False).to_numpy()
            for end, file in enumerate(files):
                marks[marks % 64 == end].tofile(file)
        found = []
        for file in files:
            file.seek(0)
            marks = np.sort(np.fromfile(file, np.uint64))
            found.append(marks[1:][marks[1:] == marks[:-1]])
    return np.concatenate(found)


def find_duplicate_failures(path: Path, names: list[str]) -> pd.DataFrame:
    """The rule that no two rows are equal in some columns, where rows in different blocks break it."""
    twice = duplicate_hashes(path, names)
    if not twice.size:  # nothing to show: the table is not read once more
        return pd.DataFrame()
    some = [part[np.isin(pd.util.hash_pandas_object(part, index=False), twice)] for part in read_blocks(path, names)]
    rows = pd.concat(some)
    rows = rows[rows.duplicated(keep=False)]
    shown = rows[:1].assign(**dict.fromkeys(read_personal_columns().intersection(names), "(personal)")).to_dict("list")
    examples = {"values": str(shown), "examples": ", ".join(map(str, rows.index[:MAX_EXAMPLES]))}
    told = {"column": "(table)", "check": "multiple_fields_uniqueness", "rows": len(rows), **examples}
    return pd.DataFrame([told][: len(rows)])
