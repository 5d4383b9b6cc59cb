import shutil
import subprocess
from pathlib import Path

import pytest

from modelyard.workspace.library import compute_library_digest, is_library_unchanged, read_recorded_digest

COMMAND = "git ls-files . ':!.brought' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library of three files with its recorded digest."""
    folder = tmp_path / "library"
    (folder / "src").mkdir(parents=True)
    (folder / "src/b.py").write_text("b = 1\n", encoding="utf-8")
    (folder / "src/a.py").write_text("a = 1\n", encoding="utf-8")
    (folder / "project.mk").write_text("next:\n", encoding="utf-8")
    (folder / ".brought").write_text(compute_library_digest(folder) + "\n", encoding="utf-8")
    return folder


def test_digest_is_that_of_the_command_in_the_readme(library: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=library, check=True)
    subprocess.run(["git", "add", "."], cwd=library, check=True)
    shown = subprocess.run(["sh", "-c", COMMAND], cwd=library, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(library / ".git")
    assert shown.split()[0] == compute_library_digest(library)


def test_a_library_as_it_was_brought_is_unchanged(library: Path) -> None:
    assert is_library_unchanged(library)


@pytest.mark.parametrize("cache", ["src/__pycache__/a.pyc", "src/.mypy_cache/x/y", "m.egg-info/PKG", ".hypothesis/a"])
def test_caches_do_not_count(library: Path, cache: str) -> None:
    (library / cache).parent.mkdir(parents=True)
    (library / cache).touch()
    assert is_library_unchanged(library)


def test_an_edited_file_is_a_change(library: Path) -> None:
    (library / "src/a.py").write_text("a = 2\n", encoding="utf-8")
    assert not is_library_unchanged(library)


def test_a_new_name_is_a_change(library: Path) -> None:
    (library / "src/a.py").rename(library / "src/c.py")
    assert not is_library_unchanged(library)


def test_a_library_without_a_recorded_digest_has_none(library: Path) -> None:
    (library / ".brought").unlink()
    assert read_recorded_digest(library) == ""
    assert not is_library_unchanged(library)
