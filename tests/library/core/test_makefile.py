import os
import subprocess
from pathlib import Path

import pytest

from tests.library.support import LIBRARY

PINNED = ".uv/bin/uv"


def run_make(folder: Path, recipe: str, **env: str) -> str:
    """Return what a verb prints in a folder with the library's verbs and this one."""
    (folder / "packages").mkdir(parents=True)
    (folder / "packages/modelyard").symlink_to(LIBRARY)
    (folder / "pyproject.toml").touch()
    (folder / "Makefile").write_text(f"include packages/modelyard/project.mk\nverb:\n\t{recipe}\n")
    command = ["make", "--no-print-directory", "verb"]
    done = subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("version", ["0.8.22", "0.9.0", "0.13.9", "1.0.0"])
def test_a_uv_that_cannot_build_offline_is_not_taken(tmp_path: Path, version: str) -> None:
    uv = tmp_path / "bin/uv"
    uv.parent.mkdir()
    uv.write_text(f"#!/bin/sh\necho 'uv {version} (x86_64)'\n")
    uv.chmod(0o755)
    found = run_make(tmp_path / "project", "@echo '$(UV)'", PATH=f"{uv.parent}:{os.defpath}")
    assert found == (str(uv) if version in ("0.9.0", "0.13.9") else PINNED)


@pytest.mark.parametrize("home", [None, "missing", "with-a-file"])
def test_caches_lie_in_the_project_where_no_home_takes_them(tmp_path: Path, home: str | None) -> None:
    (tmp_path / "with-a-file").mkdir()
    (tmp_path / "with-a-file/.cache").touch()
    env = {"HOME": str(tmp_path / home)} if home else {}
    found = run_make(tmp_path / "project", '@echo "$$XDG_CACHE_HOME"', PATH=os.defpath, **env)
    assert found == str(tmp_path / "project/.dvc/tmp/own/cache")
    assert not (tmp_path / "missing").exists()


def test_caches_lie_in_a_home_that_takes_them(tmp_path: Path) -> None:
    assert run_make(tmp_path / "project", '@echo "$$XDG_CACHE_HOME"', PATH=os.defpath, HOME=str(tmp_path)) == ""


def test_dvcs_pickles_lie_in_the_project_and_for_nobody_else(tmp_path: Path) -> None:
    found = Path(run_make(tmp_path / "project", '@echo "$$DVC_SITE_CACHE_DIR"', PATH=os.defpath))
    assert found == tmp_path / "project/.dvc/tmp/own"
    assert not found.stat().st_mode & 0o077


def test_a_committed_link_in_a_folder_that_is_written_to_starts_nothing(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "candidate/reports").mkdir(parents=True)
    (project / "candidate/reports/plots").symlink_to("../../packages")
    for words in ("init --quiet", "add --all"):
        subprocess.run(["git", *words.split()], cwd=project, check=True)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_make(project, "@echo started", PATH=os.environ["PATH"])
    assert "git has a link in" in caught.value.stderr
