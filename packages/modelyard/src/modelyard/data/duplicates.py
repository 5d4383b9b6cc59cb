"""Finds equal rows in a table that does not fit into memory."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pandas as pd

from modelyard.data.parquet import read_blocks
from modelyard.data.schema import MAX_EXAMPLES
from modelyard.data.schema_fields import read_personal_columns

BUCKETS = 64


def duplicate_hashes(path: Path, names: list[str]) -> np.ndarray:
    """Return the hashes that more than one row of a table has.

    The hashes wait on disk in one file for each remainder, of which one at a time is in memory.

    Parameters
    ----------
    path
        A Parquet file.
    names
        The columns that are compared.

    Returns
    -------
    numpy.ndarray
        The hash of each row that repeats an earlier one, as uint64.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile()) for _ in range(BUCKETS)]
        for block in read_blocks(path, names):
            hashes = pd.util.hash_pandas_object(block, index=False).to_numpy()
            for remainder, file in enumerate(files):
                hashes[hashes % BUCKETS == remainder].tofile(file)
        found = []
        for file in files:
            file.seek(0)
            hashes = np.sort(np.fromfile(file, np.uint64))
            is_repeated = hashes[1:] == hashes[:-1]
            found.append(hashes[1:][is_repeated])
    return np.concatenate(found)


def find_duplicate_failures(path: Path, names: list[str]) -> pd.DataFrame:
    """Return how a table breaks the rule that no two rows are equal.

    Parameters
    ----------
    path
        A Parquet file.
    names
        The columns that are compared.

    Returns
    -------
    pandas.DataFrame
        One row in the form of `schema.collect_failures`; no row where the rule holds.
    """
    repeated = duplicate_hashes(path, names)
    if not repeated.size:
        return pd.DataFrame()
    suspects = []
    for block in read_blocks(path, names):
        hashes = pd.util.hash_pandas_object(block, index=False)
        suspects.append(block[np.isin(hashes, repeated)])
    rows = pd.concat(suspects)
    rows = rows[rows.duplicated(keep=False)]
    if rows.empty:  # different rows with one hash
        return pd.DataFrame()
    hidden = read_personal_columns().intersection(names)
    example = rows[:1].assign(**dict.fromkeys(hidden, "(personal)")).to_dict("list")
    failure = {
        "column": "(table)",
        "check": "multiple_fields_uniqueness",
        "rows": len(rows),
        "values": str(example),
        "examples": ", ".join(map(str, rows.index[:MAX_EXAMPLES])),
    }
    return pd.DataFrame([failure])
