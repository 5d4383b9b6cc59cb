"""The guard against leakage: finds the holdout rows that a model was trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.model_at import load_row_hashes
from modelyard.core.paths import ROW_HASHES_FILE
from modelyard.data.hashing import hash_frame


def flag_leaked_rows(trained: np.ndarray, holdout: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Flag the holdout rows that a model was trained on.

    Parameters
    ----------
    trained
        The hash of each row that the model was trained on.
    holdout
        The hash of each holdout row, shape (n,).
    table
        The hash of each row of the whole table, the holdout among them.

    Returns
    -------
    numpy.ndarray
        Booleans, shape (n,).

    Notes
    -----
    Equal rows have equal hashes. Of a hash that the table has T times, the holdout H times and the training rows R
    times, at least R + H - T of the H holdout rows must be training rows; so many are flagged.
    """
    hashes, place = np.unique(holdout, return_inverse=True)
    in_holdout = _count_hashes(holdout, hashes)
    leaked = _count_hashes(trained, hashes) + in_holdout - _count_hashes(table, hashes)
    leaked = np.clip(leaked, 0, in_holdout)
    occurrence = pd.Series(place).groupby(place).cumcount().to_numpy()
    return np.asarray(occurrence < leaked[place])


def _count_hashes(values: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return how often each of some hashes occurs among values."""
    values = np.sort(values)
    return np.searchsorted(values, hashes, "right") - np.searchsorted(values, hashes, "left")


def find_rows_seen_in_training(
    project: Path, schema: Any, rows: pd.DataFrame, table: pd.DataFrame
) -> np.ndarray | None:
    """Flag the rows that a project's model was trained on.

    Parameters
    ----------
    project
        The project's folder, which has the hashes of the training rows.
    schema
        The project's schema.yaml, which names the columns that are hashed.
    rows
        The holdout rows, n of them.
    table
        The whole table.

    Returns
    -------
    numpy.ndarray or None
        Booleans, shape (n,); None where the hashes or the columns are missing, so that nobody can tell.
    """
    columns = list(schema.get("unique") or sorted(schema["columns"]))
    if not (project / ROW_HASHES_FILE).exists() or any(column not in table for column in columns):
        return None
    return flag_leaked_rows(load_row_hashes(project), hash_frame(rows[columns]), hash_frame(table[columns]))
