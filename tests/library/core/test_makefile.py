import os
import subprocess
from pathlib import Path

import pytest

from tests.library.support import LIBRARY

PINNED = ".uv/bin/uv"


@pytest.mark.parametrize("version", ["0.8.22", "0.9.0", "0.13.9", "1.0.0"])
def test_a_uv_that_cannot_build_offline_is_not_taken(tmp_path: Path, version: str) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/modelyard").symlink_to(LIBRARY)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "Makefile").write_text("include packages/modelyard/project.mk\nuv:\n\t@echo '$(UV)'\n")
    uv = tmp_path / "bin/uv"
    uv.parent.mkdir()
    uv.write_text(f"#!/bin/sh\necho 'uv {version} (x86_64)'\n")
    uv.chmod(0o755)
    env = {"PATH": f"{uv.parent}:{os.defpath}"}
    command = ["make", "--no-print-directory", "uv"]
    done = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == (str(uv) if version in ("0.9.0", "0.13.9") else PINNED)
