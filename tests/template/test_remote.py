"""`make remote` on real stores: what a clone then needs comes from there, and nothing runs again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.template.stores import STORES, Store
from tests.template.support import ROOT, BakedProject, run

pytestmark = pytest.mark.slow

VENV = str(ROOT / "build/environments/remote")  # one for all: each kind only adds its plugin


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A real store, with one home for data in it."""
    with STORES[request.param](tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture(scope="module")
def project(trained: BakedProject, store: Store, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """A project whose data and models are brought to the store, and committed so."""
    copy = trained.copied(tmp_path_factory.mktemp("brought"))
    assert "data/raw/flights.parquet left git" in remote(copy, store.url, store)
    assert ("account_name = flights" in copy.read(".dvc/config")) is store.url.startswith("azure")
    copy.make("pipeline", "push", VENV=VENV, TRACK="0", **store.may)  # where a plugin moved a pin
    copy.commit()
    return copy


def remote(project: BakedProject, url: str, store: Store, **env: str) -> str:
    """What `make remote` prints, whether it works or not."""
    command = ("make", "--no-print-directory", "remote", f"VENV={VENV}", f"URL={url}")
    return project.run(*command, f"ENDPOINT={store.endpoint}", check=False, **store.may | env)


def test_a_clone_gets_everything_and_runs_nothing(project: BakedProject, store: Store, tmp_path: Path) -> None:
    run("git", "clone", "--quiet", project.path, tmp_path / "clone", cwd=tmp_path)
    copy = BakedProject(tmp_path / "clone")
    assert not copy.has("data/raw/flights.parquet")
    said = copy.make("pull", "pipeline", VENV=VENV, TRACK="0", **store.may)
    assert "Data and pipelines are up to date." in said and "Running stage" not in said
    assert copy.run("git", "status", "--porcelain") == ""


def test_a_second_time_changes_nothing(project: BakedProject, store: Store) -> None:
    assert f"{store.url} holds what dvc.lock names" in remote(project, store.url, store)
    assert project.run("git", "status", "--porcelain") == ""


def test_a_place_that_is_not_there_is_one_sentence(project: BakedProject, store: Store) -> None:
    said = remote(project, store.wrong, store).splitlines()
    assert [line for line in said if "make:" not in line] == [said[0]]
    assert said[0].startswith("error: dvc push: ") and "see that the place is there" in said[0]
    assert project.run("git", "status", "--porcelain") == ""


def test_a_missing_right_is_one_sentence(project: BakedProject, store: Store) -> None:
    if not store.may_not:
        pytest.skip("knows no rights")
    said = remote(project, store.url, store, **store.may_not).splitlines()
    assert [line for line in said if "make:" not in line] == [said[0]]
    assert said[0].startswith("error: dvc push: ") and "you may write" in said[0]
    assert project.run("git", "status", "--porcelain") == ""


def test_a_plugin_that_cannot_be_had_is_one_sentence(trained: BakedProject) -> None:
    broken = {"UV_INDEX_URL": "http://127.0.0.1:9/", "UV_OFFLINE": "1", "UV_CACHE_DIR": "/dev/null"}
    command = ("make", "--no-print-directory", "remote", "URL=s3://data/flights")
    venv = ROOT / "build/environments" / trained.read(".python-version").strip()
    said = trained.run(*command, f"VENV={venv}", check=False, **broken)
    assert "error: dvc-s3>=3 could not be installed (" in said and "(make" not in said
    assert trained.run("git", "status", "--porcelain") == ""
