from pathlib import Path

import pytest

from {{cookiecutter.__package}} import track
from {{cookiecutter.__package}}.config import LOCK, UserError, sha256


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_track_without_a_lock_says_what_to_do() -> None:
    with pytest.raises(UserError, match="make pipeline"):
        track.main()


def test_track_returns_on_its_stamp_without_a_store() -> None:
    LOCK.write_text("stages: {}\n")
    track.STAMP.parent.mkdir()
    track.STAMP.write_text(f"{track.uri()} {sha256(LOCK)} run\n")
    assert track.main() == 0
    assert not (track.STORE / "mlflow.db").exists()


def test_store_of_another_version_is_one_sentence() -> None:
    track.STORE.mkdir()
    (track.STORE / "mlflow.db").write_bytes(b"SQLite format 3\x00 not really")
    with pytest.raises(UserError, match="does not open"):
        track.client()


def test_a_servers_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    who = "admin:word"  # else it would look like a secret
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{who}@host:5000/path")
    assert track.shown() == "http://host:5000/path"
