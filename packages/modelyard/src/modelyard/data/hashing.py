"""Hashes of rows: the same on every machine, and in any order of the rows."""

import numpy as np
import pandas as pd

from modelyard.data import schema

HASH_KEY = "0" * 16


def hash_frame(table: pd.DataFrame) -> np.ndarray:
    """Return the hash of each row's contents, as uint64 of shape (n,)."""
    return pd.util.hash_pandas_object(table, index=False, hash_key=HASH_KEY).to_numpy()


def row_key(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that name a row: the key in schema.yaml, else all columns in alphabetical order."""
    return table[schema.read_key() or sorted(table.columns)]


def row_hashes(table: pd.DataFrame) -> np.ndarray:
    """Return the hash of each row's key, as uint64 of shape (n,)."""
    return hash_frame(row_key(table))


def select_by_hash(keys: pd.DataFrame, share: float, seed: int) -> np.ndarray:
    """Select about a share of the distinct keys; a key keeps its side when others come or go.

    Parameters
    ----------
    keys
        The key of each row, n rows.
    share
        The share to select, between 0 and 1.
    seed
        Where the draw starts.

    Returns
    -------
    numpy.ndarray
        Whether each row is selected, shape (n,).
    """
    hashes = hash_frame(keys)
    if seed:  # pandas' own hash key does not change the hashes of numbers
        hashes = pd.util.hash_array(hashes + np.uint64(seed))
    return hashes < np.uint64(share * 2**64)
