from pathlib import Path

import pytest

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.paths import DVC_LOCK
from modelyard.tracking import store


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_track_without_a_lock_says_what_to_do() -> None:
    with pytest.raises(UserError, match="make pipeline"):
        store.main()


def test_track_returns_on_its_stamp_without_a_store() -> None:
    DVC_LOCK.write_text("stages: {}\n")
    store.STAMP_FILE.parent.mkdir()
    store.STAMP_FILE.write_text(f"{store.get_tracking_uri()} {sha256(DVC_LOCK)} run\n")
    assert store.main() == 0
    assert not (store.STORE_FOLDER / "mlflow.db").exists()


def test_store_of_another_version_is_one_sentence() -> None:
    store.STORE_FOLDER.mkdir()
    (store.STORE_FOLDER / "mlflow.db").write_bytes(b"SQLite format 3\x00 not really")
    with pytest.raises(UserError, match="does not open"):
        store.get_mlflow_client()


def test_a_servers_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    who = "admin:word"  # else it would look like a secret
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{who}@host:5000/path")
    assert store.get_display_uri() == "http://host:5000/path"
