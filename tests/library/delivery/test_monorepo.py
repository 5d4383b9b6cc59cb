"""Two projects in sub-folders of one git repository: every record is about the project of its own folder."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.core import deployments
from modelyard.core.errors import IntegrityError
from modelyard.core.files import sha256
from modelyard.core.git_objects import read_blob, read_folder_blobs
from modelyard.core.paths import DVC_LOCK, MODEL_FILE
from modelyard.core.process import run_git
from modelyard.delivery import audit, chain, image, promote
from modelyard.provenance import lineage, reproduce
from modelyard.provenance.reproduce import rerun_pipeline
from tests.library import recorded as recording
from tests.library.recorded import save

FEATURES = Path("src/flight_delays/features.py")


@pytest.fixture(scope="module")
def repository(piped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the projects flights/ and hotels/, each with its dvc.lock and a promoted model."""
    top = tmp_path_factory.mktemp("monorepo") / "top"
    top.mkdir()
    run_git("init", "--quiet", cwd=top)
    for name in ("flights", "hotels"):
        recording.copy_project(piped, top / name, name)
        recording.record(top / name)
    return top


@pytest.fixture
def flights(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The first project of a copy of it, as the current folder."""
    shutil.copytree(repository, tmp_path / "top")
    monkeypatch.chdir(tmp_path / "top/flights")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    yield tmp_path / "top/flights"


def change_hotels() -> str:
    """Commit another features.py in the other project, and return the commit."""
    with contextlib.chdir("../hotels"):
        FEATURES.write_text(FEATURES.read_text() + "\n")
        return save("Change hotels")


@pytest.mark.usefixtures("flights")
def test_chain_holds_in_both_projects(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("flights", "hotels"):
        with contextlib.chdir(f"../{name}"):
            assert chain.main(env="production") == 0
            assert chain.main(model=sha256(MODEL_FILE)) == 0
    assert capsys.readouterr().out.count("9 links hold") == 2


@pytest.mark.usefixtures("flights")
def test_change_of_one_project_breaks_the_chain_of_that_one_alone() -> None:
    commit = change_hotels()
    claim = lineage.build_claim(sha256(MODEL_FILE), commit)
    assert lineage.verify_lineage(claim) == list(lineage.LINKS)
    with contextlib.chdir("../hotels"), pytest.raises(IntegrityError) as failure:
        lineage.verify_lineage(lineage.build_claim(sha256(MODEL_FILE), commit))
    assert failure.value.link == "code"


@pytest.mark.usefixtures("flights")
def test_files_at_a_commit_are_those_of_the_own_folder() -> None:
    assert read_blob("HEAD", DVC_LOCK) == DVC_LOCK.read_bytes()
    files = read_folder_blobs("HEAD", "src")
    assert files["flight_delays/features.py"] == FEATURES.read_bytes()
    assert read_blob("HEAD", "flights/dvc.lock") is None


@pytest.mark.usefixtures("flights")
def test_pipeline_has_changed_only_in_the_changed_project() -> None:
    base = run_git("rev-parse", "HEAD")
    change_hotels()
    assert not reproduce.has_pipeline_changed(base)
    with contextlib.chdir("../hotels"):
        assert reproduce.has_pipeline_changed(base)


@pytest.mark.usefixtures("flights")
def test_annotation_names_the_file_from_the_top_of_the_repository(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    reproduce.report_lock_problem("warning", "it is stale")
    assert capsys.readouterr().out == "::warning file=flights/dvc.lock,title=dvc.lock::it is stale\n"


@pytest.mark.usefixtures("flights")
def test_audit_lists_the_changes_of_its_own_project(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir("../hotels"):
        champion = deployments.get_champion("production") | {"model": "f" * 64}
        deployments.write_state("production", deployments.load_state("production") | {"champion": champion})
        save("By hand")
        assert audit.main() == 1
    assert "changes of a champion: 2" in capsys.readouterr().out
    assert audit.main() == 0
    assert "changes of a champion: 1; disagreements: 0" in capsys.readouterr().out


@pytest.mark.usefixtures("flights")
def test_promotion_looks_at_the_own_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "load_verdict", lambda: {"decision": "pass"})
    with Path("../hotels/dvc.lock").open("a") as file:
        file.write("# not committed\n")
    assert promote.load_promotable_verdict() == {"decision": "pass"}
    with contextlib.chdir("../hotels"), pytest.raises(IntegrityError) as failure:
        promote.load_promotable_verdict()
    assert failure.value.link == "dvc.lock"


@pytest.mark.usefixtures("flights")
def test_image_is_new_only_in_the_changed_project() -> None:
    model = sha256(MODEL_FILE)
    for name in ("flights", "hotels"):
        with contextlib.chdir(f"../{name}"):
            champion = deployments.get_champion("production") | {"image": "x@sha256:1"}
            deployments.write_state("production", deployments.load_state("production") | {"champion": champion})
            save("Name the image")
    bundle = make_bundle(model, change_hotels())
    assert image.is_in_production(bundle)
    assert image.build_labels(bundle, "now")["org.opencontainers.image.title"] == "flights"
    with contextlib.chdir("../hotels"):
        assert not image.is_in_production(bundle)


def make_bundle(model: str, commit: str) -> Any:
    """Return what an image says of its model."""
    return SimpleNamespace(model=model, commit=commit, data="", dvc_lock="", verdict="pass", engine="compiled")


@pytest.mark.slow
@pytest.mark.usefixtures("flights")
def test_pipeline_runs_again_in_a_checkout_of_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    lock, metrics = rerun_pipeline()
    assert set(lock["stages"]) == {"validate", "split", "train", "evaluate"}
    assert metrics
