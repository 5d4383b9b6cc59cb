import subprocess

import pytest

from modelyard.core.errors import UserError
from modelyard.workspace import push
from modelyard.workspace.push import main


def answer(monkeypatch: pytest.MonkeyPatch, remote: str, code: int, out: str = "", err: str = "") -> None:
    """Let there be a remote, and DVC give one answer."""
    monkeypatch.setattr(push, "get_default_remote", lambda: remote)
    monkeypatch.setattr(push, "run_dvc", lambda *words: subprocess.CompletedProcess(words, code, out, err))


def test_main_without_a_remote_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer(monkeypatch, "", 1)
    assert main() == 0
    assert "no remote" in capsys.readouterr().out


def test_main_says_what_was_brought(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer(monkeypatch, "store", 0, out="4 files pushed")
    assert main() == 0
    assert "4 files pushed to store" in capsys.readouterr().out


def test_main_fails_when_the_remote_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "store", 1, err="ERROR: access denied")
    with pytest.raises(UserError, match=r"access denied.*rights"):
        main()
