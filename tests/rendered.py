"""Renders the template as it stands here, once for each set of answers, and runs the result."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from tests.template.support import ROOT, Answers, Bake, BakedProject, copy_worktree, installed, run


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
