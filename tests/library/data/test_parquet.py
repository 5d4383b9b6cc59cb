from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.core.errors import InvalidFileError, MissingFileError
from modelyard.data import parquet

TABLE = pd.DataFrame({"whole": [1, 2, 3, 4] * 5, "text": list("abcd") * 5})
GAPS = pa.table({"whole": [1, 2, None, 4] * 5, "text": list("abcd") * 5})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table of 20 rows, with gaps in a column of whole numbers."""
    pq.write_table(GAPS, tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_count_rows(path: Path) -> None:
    assert parquet.count_rows(path) == len(parquet.read_table(path)) == 20


@pytest.mark.parametrize("read", [parquet.count_rows, parquet.read_table])
def test_a_table_that_is_missing(read: object, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError) as refusal:
        read(tmp_path / "none.parquet")  # type: ignore[operator]
    assert refusal.value.path == tmp_path / "none.parquet"


def test_a_table_that_is_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidFileError, match="make adopt"):
        parquet.count_rows(tmp_path / "table.parquet")


def test_blocks_together_are_the_whole_table(path: Path) -> None:
    parts = list(parquet.read_blocks(path, whole=16))
    assert [len(part) for part in parts] == [4] * 5
    pd.testing.assert_frame_equal(pd.concat(parts), parquet.read_table(path))


def test_a_small_table_is_one_block(path: Path) -> None:
    (block,) = parquet.read_blocks(path, ["text"])
    assert list(block) == ["text"]


def test_a_writer_adds_rows_and_the_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new.parquet"
    with parquet.open_writer(path) as add:
        add(TABLE[:3])
        add(TABLE[3:])
        assert not path.exists()
    assert parquet.count_rows(path) == 20


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), parquet.open_writer(tmp_path / "new.parquet") as add:
        add(TABLE)
        raise KeyError
    assert list(tmp_path.glob("*.parquet*")) == list(tmp_path.glob(".new*")) == []
