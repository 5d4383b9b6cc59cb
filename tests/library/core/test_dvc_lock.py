from pathlib import Path
from typing import Any

import pytest

from modelyard.core import dvc_lock
from modelyard.core.dvc_lock import LockDifference
from modelyard.core.errors import InvalidFileError
from modelyard.core.files import md5
from modelyard.core.paths import DVC_LOCK, MODEL_FILE
from modelyard.core.yaml import dump_yaml


def lock(**changes: Any) -> dict[str, Any]:
    """A dvc.lock with one stage, of which some parts differ."""
    stage = {
        "cmd": "python -m modelyard train",
        "deps": [{"path": "data/train.parquet", "md5": "1"}],
        "params": {"params.yaml": {"seed": 0}},
        "outs": [{"path": str(MODEL_FILE), "md5": "2"}, {"path": "reports/data.json", "md5": "3"}],
    }
    return {"stages": {"train": stage | changes}}


def test_load_lock_without_a_file_is_empty() -> None:
    assert dvc_lock.load_lock() == {}


def test_get_hashes_of_outputs_and_dependencies() -> None:
    assert dvc_lock.get_hashes(lock()) == {str(MODEL_FILE): "2", "reports/data.json": "3"}
    assert dvc_lock.get_hashes(lock(), "deps") == {"data/train.parquet": "1"}


def test_a_model_that_the_lock_does_not_name_is_refused() -> None:
    MODEL_FILE.parent.mkdir()
    MODEL_FILE.write_bytes(b"model")
    dvc_lock.verify_model_matches_lock()
    DVC_LOCK.write_text(dump_yaml(lock(outs=[{"path": str(MODEL_FILE), "md5": md5(b"model")}])))
    dvc_lock.verify_model_matches_lock()
    MODEL_FILE.write_bytes(b"another")
    with pytest.raises(InvalidFileError) as refusal:
        dvc_lock.verify_model_matches_lock()
    assert refusal.value.path == MODEL_FILE


def test_get_cache_path_of_nothing_is_no_file() -> None:
    assert dvc_lock.get_cache_path("abcd") == dvc_lock.DVC_CACHE / "ab/cd"
    assert not dvc_lock.get_cache_path(None).exists()


def test_hash_path_of_a_folder_does_not_count_caches() -> None:
    folder = Path("folder")
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/a.py").write_text("a")
    before = dvc_lock.hash_path(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_text("a")
    assert dvc_lock.hash_path(folder) == before == dvc_lock.hash_folder({"inner/a.py": md5(b"a")})
    assert before.endswith(".dir")


def test_equal_locks_have_no_difference() -> None:
    assert dvc_lock.diff_locks(lock(), lock()) == []


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"cmd": "other"}, LockDifference("train", "cmd")),
        ({"params": {"params.yaml": {"seed": 1}}}, LockDifference("train", "params", "seed")),
        ({"deps": [{"path": "data/train.parquet", "md5": "x"}]}, LockDifference("train", "deps", "data/train.parquet")),
    ],
)
def test_a_difference_names_its_place(changes: dict[str, Any], difference: LockDifference) -> None:
    assert dvc_lock.diff_locks(lock(), lock(**changes)) == [difference]
    assert difference.invalidates_lock


def test_a_stage_of_one_lock_is_one_difference() -> None:
    (difference,) = dvc_lock.diff_locks(lock(), {})
    assert str(difference) == "train stage"


def test_another_model_does_not_invalidate_a_lock() -> None:
    assert not LockDifference("train", "outs", str(MODEL_FILE)).invalidates_lock
    assert LockDifference("train", "outs", "reports/data.json").invalidates_lock


def test_outputs_alone_make_no_lock_stale() -> None:
    changed = lock(outs=[{"path": "reports/data.json", "md5": "x"}])
    assert dvc_lock.find_stale_entries(lock(), changed) == []
    stale = lock(deps=[{"path": "data/train.parquet", "md5": "x"}])
    assert dvc_lock.find_stale_entries(lock(), stale) == [LockDifference("train", "deps", "data/train.parquet")]
