"""TODO doc."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core import model_at
from modelyard.core.paths import ROWS
from modelyard.data.hashing import hashes


def leaked(trained: np.ndarray, held: np.ndarray, table: np.ndarray) -> np.ndarray:
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


def known_rows(project: Path, schema: Any, rows: pd.DataFrame, table: pd.DataFrame) -> np.ndarray | None:
    """Which of the rows a model saw in training; None where its columns are gone and nobody can tell."""
    names = list(schema.get("unique") or sorted(schema["columns"]))
    if not (project / ROWS).exists() or any(name not in table for name in names):
        return None
    return leaked(model_at.learned(project), hashes(rows[names]), hashes(table[names]))
