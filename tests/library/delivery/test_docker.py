import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import UserError
from modelyard.core.params import DeployParams
from modelyard.delivery import docker


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], Any]]:
    found = list[tuple[tuple[str, ...], Any]]()
    monkeypatch.setattr(docker, "run_docker", lambda *arguments, text=None, **_: found.append((arguments, text)))
    return found


def test_log_in_takes_the_password_from_standard_input(said: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_USER", "robot")
    monkeypatch.setenv("REGISTRY_PASSWORD", "hush")
    docker.log_in_to_registry("registry.example.com/team/x")
    (arguments, text) = said[0]
    assert arguments == ("login", "--username", "robot", "--password-stdin", "registry.example.com") and text == "hush"


def test_log_in_without_a_password_is_left_alone(said: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRY_PASSWORD", raising=False)
    docker.log_in_to_registry("registry.example.com/team/x")
    assert not said


def test_without_compose_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'unknown command: docker compose' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install Docker Compose"):
        docker.Environment("staging", DeployParams())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and an environment that is put back."""
    if not shutil.which("ssh-agent"):
        pytest.skip("there is no ssh here")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SSH_AUTH_SOCK", "SSH_AGENT_PID"):
        monkeypatch.setenv(name, "")
    return tmp_path


def test_hold_key_holds_the_key_in_an_agent_and_in_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deploy", "-f", home / "key"], check=True)
    monkeypatch.setenv("SSH_KEY", (home / "key").read_text())
    monkeypatch.setenv("KNOWN_HOSTS", "example.com ssh-ed25519 AAAA")
    docker.load_ssh_key()
    listed = subprocess.run(["ssh-add", "-l"], check=True, capture_output=True, text=True).stdout
    assert "deploy" in listed and "SSH_KEY" not in os.environ
    assert [path.name for path in (home / ".ssh").iterdir()] == ["known_hosts"]


def test_hold_key_refuses_what_is_no_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()
    monkeypatch.setenv("SSH_KEY", "hush")
    with pytest.raises(UserError, match="no private key"):
        docker.load_ssh_key()
