"""`make scan` is green only where every pin was audited; pip-audit's answers are recorded ones."""

import subprocess
from pathlib import Path

import pytest

from tests.library.support import LIBRARY

SKIPPED = """cat <<'END'
Name  Skip Reason
----- ------------------------------------------------------------
numpy Dependency not found on PyPI and could not be audited: numpy
dvc   Dependency not found on PyPI and could not be audited: dvc
END
"""


def audit(folder: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """Run the audit where pip-audit answers so."""
    tool = folder / ".scan/bin/pip-audit"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\n{answer}")
    tool.chmod(0o755)
    (folder / "requirements").mkdir()
    for name in ("dev", "scan", "uv"):
        (folder / f"requirements/{name}.txt").write_text("numpy==1 \\\n    --hash=sha256:0\ndvc==2\npandas==3\n")
    command = ["sh", str(LIBRARY / "audit.sh")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_pins_without_a_finding_pass(tmp_path: Path) -> None:
    assert audit(tmp_path, "echo 'No known vulnerabilities found' >&2\n").returncode == 0


def test_pins_that_could_not_be_audited_are_counted_and_fail(tmp_path: Path) -> None:
    done = audit(tmp_path, SKIPPED)
    assert done.returncode == 2
    assert "error: 2 of 3 pins in requirements/dev.txt could not be audited" in done.stderr


def test_no_advisory_server_is_one_sentence(tmp_path: Path) -> None:
    done = audit(tmp_path, "echo Traceback >&2; echo 'ConnectionError: refused' >&2; exit 1\n")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "unreadable: ConnectionError" in done.stderr


@pytest.mark.parametrize("rest", ["", SKIPPED])
def test_known_vulnerability_is_exit_code_one(tmp_path: Path, rest: str) -> None:
    done = audit(tmp_path, f"echo 'numpy 1 CVE-2026-0000 2'\n{rest}exit 1\n")
    assert done.returncode == 1 and "known vulnerability" in done.stderr
