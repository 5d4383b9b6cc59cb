import shutil
import socket
from pathlib import Path

import pytest

from modelyard.core.errors import MissingFileError
from modelyard.core.files import sha256
from modelyard.core.paths import DVC_LOCK
from modelyard.core.project import PYPROJECT_TOML
from modelyard.tracking import store


@pytest.fixture(autouse=True)
def folder(small_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a folder with spaces"
    shutil.copytree(small_project, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def write_stamp(text: str) -> None:
    store.STAMP_FILE.parent.mkdir(exist_ok=True)
    store.STAMP_FILE.write_text(text)


def test_main_without_a_lock_says_what_to_do() -> None:
    with pytest.raises(MissingFileError, match="make pipeline") as failure:
        store.main()
    assert failure.value.path == DVC_LOCK


def test_main_with_a_stamp_opens_no_store() -> None:
    DVC_LOCK.write_text("stages: {}\n")
    write_stamp(f"{store.get_tracking_uri()} {sha256(DVC_LOCK)} run\n")
    assert store.main() == 0
    assert not store.STORE_FILE.exists()


def test_find_recorded_run_reads_the_stamp() -> None:
    assert store.find_recorded_run("lock") == ""
    write_stamp(f"{store.get_tracking_uri()} lock run\n")
    assert store.find_recorded_run("lock") == "run"
    assert store.find_recorded_run("another lock") == ""


@pytest.mark.parametrize("text", ["", "sqlite:///half"])
def test_a_stamp_that_was_not_written_whole_is_none(text: str) -> None:
    write_stamp(text)
    assert store.read_stamp() is None


def test_a_project_that_cannot_be_read_is_not_blamed_on_the_store() -> None:
    PYPROJECT_TOML.unlink()
    with pytest.raises(MissingFileError) as failure:
        store.get_mlflow_client()
    assert failure.value.path == PYPROJECT_TOML


def test_find_recorded_run_ignores_the_stamp_of_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    write_stamp(f"{store.get_tracking_uri()} lock run\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert store.find_recorded_run("lock") == ""


def test_client_refuses_a_store_that_does_not_open() -> None:
    store.STORE_FOLDER.mkdir()
    store.STORE_FILE.write_bytes(b"SQLite format 3\x00 not really")
    with pytest.raises(store.TrackingStoreError, match="mlflow db upgrade") as failure:
        store.get_mlflow_client()
    assert failure.value.address == store.get_local_store_uri()


def test_display_uri_hides_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    who = "admin:word"  # else it would look like a secret
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{who}@host:5000/path")
    assert store.get_display_uri() == "http://host:5000/path"
    assert store.hide_password(f"no answer from http://{who}@host:5000 now") == "no answer from http://host:5000 now"


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking server at an address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")


@pytest.mark.usefixtures("project", "silent_server")
def test_main_refuses_a_server_that_does_not_answer_before_mlflow_tries_for_minutes() -> None:
    Path("dvc.lock").write_text("stages: {}\n")
    with pytest.raises(store.TrackingStoreError, match="refused"):
        store.main()


@pytest.mark.usefixtures("project", "silent_server")
def test_the_pipeline_stands_without_a_server_and_is_recorded_later(capsys: pytest.CaptureFixture[str]) -> None:
    Path("dvc.lock").write_text("stages: {}\n")
    assert store.main(later=True) == 0
    assert "`make track` records it" in capsys.readouterr().err
    assert store.read_stamp() is None
