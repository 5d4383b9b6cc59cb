"""A .python-version that names a program, or holds a command."""

import os
import subprocess
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidFileError
from modelyard.delivery.image import read_python_version
from tests.library.support import LIBRARY

MAKEFILE = "include packages/modelyard/project.mk\n"
HOSTILE = ["3.11; touch canary", "$(touch canary)", "`touch canary`", "./planted", '3.11" && touch canary "']
HOSTILE += ["3.11\n3.12", ""]
PLANTED = "#!/bin/sh\ntouch canary\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the verbs of a project, and a program that leaves a canary when it is started."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/modelyard").symlink_to(LIBRARY)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "requirements").mkdir()
    for name in ("pyproject.toml", "requirements/dev.txt"):
        (tmp_path / name).touch()
    (tmp_path / "planted").write_text(PLANTED)
    (tmp_path / "planted").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("version", HOSTILE)
@pytest.mark.parametrize("verb", ["install", "scan", "pipeline"])
def test_make_refuses_it_with_one_sentence_and_starts_nothing(here: Path, version: str, verb: str) -> None:
    (here / ".python-version").write_text(f"{version}\n")
    done = subprocess.run(["make", verb], env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode and "error: .python-version" in done.stderr
    assert "installing" not in done.stdout and not (here / "canary").exists()


@pytest.mark.parametrize("version", HOSTILE)
def test_an_image_is_not_built_from_it(here: Path, version: str) -> None:
    (here / ".python-version").write_text(f"{version}\n")
    with pytest.raises(InvalidFileError, match="digits and dots"):
        read_python_version()


def test_a_version_is_taken(here: Path) -> None:
    (here / ".python-version").write_text("3.12\n")
    assert read_python_version() == "3.12"
