from pathlib import Path

import pandas as pd
import pytest

from modelyard.core.paths import SCHEMA_YAML
from modelyard.data import parquet
from modelyard.data.duplicates import duplicate_hashes, find_duplicate_failures


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table in blocks of four rows, of which two rows in different blocks are equal."""
    monkeypatch.setattr(parquet, "WHOLE_TABLE_ROWS", 16)
    table = pd.DataFrame({"a": [*range(19), 3], "b": [*range(19), 3], "c": range(20)})
    table.to_parquet(tmp_path / "table.parquet", index=False)
    return tmp_path / "table.parquet"


def test_equal_rows_in_different_blocks_are_found(path: Path) -> None:
    (failure,) = find_duplicate_failures(path, ["a", "b"]).to_dict("records")
    assert (failure["column"], failure["check"]) == ("(table)", "multiple_fields_uniqueness")
    assert (failure["rows"], failure["examples"]) == (2, "3, 19")


def test_a_personal_value_is_hidden(path: Path) -> None:
    SCHEMA_YAML.write_text("columns: {a: {personal: true}, b: {}}\n")
    (failure,) = find_duplicate_failures(path, ["a", "b"]).to_dict("records")
    assert failure["values"] == "{'a': ['(personal)'], 'b': [3]}"


def test_different_rows_are_no_failure(path: Path) -> None:
    assert duplicate_hashes(path, ["a", "c"]).size == 0
    assert find_duplicate_failures(path, ["a", "c"]).empty


def test_different_rows_with_one_hash_are_no_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.util, "hash_pandas_object", lambda frame, index: pd.Series(1, frame.index, dtype="uint64"))
    assert find_duplicate_failures(path, ["c"]).empty
