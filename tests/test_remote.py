"""`make remote` on real stores: what a clone then needs comes from there, and nothing runs again."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BakedProject, free_port, run

pytestmark = pytest.mark.slow

MOTO = "moto[server]==5.2.5"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def project(trained: BakedProject, tmp_path: Path) -> BakedProject:
    return trained.copied(tmp_path)


def clone(project: BakedProject, folder: Path) -> BakedProject:
    run("git", "clone", "--quiet", project.path, folder / "clone", cwd=folder)
    return BakedProject(folder / "clone")


def test_a_clone_gets_everything_from_a_folder_and_runs_nothing(
    project: BakedProject, environment: Path, tmp_path: Path
) -> None:
    where = {"VENV": str(environment), "URL": str(tmp_path / "store")}
    assert "data/raw/flights.parquet left git" in project.make("remote", **where)
    project.commit()
    assert "holds what dvc.lock names" in project.make("remote", **where)
    assert project.run("git", "status", "--porcelain") == ""
    copy = clone(project, tmp_path)
    assert not copy.has("data/raw/flights.parquet")
    said = copy.make("pull", "pipeline", VENV=str(environment), TRACK="0")
    assert "Data and pipelines are up to date." in said and "Running stage" not in said


def test_a_folder_that_cannot_be_written_changes_nothing(
    project: BakedProject, environment: Path
) -> None:
    said = project.run("make", "remote", f"VENV={environment}", "URL=/proc/nowhere", check=False)
    assert "error: dvc push:" in said and "/proc/nowhere" in said
    assert project.run("git", "status", "--porcelain") == ""


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server with one empty bucket."""
    run("uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "moto", cwd=tmp_path)
    python = tmp_path / "moto/bin/python"
    run("uv", "pip", "install", "--quiet", "--python", python, MOTO, cwd=tmp_path)
    port = str(free_port())
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    address = f"http://127.0.0.1:{port}"
    make = (
        f"import boto3; boto3.client('s3', endpoint_url='{address}').create_bucket(Bucket='data')"
    )
    with subprocess.Popen([python.with_name("moto_server"), "-p", port], stderr=-3) as server:
        end = time.monotonic() + 60
        while subprocess.run([python, "-c", make], capture_output=True, check=False).returncode:
            assert time.monotonic() < end
            time.sleep(0.5)
        yield address
        server.terminate()


def test_a_bucket_gets_its_plugin_and_a_clone_gets_everything(
    project: BakedProject, s3: str, tmp_path: Path
) -> None:
    venv = str(tmp_path / "venv")
    wrong = ("make", "remote", f"VENV={venv}", "URL=s3://none/here", f"ENDPOINT={s3}")
    said = project.run(*wrong, check=False)
    assert "error: dvc push:" in said and "bucket" in said.splitlines()[-2]
    said = project.make("remote", VENV=venv, URL="s3://data/flights", ENDPOINT=s3)
    assert "AWS_READ_ROLE" in said
    assert "dvc-s3" in project.read("pyproject.toml") and "dvc-s3==" in project.read(
        "requirements/dev.txt"
    )
    project.make("pipeline", "push", VENV=venv, TRACK="0")  # where the plugin moved a pin
    project.commit()
    copy = clone(project, tmp_path)
    said = copy.make("pull", "pipeline", VENV=venv, TRACK="0")
    assert "Data and pipelines are up to date." in said and "Running stage" not in said
