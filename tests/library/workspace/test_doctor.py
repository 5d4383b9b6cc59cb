import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from modelyard.core import console, process
from modelyard.core.process import run_git
from modelyard.workspace import doctor
from modelyard.workspace.library import LIBRARY, compute_library_digest


@pytest.fixture(autouse=True)
def healthy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project in a repository of its own, with nothing set; each test breaks something."""
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "MLFLOW_TRACKING_URI", "MODELYARD_BIND", "MODELYARD_VENV"):
        monkeypatch.delenv(name, raising=False)
    run_git("init", "--quiet", "--initial-branch", "main")
    run_git("config", "user.email", "a@example.org")
    Path("requirements/dev.txt").write_text(f"msgspec=={doctor.importlib.metadata.version('msgspec')} \\\n")
    Path(".cruft.json").write_text('{"commit": "abc"}', encoding="utf-8")
    Path("compose.yaml").touch()
    (LIBRARY / "src/modelyard").mkdir(parents=True)
    (LIBRARY / "src/modelyard/__init__.py").touch()
    (LIBRARY / ".brought").write_text(compute_library_digest() + "\n", encoding="utf-8")


@pytest.fixture
def server() -> Iterator[str]:
    """A server that refuses every token but `good`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # pylint: disable=invalid-name
            self.send_response(200 if self.headers["Authorization"] == "Bearer good" else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def found(state: str, check: Callable[[], Iterable[doctor.Finding]]) -> dict[str, str]:
    """What one check finds in this state, and the command that cures it."""
    return {finding.name: finding.cure for finding in check() if finding.state == state}


def test_nothing_is_broken_in_a_project_as_it_should_be() -> None:
    assert doctor.main() == 0


def test_without_git_it_is_to_be_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found("broken", doctor.check_tools)["git"] == "apt-get install git"


def test_nobody_to_commit_as() -> None:
    run_git("config", "--unset", "user.email")
    assert found("broken", doctor.check_tools)["git's person"].startswith("git config")


def test_a_repository_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    found = {finding.name: finding for finding in doctor.check_tools()}
    assert found["repository"].state == "broken" and "safe.directory" in found["repository"].cure


def test_a_version_that_is_not_the_pinned_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("requirements/dev.txt").write_text("msgspec==0.0.1 \\\n", encoding="utf-8")
    assert found("broken", doctor.check_environment)["environment"] == "rm -r .venv && make install"
    assert doctor.main() == 1
    assert "not 0.0.1" in capsys.readouterr().out


def test_a_library_that_is_missing() -> None:
    shutil.rmtree(LIBRARY)
    assert found("broken", doctor.check_library)["library"] == "git checkout HEAD -- packages/modelyard"


def test_a_library_that_was_changed_is_noted() -> None:
    (LIBRARY / "src/modelyard/__init__.py").write_text("a = 1\n", encoding="utf-8")
    assert found("note", doctor.check_library)["library"].startswith("git log")
    assert doctor.main() == 0


def test_a_library_without_its_digest_is_noted() -> None:
    (LIBRARY / ".brought").unlink()
    assert "library" in found("note", doctor.check_library)


def test_a_package_that_does_not_exist() -> None:
    shutil.rmtree("src")
    assert found("broken", doctor.check_library)["project"] == "git diff pyproject.toml"


@pytest.mark.parametrize("text", ["", "[", '[project]\nname = "a"\n'])
def test_a_pyproject_without_a_package(text: str) -> None:
    Path("pyproject.toml").write_text(text, encoding="utf-8")
    assert found("broken", doctor.check_library)["project"] == "git diff pyproject.toml"


def test_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.metadata, "distributions", list)
    assert found("note", doctor.check_environment)["environment"] == "make install"


def test_parameters_that_do_not_hold() -> None:
    Path("params.yaml").write_text("data: 1\n", encoding="utf-8")
    assert found("broken", doctor.check_settings)["params.yaml"] == "git diff params.yaml"


def test_a_lock_in_conflict() -> None:
    Path("dvc.lock").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    assert found("broken", doctor.check_settings)["dvc.lock"] == "make resolve"


def test_a_template_that_is_not_known() -> None:
    Path(".cruft.json").unlink()
    assert found("note", doctor.check_settings)["template"] == "edit .cruft.json"


def test_a_remote_that_does_not_answer(tmp_path: Path) -> None:
    run_git("remote", "add", "origin", str(tmp_path / "gone"))
    assert found("broken", doctor.check_remotes)["origin"] == "git remote set-url origin ADDRESS"


def test_a_remote_of_data_that_does_not_answer() -> None:
    Path(".dvc").mkdir(exist_ok=True)
    storage = "[core]\n    remote = far\n['remote \"far\"']\n    url = ssh://127.0.0.1/nowhere\n"
    Path(".dvc/config").write_text(storage, encoding="utf-8")
    Path("a.dvc").write_text("outs:\n- md5: 0cc175b9c0f1b6a831c399e269772661\n  path: a\n", encoding="utf-8")
    assert found("broken", doctor.check_remotes)["data's remote"].startswith("make remote")


@pytest.mark.parametrize(("token", "state"), [("good", "ok"), ("bad", "broken")])
def test_a_token_is_checked(token: str, state: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", server)
    monkeypatch.setenv("GITHUB_TOKEN", token)
    assert found(state, doctor.check_tokens)["GitHub's token"] == ("" if state == "ok" else "unset GITHUB_TOKEN")


def test_a_tracking_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert found("broken", doctor.check_tokens)["MLflow"] == "unset MLFLOW_TRACKING_URI"


@pytest.mark.parametrize("lock", [".git/index.lock", ".dvc/tmp/rwlock"])
def test_a_lock_that_a_killed_command_left(lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(lock).parent.mkdir(parents=True, exist_ok=True)
    Path(lock).write_text('{"read": {', encoding="utf-8")
    running = process.try_command
    monkeypatch.setattr(doctor, "try_command", lambda *words: None if words[0] == "pgrep" else running(*words))
    assert found("broken", doctor.check_locks)["lock"] == f"rm {lock}"


def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=1e9))
    assert "dvc gc" in found("broken", doctor.check_machine)["disk"]


def test_a_port_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_BIND", "127.0.0.1:http")
    assert found("broken", doctor.check_machine)["port"] == "make doctor BIND=127.0.0.1:8000"


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        monkeypatch.setenv("MODELYARD_BIND", f"127.0.0.1:{port}")
        assert found("note", doctor.check_machine)["port"] == f"make serve BIND=127.0.0.1:{port + 1}"


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("NO_COLOR", False)])
def test_colours_are_for_terminals(variable: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(doctor.sys.stdout, "isatty", lambda: True)
    if variable:
        monkeypatch.setenv(variable, "1")
    assert ("\x1b[32m" in console.colour_word("ok", 4)) == coloured
