"""What jobs with a right to write, a secret or an environment can start: it has an owner, and src/ is no part of it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli import COMMANDS
from modelyard.core.params import load_params
from modelyard.delivery import promote
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.tracking import store
from modelyard.workspace import pull, push
from tests.library.conftest import bundle_files, drawn, here, params, piped, recorded, small_project  # noqa: F401
from tests.library.support import LIBRARY, TEMPLATE
from tests.template.actlab.workflows import load

WORKFLOWS = sorted((TEMPLATE / ".github/workflows").glob("*.yml"))
CODEOWNERS = TEMPLATE / ".github/CODEOWNERS"
# A role that may only read, on main: what it runs is merged, and what it hands on is data to the job that tells.
READS_ON_MAIN = {"monitor/watch"}
# Verbs that are no command of the library; `install` comes with the action `setup`, as `pull` does.
RECIPES = {"install"}
# What these jobs read besides modules: whoever writes one of them decides what runs, or what is deployed.
STARTED = (
    *("Makefile", ".python-version", "requirements/dev.txt", "requirements/uv.txt", "pyproject.toml", ".dvc/config"),
    *("packages/modelyard/project.mk", "packages/modelyard/service.mk", "packages/modelyard/actions/setup/action.yml"),
    *("dvc.yaml", "params.yaml", "Dockerfile", "compose.yaml", "deploy/production.yaml", "deploy/front/haproxy.cfg"),
    *(f".github/workflows/{path.name}" for path in WORKFLOWS),
)
# What would be started in their place, were it only committed.
STAND_INS = ("GNUmakefile", "makefile", ".venv/bin/python", ".uv/bin/uv", ".scan/bin/pip-audit", "uv.toml")
# What judges, or what a person runs, by the list in the template's page on security.
DECIDES = (
    *("schema.yaml", "src/flight_delays/metrics.py", "src/flight_delays/model.py"),
    *(".pre-commit-config.yaml", ".cruft.json", ".github/CODEOWNERS", ".gitattributes"),
)
Job = dict[str, Any]
OWNED = re.findall(r"(?m)^# (/\S+)$", CODEOWNERS.read_text())


def privileged_jobs() -> Iterator[tuple[str, Job]]:
    """Each job of a generated workflow with a right to write, a secret or an environment."""
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            may_write = "write" in job["permissions"].values()
            is_privileged = may_write or "secrets." in str(job) or "environment" in job
            if "steps" in job and is_privileged and f"{path.stem}/{name}" not in READS_ON_MAIN:
                yield f"{path.stem}/{name}", job


def list_verbs(job: Job) -> set[str]:
    """The verbs that a job runs, those of the action `setup` included; no other action of ours may be there."""
    verbs = {step["run"].removeprefix("make ") for step in job["steps"] if "run" in step}
    ours = [step["uses"] for step in job["steps"] if step.get("uses", "").startswith("./")]
    assert set(ours) <= {"./packages/modelyard/actions/setup"}
    return verbs | ({"install", "pull"} if ours else set())


@cache
def find_closure() -> set[str]:
    """The files of all modules that the verbs of privileged jobs import, also inside of functions."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("modelyard")
    modules = {"modelyard", "modelyard.cli", "modelyard.__main__"}
    for _, job in privileged_jobs():
        for verb in list_verbs(job) - RECIPES:
            module = "modelyard." + COMMANDS[verb].partition(":")[0]
            modules |= {module, *graph.find_upstream_modules(module)}
    return {find_file(module) for module in modules}


def find_file(module: str) -> str:
    path = LIBRARY / "src" / module.replace(".", "/")
    found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert found.is_file(), module
    return f"packages/modelyard/{found.relative_to(LIBRARY)}"


def is_owned(path: str, patterns: list[str]) -> bool:
    """Whether a pattern of CODEOWNERS fits: a folder with all in it, or a file; `*` stays in its folder."""
    for pattern in patterns:
        parts = pattern.strip("/").split("/")
        there = path.split("/")
        fits = all(fnmatchcase(name, part) for name, part in zip(there, parts, strict=False))
        if fits and len(there) >= len(parts) and (pattern.endswith("/") or len(there) == len(parts)):
            return True
    return False


def find_unowned(patterns: list[str]) -> set[str]:
    files = {*find_closure(), *STARTED, *STAND_INS, *DECIDES}
    return {path for path in files if not is_owned(path, patterns)}


def test_the_import_closure_of_every_privileged_job_has_an_owner() -> None:
    assert len(list(privileged_jobs())) >= 9 and len(find_closure()) > 40
    assert find_unowned(OWNED) == set()


@pytest.mark.parametrize("line", OWNED)
def test_no_line_of_codeowners_can_be_left_out(line: str) -> None:
    assert find_unowned([pattern for pattern in OWNED if pattern != line])


def test_every_file_that_a_privileged_job_starts_is_named_here() -> None:
    for path in STARTED:
        assert (TEMPLATE / path).exists() or (LIBRARY.parents[1] / path).exists(), path


def test_an_environment_is_without_src(tmp_path: Path) -> None:
    make_folder(tmp_path)
    uv = tmp_path / "bin/uv"
    uv.parent.mkdir()
    uv.write_text('#!/bin/sh\n[ "$1" != --version ] || echo "uv 0.9.0"\necho "$@" >> calls\nmkdir -p .venv\n')
    uv.chmod(0o755)
    env = os.environ | {"PATH": f"{uv.parent}:{os.environ['PATH']}"}
    subprocess.run(["make", "--always-make", "install", "VENV=.venv"], cwd=tmp_path, env=env, check=True)
    assert re.findall(r"--editable (\S+)", (tmp_path / "calls").read_text()) == ["packages/modelyard"]


def make_folder(folder: Path) -> None:
    (folder / "packages").mkdir()
    (folder / "packages/modelyard").symlink_to(LIBRARY)
    (folder / "Makefile").write_text("include packages/modelyard/project.mk\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.modelyard]\npackage = "x"\n')
    (folder / ".python-version").write_text("3.11\n")
    (folder / "requirements").mkdir()
    (folder / "requirements/dev.txt").touch()


@pytest.mark.parametrize("verb", ["post", "alert", "release"])
def test_a_module_in_src_stands_in_for_none_of_pythons_own(tmp_path: Path, verb: str) -> None:
    make_folder(tmp_path)
    (tmp_path / "src").mkdir()
    for name in ("argparse", "json", "sitecustomize", "yaml"):
        (tmp_path / f"src/{name}.py").write_text("open('canary', 'w').close()\n")
    subprocess.run(["make", verb, "WHAT=status"], cwd=tmp_path, capture_output=True, check=False)
    assert not (tmp_path / "canary").exists()


@pytest.fixture
def judged(here: Path) -> Path:  # noqa: F811
    """A project whose model was judged: what *Main* hands to the jobs after it."""
    model = json.loads(subprocess.check_output([sys.executable, "-c", DIGEST], cwd=here, text=True))
    verdict = {"verdict": "better", "decision": "pass", "candidate": {"model": model}}
    Path("reports/verdict.json").write_text(json.dumps(verdict))
    return here


DIGEST = "import hashlib, json; print(json.dumps(hashlib.sha256(open('models/model.skops', 'rb').read()).hexdigest()))"


def read_bundle() -> object:
    return load_or_build_bundle(load_params())


@pytest.mark.parametrize("command", [store.main, pull.main, push.main, lambda: promote.main("staging"), read_bundle])
def test_no_command_of_a_privileged_job_imports_src(
    judged: Path,
    bundle_files: dict[str, bytes],  # noqa: F811
    command: Callable[[], object],
) -> None:
    if command is read_bundle:
        for name, content in bundle_files.items():
            Path(name).write_bytes(content)
    for name in [name for name in sys.modules if name.partition(".")[0] == "flight_delays"]:
        del sys.modules[name]
    command()
    assert not [name for name in sys.modules if name.partition(".")[0] == "flight_delays"]
