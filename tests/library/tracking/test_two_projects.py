"""Two projects on one MLflow server never meet."""

import contextlib
import shutil
import sys
from pathlib import Path

import mlflow
import pytest

from modelyard.core.files import sha256
from modelyard.core.paths import DVC_LOCK, MODEL_FILE
from modelyard.tracking import migrate, registry, store

NAMES = ("flights", "hotels")


@pytest.fixture
def projects(piped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of two projects with the same data, code, model and dvc.lock, whose server is one."""
    for name in NAMES:
        shutil.copytree(piped, tmp_path / name)
        pyproject = tmp_path / name / "pyproject.toml"
        pyproject.write_text(pyproject.read_text().replace("flight-delays", name))
        (tmp_path / name / DVC_LOCK).write_text("stages: {}\n")
    empty = Path(sys.prefix, f"mlflow-{mlflow.__version__}.db")
    if empty.exists():  # else MLflow makes the server's tables, which takes seconds
        shutil.copyfile(empty, tmp_path / "server.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/server.db")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    return tmp_path


def record(name: str) -> str:
    """Record a project's run on the server, and return its id."""
    with contextlib.chdir(name):
        store.main()
        return store.find_recorded_run(sha256(DVC_LOCK))


def test_equal_runs_of_two_projects_are_two_runs(projects: Path) -> None:
    runs = [record(name) for name in NAMES]
    assert len(set(runs)) == 2
    client = mlflow.MlflowClient()
    for name, run in zip(NAMES, runs, strict=True):
        experiment = client.get_experiment_by_name(name)
        assert [found.info.run_id for found in client.search_runs([experiment.experiment_id])] == [run]


def test_aliases_of_two_projects_are_their_own(projects: Path) -> None:
    for name in NAMES:
        record(name)
    digest = sha256(projects / "flights" / MODEL_FILE)
    with contextlib.chdir("flights"):
        assert registry.sync_aliases("production", {"champion": digest}, {}) == []
        assert registry.get_mlflow_digests("production")["champion"] == digest
    with contextlib.chdir("hotels"):
        assert registry.get_mlflow_digests("production")["champion"] is None


def test_moved_runs_of_two_projects_stay_apart(
    projects: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = f"sqlite:///{projects}/server.db"
    for name in NAMES:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
        record(name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        with contextlib.chdir(name):
            migrate.main()
    assert capsys.readouterr().out.count("1 runs moved") == 2
    client = mlflow.MlflowClient(server)
    for name in NAMES:
        experiment = client.get_experiment_by_name(name)
        assert len(client.search_runs([experiment.experiment_id])) == 1
