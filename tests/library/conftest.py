"""A small project, its rows made from the schema, and its pipeline run once for all tests."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from modelyard.core.params import Params, load_params
from modelyard.core.process import run_git
from modelyard.core.yaml import read_yaml
from modelyard.inference.bundle import BUNDLE_JSON, RUNTIME_FILES, ModelBundle
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.pipeline import evaluate, split, train, validate
from modelyard.testing.rows import DEFAULT_ROWS, make_rows, parse_checks
from tests.library import recorded as recording
from tests.library.support import PROJECT, TEMPLATE, Key

FILES = ("schema.yaml", "dvc.yaml", "deploy", "requirements/dev.txt", "requirements/serve.txt")


def make_project(folder: Path) -> Path:
    """Fill a folder with the small project, and with the files that every project has from the template."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (TEMPLATE / name).is_dir() else shutil.copyfile
        copy(TEMPLATE / name, folder / name)
    return folder


@pytest.fixture(autouse=True)
def without_git_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let git know nobody, so that code which leans on the settings of whoever runs it fails."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


@pytest.fixture(autouse=True)
def small_project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project as the current folder, for a test that asks for no other."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("pyproject.toml", "params.yaml"):
        shutil.copyfile(PROJECT / name, folder / name)
    shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("key"))


@pytest.fixture
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's own parameters."""
    return load_params(PROJECT / "params.yaml")


@pytest.fixture(scope="session")
def drawn(params: Params) -> pd.DataFrame:
    """Rows made from the schema, drawn once."""
    schema = read_yaml(TEMPLATE / "schema.yaml")
    classes = parse_checks(schema["columns"][params.data.target]).get("isin", [])
    return make_rows(schema, params, max(DEFAULT_ROWS, 12 * len(classes)))


@pytest.fixture
def frame(drawn: pd.DataFrame) -> pd.DataFrame:
    """Rows made from the schema, for one test, which may change them."""
    return drawn.copy()


@pytest.fixture(scope="session")
def piped(drawn: pd.DataFrame, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project with its pipeline run once, for the session."""
    folder = make_project(tmp_path_factory.mktemp("piped"))
    (folder / params.data.path).parent.mkdir(parents=True, exist_ok=True)
    drawn.to_parquet(folder / params.data.path, index=False)
    with contextlib.chdir(folder):
        for stage in (validate, split, train, evaluate):
            stage.main()
    return folder


@pytest.fixture
def project(piped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that project, for one test, as the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(piped, folder)
    monkeypatch.chdir(folder)
    yield folder


@pytest.fixture(scope="session")
def recorded(piped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That project in a repository of its own, with the dvc.lock that DVC wrote, and promoted to production."""
    folder = tmp_path_factory.mktemp("recorded") / "project"
    recording.copy_project(piped, folder)
    run_git("init", "--quiet", cwd=folder)
    recording.record(folder)
    return folder


@pytest.fixture
def here(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, for one test, as the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(recorded, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="session")
def bundle_files(piped: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that `make compile` writes for the small project, made once for the session."""
    folder = tmp_path_factory.mktemp("compiled") / "project"
    shutil.copytree(piped, folder)
    with contextlib.chdir(folder):
        load_or_build_bundle(params)
        return {str(path): path.read_bytes() for path in (BUNDLE_JSON, RUNTIME_FILES["compiled"])}


@pytest.fixture
def bundle(project: Path, params: Params, bundle_files: dict[str, bytes]) -> ModelBundle:
    """The model bundle of the project in the current folder."""
    for name, content in bundle_files.items():
        (project / name).write_bytes(content)
    return load_or_build_bundle(params)
