from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.paths import ROW_HASHES_FILE
from modelyard.data.hashing import hash_frame
from modelyard.gate.leakage import find_rows_seen_in_training, flag_leaked_rows

ROWS = pd.DataFrame({"x": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    ("trained", "holdout", "table", "flagged"),
    [
        ([1, 2], [3, 4], [1, 2, 3, 4], [False, False]),
        ([1, 2, 3], [3, 4], [1, 2, 3, 4], [True, False]),
        ([1, 1], [1, 2], [1, 1, 1, 2], [False, False]),  # three equal rows, two of them trained on
        ([1, 1, 1], [1, 1, 2], [1, 1, 1, 1, 2], [True, False, False]),
    ],
)
def test_leaked_counts_equal_rows(
    trained: list[int], holdout: list[int], table: list[int], flagged: list[bool]
) -> None:
    arrays = (np.array(values, dtype=np.uint64) for values in (trained, holdout, table))
    assert flag_leaked_rows(*arrays).tolist() == flagged


def test_rows_in_the_training_file_are_seen(tmp_path: Path) -> None:
    (tmp_path / ROW_HASHES_FILE).parent.mkdir()
    np.save(tmp_path / ROW_HASHES_FILE, hash_frame(ROWS.head(2)))
    schema = {"unique": ["x"], "columns": {"x": {}}}
    seen = find_rows_seen_in_training(tmp_path, schema, ROWS.iloc[1:], ROWS)
    assert seen is not None and seen.tolist() == [True, False, False]


def test_nobody_can_tell_without_hashes_or_columns(tmp_path: Path) -> None:
    schema = {"columns": {"x": {}}}
    assert find_rows_seen_in_training(tmp_path, schema, ROWS, ROWS) is None
    (tmp_path / ROW_HASHES_FILE).parent.mkdir()
    np.save(tmp_path / ROW_HASHES_FILE, hash_frame(ROWS))
    assert find_rows_seen_in_training(tmp_path, {"columns": {"gone": {}}}, ROWS, ROWS) is None
