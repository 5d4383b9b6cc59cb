"""TODO doc."""

import numpy as np
import pandas as pd

from modelyard.data import schema


def hash_frame(table: pd.DataFrame) -> np.ndarray:
    """A uint64 for each row from its contents: the same on every machine, in any row order."""
    return pd.util.hash_pandas_object(table, index=False, hash_key="0" * 16).to_numpy()


def row_key(table: pd.DataFrame) -> pd.DataFrame:
    """What tells rows apart: the schema's key where it names one, else all columns."""
    return table[schema.read_key() or sorted(table.columns)]


def row_hashes(table: pd.DataFrame) -> np.ndarray:
    """The hash of what tells rows apart, in their order."""
    return hash_frame(row_key(table))


def select_by_hash(keys: pd.DataFrame, share: float, seed: int) -> np.ndarray:
    """True for about `share` of the distinct keys: a row never changes sides when others come or go."""
    found = hash_frame(keys)
    if seed:  # pandas' own hash key does nothing to numbers
        found = pd.util.hash_array(found + np.uint64(seed))
    return found < np.uint64(share * 2**64)
