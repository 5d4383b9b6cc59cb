"""TODO doc."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core import model_at
from modelyard.core.paths import ROW_HASHES_FILE
from modelyard.data.hashing import hash_frame


def flag_leaked_rows(trained: np.ndarray, held: np.ndarray, table: np.ndarray) -> np.ndarray:
    """True for the held rows that a model was trained on, by hash and with multiplicity.

    Of a hash that the table has T times and the model learned R times, at least R + H - T of the H held are known.
    """
    keys, where = np.unique(held, return_inverse=True)

    def times(values: np.ndarray) -> np.ndarray:
        values = np.sort(values)
        return np.searchsorted(values, keys, "right") - np.searchsorted(values, keys, "left")

    seen = np.clip(times(trained) + times(held) - times(table), 0, times(held))
    nth = pd.Series(where).groupby(where).cumcount().to_numpy()
    return np.asarray(nth < seen[where])


def find_rows_seen_in_training(
    project: Path, schema: Any, rows: pd.DataFrame, table: pd.DataFrame
) -> np.ndarray | None:
    """Which of the rows a model saw in training; None where its columns are gone and nobody can tell."""
    names = list(schema.get("unique") or sorted(schema["columns"]))
    if not (project / ROW_HASHES_FILE).exists() or any(name not in table for name in names):
        return None
    return flag_leaked_rows(model_at.load_row_hashes(project), hash_frame(rows[names]), hash_frame(table[names]))
