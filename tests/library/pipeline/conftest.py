"""A small project that is a repository, with its pipeline run by DVC."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from modelyard.core.process import run_dvc, run_git
from tests.library.support import LIBRARY


@pytest.fixture
def committed(project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The commit of a small project whose pipeline DVC ran; its folder is the current one."""
    shutil.copytree(LIBRARY, project / "packages/modelyard", ignore=shutil.ignore_patterns("__pycache__"))
    Path(".gitignore").write_text("/models/\n/data/*.parquet\n/reports/*\n__pycache__/\n")
    Path(".dvcignore").write_text("__pycache__\n")
    monkeypatch.setenv("PYTHONPATH", "packages/modelyard/src:src")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    run_git("init", "--quiet")
    run_git("config", "user.name", "a")
    run_git("config", "user.email", "a@example.org")
    run_dvc("init", "--quiet")
    assert run_dvc("repro").returncode == 0
    run_git("add", "--all")
    run_git("commit", "--quiet", "--message", "a model")
    return run_git("rev-parse", "HEAD")
