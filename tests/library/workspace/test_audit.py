"""`make scan` is green only where every pin was audited; pip-audit's answers are recorded ones."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.library.support import LIBRARY

CLEAN = {"name": "pandas", "version": "3", "vulns": []}
SKIPPED = [
    {"name": name, "skip_reason": f"Dependency not found on PyPI and could not be audited: {name}"}
    for name in ("numpy", "dvc")
]
FOUND = {"name": "numpy", "version": "1", "vulns": [{"id": "CVE-2026-0000", "fix_versions": ["2"]}]}


def audit(folder: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """Run the audit where pip-audit does so."""
    tool = folder / ".scan/bin/pip-audit"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\n{answer}")
    tool.chmod(0o755)
    command = [sys.executable, str(LIBRARY / "audit.py")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def audit_pins(folder: Path, pins: list[dict[str, Any]], status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the audit where pip-audit says this of the pins."""
    return audit(folder, f"echo '{json.dumps({'dependencies': pins, 'fixes': []})}'; exit {status}\n")


def test_pins_without_a_finding_pass(tmp_path: Path) -> None:
    assert audit_pins(tmp_path, [CLEAN]).returncode == 0


def test_pins_that_could_not_be_audited_are_counted_and_fail(tmp_path: Path) -> None:
    done = audit_pins(tmp_path, [CLEAN, *SKIPPED])
    assert done.returncode == 2
    assert "error: 2 of 3 pins in requirements/dev.txt could not be audited" in done.stderr
    assert "numpy: Dependency not found" in done.stdout


@pytest.mark.parametrize("pins", [[], [{"name": "pandas", "version": "3", "why_not": "a newer pip-audit's word"}]])
def test_another_format_of_pip_audit_does_not_look_clean(tmp_path: Path, pins: list[dict[str, Any]]) -> None:
    assert audit_pins(tmp_path, pins).returncode == 2


def test_no_word_of_pip_audit_does_not_look_clean(tmp_path: Path) -> None:
    assert audit(tmp_path, "echo 'No known vulnerabilities found' >&2\n").returncode == 2


def test_no_advisory_server_is_one_sentence(tmp_path: Path) -> None:
    done = audit(tmp_path, "echo Traceback >&2; echo 'ConnectionError: refused' >&2; exit 1\n")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "unreadable: ConnectionError" in done.stderr


@pytest.mark.parametrize("rest", [[], SKIPPED])
def test_known_vulnerability_is_exit_code_one(tmp_path: Path, rest: list[dict[str, Any]]) -> None:
    done = audit_pins(tmp_path, [FOUND, *rest], status=1)
    assert done.returncode == 1 and "known vulnerability" in done.stderr
    assert "numpy 1: CVE-2026-0000, fixed in 2\n" in done.stdout
