import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard.core import process
from modelyard.core.errors import MissingToolError, ToolError

PRINT_ENVIRONMENT = (sys.executable, "-c", "import os; print(sorted(os.environ))")


class FakeRunner:
    """A runner that keeps what it is asked to run, and gives one result."""

    def __init__(self, code: int = 0, out: str = "", err: str = "") -> None:
        self.calls: list[tuple[list[str], dict[str, Any]]] = []
        self.result = code, out, err

    def __call__(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append((command, options))
        return subprocess.CompletedProcess(command, *self.result)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, as the current folder."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    process.run_git("init", "--quiet", "--initial-branch", "main")
    process.run_git("config", "user.name", "a")
    process.run_git("config", "user.email", "a@example.org")
    Path("ä").write_text("1\n", encoding="utf-8")
    process.run_git("add", "--all")
    process.run_git("commit", "--quiet", "--message", "first")
    return folder


def test_run_git_fails_with_the_last_line_of_git() -> None:
    with pytest.raises(ToolError, match="git rev-parse: ") as refusal:
        process.run_git("rev-parse", "--verify", "nothing")
    assert refusal.value.tool == "git rev-parse"


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("name", sorted(process.REPOSITORY_VARIABLES - {"GIT_DIFF_OPTS", "GIT_LITERAL_PATHSPECS"}))
def test_run_git_in_a_hook_looks_at_the_current_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = process.run_git("diff", "HEAD"), process.run_git("status", "--porcelain")
    monkeypatch.setenv(name, "/nonexistent")
    assert (process.run_git("diff", "HEAD"), process.run_git("status", "--porcelain")) == before


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("diff.external", "false"),
        ("color.ui", "always"),
        ("color.diff", "always"),
        ("log.showSignature", "true"),
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("core.quotepath", "true"),
    ],
)
def test_run_git_prints_the_same_under_any_settings(setting: str, value: str) -> None:
    Path("ä").write_text("2\n", encoding="utf-8")
    commands = (("diff",), ("diff", "--name-only"), ("log", "--format=%s"), ("show", "--name-only", "--format="))
    before = [process.run_git(*command) for command in commands]
    assert before[1:] == ["ä", "first", "ä"]
    process.run_git("config", setting, value)
    assert [process.run_git(*command) for command in commands] == before


def test_run_git_speaks_english() -> None:
    runner = FakeRunner()
    with process.use_runner(runner):
        process.run_git("status")
    (_, options), *_ = runner.calls
    assert options["env"]["LC_ALL"] == "C"


def test_run_git_may_have_variables_of_its_own(repository: Path) -> None:
    assert process.run_git("rev-parse", "--git-dir", env={"GIT_DIR": str(repository / ".git")}).endswith(".git")


def test_read_git_bytes_are_those_of_the_object() -> None:
    assert process.read_git_bytes("hash-object", "--stdin", stdin=b"\xff\n").strip().hex()
    with pytest.raises(ToolError, match="git cat-file"):
        process.read_git_bytes("cat-file", "blob", "HEAD:./nothing")


def test_run_process_keeps_the_language_and_drops_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    names = process.run_process(PRINT_ENVIRONMENT, env={"OWN": "1"}).stdout
    assert "'GIT_DIR'" not in names and "'LC_ALL'" in names and "'OWN'" in names


@pytest.mark.parametrize("language", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_run_process_reads_utf8_in_any_language(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", language)
    code = "import sys; sys.stdout.buffer.write('ä\\xff'.encode() + b'\\xff')"
    assert process.run_process([sys.executable, "-c", code]).stdout == "äÿ\ufffd"


def test_run_process_gives_text_to_the_program() -> None:
    code = "print(input().upper())"
    assert process.run_process([sys.executable, "-c", code], text="ä\n", env={"PYTHONUTF8": "1"}).stdout == "Ä\n"


def test_run_process_names_a_program_that_is_missing() -> None:
    with pytest.raises(MissingToolError) as refusal:
        process.run_process(["no-such-program"])
    assert refusal.value.tool == "no-such-program"


def test_run_process_in_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        process.run_process([sys.executable, "--version"], cwd=tmp_path / "none")


def test_use_runner_holds_for_its_block() -> None:
    runner = FakeRunner(out="store\n")
    with process.use_runner(runner):
        assert process.get_default_remote() == "store"
    assert [command for command, _ in runner.calls] == [[*process.DVC_COMMAND, "config", "core.remote"]]
    assert process.run_process([sys.executable, "-c", "print(1)"]).stdout == "1\n"


def test_add_to_dvc_gives_the_file_back_to_git_when_dvc_refuses() -> None:
    runner = FakeRunner(1, err="ERROR: no space")
    with process.use_runner(runner), pytest.raises(ToolError, match="no space"):
        process.add_to_dvc(Path("big"))
    assert "reset" in runner.calls[-1][0]


@pytest.mark.parametrize("command", [("no-such-program",), (sys.executable, "-c", "raise SystemExit(1)")])
def test_try_command_that_fails_is_none(command: tuple[str, ...]) -> None:
    assert process.try_command(*command) is None


def test_try_command_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PROBE_SECONDS", 0.1)
    assert process.try_command(sys.executable, "-c", "import time; time.sleep(60)") is None


def test_try_command_never_asks_for_a_password() -> None:
    assert process.try_command(sys.executable, "-c", "import os; print(os.environ['GIT_TERMINAL_PROMPT'])") == "0"
    assert "GIT_TERMINAL_PROMPT" not in os.environ


@pytest.mark.parametrize(
    ("output", "last"),
    [
        ("ERROR: failed\nERROR: no such bucket\n\nHaving any troubles? https://error.dvc.org", "no such bucket"),
        ("fatal: not a tree\nmake: *** [Makefile:9: lock] Error 2\n", "not a tree"),
        ("ERROR: failed to transfer 'ab12' - no such place\nERROR: 9 files failed to upload", "no such place"),
        ("", "it failed without a message"),
    ],
)
def test_last_error_line_is_the_reason(output: str, last: str) -> None:
    assert process.last_error_line(output) == last
