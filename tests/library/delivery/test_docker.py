import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import MissingToolError, SettingError
from modelyard.core.params import DeployParams
from modelyard.delivery import docker


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], Any]]:
    found = list[tuple[tuple[str, ...], Any]]()
    monkeypatch.setattr(docker, "run_docker", lambda *arguments, text=None, **_: found.append((arguments, text)))
    return found


def test_log_in_passes_the_password_by_standard_input(commands: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_USER", "robot")
    monkeypatch.setenv("REGISTRY_PASSWORD", "hush")
    docker.log_in_to_registry("registry.example.com/team/x")
    (arguments, text) = commands[0]
    assert arguments == ("login", "--username", "robot", "--password-stdin", "registry.example.com") and text == "hush"


def test_log_in_without_a_password_runs_nothing(commands: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRY_PASSWORD", raising=False)
    docker.log_in_to_registry("registry.example.com/team/x")
    assert not commands


def test_environment_without_compose_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'unknown command: docker compose' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="install Docker Compose"):
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


def test_load_ssh_key_keeps_the_key_in_an_agent_and_in_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deploy", "-f", home / "key"], check=True)
    monkeypatch.setenv("SSH_KEY", (home / "key").read_text())
    monkeypatch.setenv("KNOWN_HOSTS", "example.com ssh-ed25519 AAAA")
    docker.load_ssh_key()
    listed = subprocess.run(["ssh-add", "-l"], check=True, capture_output=True, text=True).stdout
    assert "deploy" in listed and "SSH_KEY" not in os.environ
    assert [path.name for path in (home / ".ssh").iterdir()] == ["known_hosts"]


def test_load_ssh_key_refuses_another_text(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()
    monkeypatch.setenv("SSH_KEY", "hush")
    with pytest.raises(SettingError) as failure:
        docker.load_ssh_key()
    assert failure.value.setting == "SSH_KEY"


def test_run_docker_without_docker_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="install Docker"):
        docker.run_docker("info")


def test_run_docker_keeps_the_last_line_of_a_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho one >&2\necho 'no space left' >&2\nexit 3\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(docker.DockerError) as failure:
        docker.run_docker("build", ".")
    assert failure.value.problem == "no space left"
