import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.library.support import LIBRARY


def test_an_older_python_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    with pytest.raises(SystemExit, match=r"^error: python3 is Python 3\.10, .* run `make install`"):
        runpy.run_module("modelyard", run_name="__main__")


def test_files_of_the_current_folder_stand_in_for_no_installed_module(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "src").mkdir()
    for name in ("colorsys.py", "argparse.py", "src/colorsys.py", "src/argparse.py"):
        (tmp_path / name).write_text(f"open({str(canary)!r}, 'w')\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(LIBRARY / "src"), "src"])}
    subprocess.run([sys.executable, "-m", "modelyard", "--version"], cwd=tmp_path, env=env, check=True)
    assert not canary.exists()
