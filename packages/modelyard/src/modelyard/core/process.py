"""Runs other programs, git and DVC among them, in the same way on every machine.

A git hook exports `GIT_DIR` and the like, a user may speak another language or colour everything that git prints: none
of that reaches the programs that run here, so their output can be read.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from modelyard.core.errors import MissingToolError, ToolError

# -P: a module in the current folder never stands in for an installed one.
DVC_COMMAND = (sys.executable, "-P", "-m", "dvc")
PROBE_SECONDS = 30
# Settings of a user that would change what git prints, and the values that we read.
GIT_OPTIONS = (
    *("-c", "log.showSignature=false"),
    *("-c", "core.quotepath=false"),
    *("-c", "color.ui=false", "-c", "color.diff=false", "-c", "color.status=false"),
    *("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c", "diff.relative=false"),
)
DIFF_COMMANDS = ("diff", "log", "show")  # a user's diff.external would speak in their place
# What git tells its hooks about the repository that they run in: a program that runs in a folder must look for itself.
REPOSITORY_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIFF_OPTS",
        "GIT_DIR",
        "GIT_EXTERNAL_DIFF",
        "GIT_INDEX_FILE",
        "GIT_LITERAL_PATHSPECS",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_WORK_TREE",
    }
)

ProcessRunner = Callable[..., subprocess.CompletedProcess[Any]]
_RUNNER: ContextVar[ProcessRunner | None] = ContextVar("runner", default=None)


@contextmanager
def use_runner(runner: ProcessRunner) -> Iterator[None]:
    """Let another function than `subprocess.run` run programs while the block runs, in this thread.

    Parameters
    ----------
    runner
        Called as `subprocess.run` is: with the list of words and keyword arguments.
    """
    token = _RUNNER.set(runner)
    try:
        yield
    finally:
        _RUNNER.reset(token)


def clean_environment() -> dict[str, str]:
    """Return the environment of this process without the variables that name a git repository."""
    return {name: value for name, value in os.environ.items() if name not in REPOSITORY_VARIABLES}


def run_process(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    inherit: bool = True,
    text: str | None = None,
    shown: bool = False,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and return its exit code and what it printed.

    Parameters
    ----------
    command
        The program and its arguments. `git` also gets the settings that its output is read with.
    cwd
        The folder that it runs in; the current one by default.
    env
        Variables that it gets besides the cleaned environment of this process.
    inherit
        Whether it gets that environment.
    text
        What it reads from standard input, which it shares with this process by default.
    shown
        Let it print to the terminal instead of returning its output.
    timeout
        Seconds after which it is killed.

    Raises
    ------
    MissingToolError
        The program is not installed.
    subprocess.TimeoutExpired
        It ran longer than `timeout`.
    """
    options: dict[str, Any] = {"capture_output": not shown, "encoding": "utf-8", "errors": "replace"}
    return _run(command, cwd, env, inherit, input=text, timeout=timeout, **options)


def run_git(*arguments: str, cwd: Path = Path(), env: Mapping[str, str] | None = None) -> str:
    """Return what a git command prints, without white space around it.

    Raises
    ------
    MissingToolError
        Git is not installed.
    ToolError
        The command fails; with the last line that git printed.
    """
    done = run_process(["git", *arguments], cwd=cwd, env=env)
    if done.returncode:
        raise ToolError(f"git {arguments[0]}", last_error_line(done.stderr))
    return done.stdout.strip()


def read_git_bytes(*arguments: str, stdin: bytes = b"") -> bytes:
    """Return the bytes that a git command prints; raises as `run_git` does."""
    done = _run(["git", *arguments], None, None, input=stdin, capture_output=True)
    if done.returncode:
        raise ToolError(f"git {arguments[0]}", last_error_line(done.stderr.decode(errors="replace")))
    return bytes(done.stdout)


def run_dvc(*arguments: str | Path, shown: bool = False, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a DVC command; `shown` prints its output instead of returning it."""
    return run_process([*DVC_COMMAND, *arguments], cwd=cwd, shown=shown)


def get_default_remote(project: Path | None = None) -> str:
    """Return the name of a project's default DVC remote; empty where it has none."""
    return run_dvc("config", "core.remote", cwd=project).stdout.strip()


def add_to_dvc(path: Path) -> None:
    """Move a large file from git to DVC.

    Raises
    ------
    ToolError
        DVC refuses; git then still has the file.
    """
    run_process(["git", "rm", "--cached", "--quiet", "--ignore-unmatch", "--", path])
    done = run_dvc("add", path)
    if done.returncode:
        run_process(["git", "reset", "--quiet", "--", path])
        raise ToolError("dvc add", f"{path} was refused ({last_error_line(done.stderr)}); the project is as it was")


def try_command(*command: str) -> str | None:
    """Return what a program prints, without white space around it; None where it fails, is missing or takes 30 s."""
    env = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    try:
        done = run_process(command, env=env, timeout=PROBE_SECONDS)
    except (OSError, MissingToolError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.strip()


def last_error_line(text: str) -> str:
    """Return the last line of a program's output that says what went wrong."""
    failed_transfer = re.search(r"failed to transfer '.*' - (.*)", text)  # DVC's last line only counts them
    if failed_transfer:
        return failed_transfer[1]
    lines = [line.strip() for line in text.splitlines()]
    reasons = [line for line in lines if line and "https://" not in line and not line.startswith("make")]
    if not reasons:
        return "it failed without a message"
    return re.sub("^(error|fatal): (unexpected error - )?", "", reasons[-1], flags=re.IGNORECASE)


def _run(
    command: Sequence[str | Path],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    inherit: bool = True,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a program with the cleaned environment, and git with our settings."""
    words = [str(word) for word in command]
    variables = clean_environment() if inherit else {}
    if words[0] == "git":
        words = ["git", *GIT_OPTIONS, *words[1:2], *_get_diff_options(words), *words[2:]]
        variables["LC_ALL"] = "C"
    run = _RUNNER.get() or subprocess.run
    try:
        return run(words, cwd=cwd, env=variables | dict(env or {}), check=False, **options)
    except FileNotFoundError:
        if cwd is not None and not cwd.is_dir():
            raise
        raise MissingToolError(words[0]) from None


def _get_diff_options(words: list[str]) -> list[str]:
    """Return the option that keeps a user's own diff program out of a git command."""
    return ["--no-ext-diff"] if words[1:2] and words[1] in DIFF_COMMANDS else []
