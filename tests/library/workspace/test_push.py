import subprocess
from collections.abc import Callable

import pytest

from modelyard.core.errors import ToolError
from modelyard.core.process import use_runner
from modelyard.workspace.push import main


def make_dvc(remote: str, code: int = 0, out: str = "", err: str = "") -> Callable[..., object]:
    """Stand in for DVC with a default remote; a push ends like this."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "config" in command:
            return subprocess.CompletedProcess(command, 0, remote, "")
        return subprocess.CompletedProcess(command, code, out, err)

    return run


def test_main_without_a_remote_names_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with use_runner(make_dvc("")):
        assert main() == 0
    assert "make remote" in capsys.readouterr().out


def test_main_prints_what_was_pushed(capsys: pytest.CaptureFixture[str]) -> None:
    with use_runner(make_dvc("store", out="4 files pushed")):
        assert main() == 0
    assert "4 files pushed to store" in capsys.readouterr().out


def test_main_fails_when_the_remote_refuses() -> None:
    with use_runner(make_dvc("store", 1, err="ERROR: access denied")), pytest.raises(ToolError) as error:
        main()
    assert "access denied" in error.value.problem and "rights" in error.value.problem
