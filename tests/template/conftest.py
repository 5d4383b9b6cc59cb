"""Renders the template as it stands here, once for each set of answers, and runs the result."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from tests.template.support import (
    COMPOSE,
    ROOT,
    Answers,
    Bake,
    BakedProject,
    copy_worktree,
    installed,
    lacking,
    run,
)


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
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
        return Path(cookiecutter(str(template), extra_context=answers, output_dir=str(folder), **options))

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


@pytest.fixture(scope="session")
def environment(bake: Bake) -> Path:
    """The default project's environment."""
    return installed(bake())


@pytest.fixture(scope="session")
def trained(bake: Bake, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """The default project with its pipeline run and committed; a test changes a copy."""
    project = bake().copied(tmp_path_factory.mktemp("trained"))
    project.make("pipeline", f"VENV={environment}", "TRACK=0")
    project.commit("A first model")
    return project
