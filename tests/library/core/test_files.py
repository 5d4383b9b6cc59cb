from pathlib import Path

import numpy as np
import pytest

from modelyard.core import files
from modelyard.core.errors import InvalidFileError, MissingFileError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)


def test_atomic_write_keeps_the_old_file_when_the_block_fails() -> None:
    path = Path("a/b.txt")
    with files.atomic_write(path) as draft:
        draft.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic_write(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(Path("a").iterdir()) == [path]


@pytest.mark.parametrize("set_aside", [False, True])
def test_restore_files_on_error_undoes_changes_and_new_files(set_aside: bool) -> None:
    old, gone, new = Path("old"), Path("gone"), Path("new")
    old.write_text("old")
    gone.write_text("gone")
    with pytest.raises(KeyboardInterrupt), files.restore_files_on_error(old, gone, new, set_aside=set_aside):
        old.write_text("changed")
        gone.unlink(missing_ok=True)
        new.write_text("new")
        raise KeyboardInterrupt
    assert (old.read_text(), gone.read_text()) == ("old", "gone")
    assert sorted(Path().iterdir()) == [gone, old]


def test_restore_files_on_error_keeps_what_a_successful_block_did() -> None:
    Path("old").write_text("old")
    with files.restore_files_on_error(Path("old")):
        Path("old").write_text("changed")
    assert Path("old").read_text() == "changed"


def test_restore_files_on_error_begins_without_files_that_it_sets_aside() -> None:
    Path("old").write_text("old")
    with files.restore_files_on_error(Path("old"), set_aside=True):
        assert not Path("old").exists()
    assert list(Path().iterdir()) == []


def test_write_json_gives_equal_bytes_for_equal_values() -> None:
    files.write_json(Path("a.json"), {"b": 1, "a": [1.5, None]})
    files.write_json(Path("b.json"), {"a": [1.5, None], "b": 1})
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()
    assert files.read_json(Path("a.json")) == {"a": [1.5, None], "b": 1}


def test_write_json_refuses_numbers_that_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(Path("a.json"), float("nan"))
    assert not Path("a.json").exists()


def test_read_json_without_a_file() -> None:
    with pytest.raises(MissingFileError):
        files.read_json(Path("a.json"))


def test_read_json_of_other_text() -> None:
    Path("a.json").write_text("{")
    with pytest.raises(InvalidFileError, match="is not JSON"):
        files.read_json(Path("a.json"))


def test_sha256_and_md5_are_those_of_the_bytes() -> None:
    Path("a").write_bytes(b"")
    assert files.sha256(Path("a")).startswith("e3b0c442")
    assert files.md5(Path("a")) == files.md5(b"") == "d41d8cd98f00b204e9800998ecf8427e"


def test_flatten_mapping_joins_names() -> None:
    nested = {"split": {"seed": 0, "by": {}}, "seed": 1}
    assert files.flatten_mapping(nested) == {"split.seed": 0, "split.by": {}, "seed": 1}


@pytest.mark.parametrize(("name", "value"), [("a.b", 1), ("a", {"b": 1}), ("a.c", None), ("x.y", None)])
def test_get_nested(name: str, value: object) -> None:
    assert files.get_nested({"a": {"b": 1}}, name) == value


def test_replace_nonfinite_gives_numbers_of_json() -> None:
    value = {"a": float("nan"), "b": float("inf"), "c": np.float64(1.5)}
    assert files.replace_nonfinite(value) == {"a": None, "b": None, "c": 1.5}
