from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.paths import SCHEMA_YAML
from modelyard.data.hashing import hash_frame, row_hashes, row_key, select_by_hash

TABLE = pd.DataFrame({"b": [1, 2, 3], "a": ["x", "y", "z"]})


def test_hashes_belong_to_rows_in_any_order() -> None:
    assert hash_frame(TABLE[::-1]).tolist() == hash_frame(TABLE)[::-1].tolist()
    assert hash_frame(TABLE).dtype == np.uint64


def test_hashes_are_the_same_on_every_machine() -> None:
    assert hash_frame(pd.DataFrame({"a": [1]})).tolist() == [11358988112447789330]


def test_rows_are_named_by_the_key_of_the_schema() -> None:
    assert list(row_key(TABLE)) == ["a", "b"]
    Path(SCHEMA_YAML).write_text("columns: {a: {}}\nunique: [b]\n")
    assert list(row_key(TABLE)) == ["b"]
    assert row_hashes(TABLE).tolist() == hash_frame(TABLE[["b"]]).tolist()


@pytest.mark.parametrize("seed", [0, 7])
def test_a_share_of_the_keys_is_selected(seed: int) -> None:
    keys = pd.DataFrame({"key": range(10_000)})
    selected = select_by_hash(keys, 0.2, seed)
    assert abs(selected.mean() - 0.2) < 0.02
    assert select_by_hash(keys[5000:], 0.2, seed).tolist() == selected[5000:].tolist()


def test_another_seed_selects_other_keys() -> None:
    keys = pd.DataFrame({"key": range(1000)})
    assert select_by_hash(keys, 0.5, 1).tolist() != select_by_hash(keys, 0.5, 2).tolist()
