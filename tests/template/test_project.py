"""What a newcomer does in a rendered project, by the same verbs, works the first time."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from tests.template.support import CHOICES, LONGEST, ROOT, Bake, BakedProject, free_port, installed, run

pytestmark = pytest.mark.slow
Render = Callable[..., Path]


def make(project: BakedProject, *verbs: str) -> str:
    """Run verbs in the environment that all projects of this Python version share."""
    return project.make(*verbs, f"VENV={installed(project)}")


def without_uv() -> str:
    """A PATH without uv, so that the project has to fetch it by itself."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not (Path(folder) / "uv").exists())


@pytest.fixture(scope="module")
def start(
    render: Render, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[..., BakedProject]:
    """Renders a project, with the newest allowed versions if the command line says so."""

    def inner(**answers: str) -> BakedProject:
        project = BakedProject(render(tmp_path_factory.mktemp("run"), answers))
        if request.config.getoption("newest"):
            project.make("lock")
            project.commit()
        return project

    return inner


@pytest.fixture(scope="module")
def flown(start: Callable[..., BakedProject]) -> BakedProject:
    """The default project after `make pipeline`, its outcome committed."""
    project = start()
    make(project, "pipeline")
    project.commit()
    return project


def test_pipeline_is_the_first_verb_and_brings_metrics(flown: BakedProject) -> None:
    metrics = json.loads(flown.read("reports/metrics.json"))
    assert 0.65 < metrics["roc_auc"] < 0.9
    assert flown.run("git", "status", "--porcelain") == ""


def test_dvcs_pickles_are_where_nobody_else_may_write(flown: BakedProject) -> None:
    own = flown.path / ".dvc/tmp/own"
    assert list((own / "repo").iterdir()) and not own.stat().st_mode & 0o077


def test_pipeline_does_nothing_when_nothing_changed(flown: BakedProject) -> None:
    assert "Data and pipelines are up to date." in make(flown, "pipeline")
    assert flown.run("git", "status", "--porcelain") == ""


TRACKED = """
import mlflow, pandas as pd
mlflow.set_tracking_uri("sqlite:///.mlflow/mlflow.db")
(run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
model = mlflow.pyfunc.load_model(run.data.tags["model_uri"])
said = model.predict(pd.read_parquet("data/holdout.parquet"))
kept = pd.read_parquet("reports/predictions.parquet").drop(columns="truth")
pd.testing.assert_frame_equal(said, kept)
print(run.data.tags["model"], model.metadata.metadata["sha256"], len(model.input_example))
"""


def test_the_tracked_model_is_the_pipelines_own(flown: BakedProject) -> None:
    """Loaded by MLflow alone, without this checkout on the path, it answers as the pipeline did."""
    digest = hashlib.sha256(flown.read_bytes("models/model.skops")).hexdigest()
    said = flown.run(installed(flown) / "bin/python", "-c", TRACKED, PYTHONPATH="")
    assert said.splitlines()[-1] == f"{digest} {digest} 5"


def test_ui_shows_the_run(flown: BakedProject, monkeypatch: pytest.MonkeyPatch) -> None:
    port, command = free_port(), ["make", "ui", f"VENV={installed(flown)}"]
    monkeypatch.setenv("MLFLOW_PORT", str(port))
    address = f"http://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    shown = subprocess.Popen(command, cwd=flown.path, start_new_session=True, **quiet)
    try:
        while True:
            with suppress(URLError), urlopen(address, timeout=30) as page:
                assert "<title>MLflow</title>" in page.read().decode()
                break
            assert shown.poll() is None
            time.sleep(0.2)
        query = "api/2.0/mlflow/experiments/search?max_results=9"
        with urlopen(f"{address}/{query}", timeout=30) as found:
            assert '"flight-delays"' in found.read().decode()
    finally:
        os.killpg(shown.pid, signal.SIGTERM)
        shown.wait()


def test_check_passes_and_changes_nothing(flown: BakedProject) -> None:
    assert "Failed" not in make(flown, "check")
    assert flown.run("git", "status", "--porcelain") == ""


def test_tests_pass_and_leave_nothing_behind(flown: BakedProject) -> None:
    assert " passed" in make(flown, "test")
    assert flown.run("git", "status", "--porcelain") == ""


def test_another_render_gives_the_same_model(flown: BakedProject, start: Callable[..., BakedProject]) -> None:
    again = start()
    make(again, "pipeline", "TRACK=0")
    digests = [
        hashlib.sha256((project.path / "models" / "model.skops").read_bytes()).hexdigest() for project in (flown, again)
    ]
    assert digests[0] == digests[1]
    assert yaml.safe_load(flown.read("dvc.lock")) == yaml.safe_load(again.read("dvc.lock"))


def test_pipeline_in_an_enclosing_repository_without_a_commit(
    start: Callable[..., BakedProject],
) -> None:
    project = start()
    shutil.rmtree(project.path / ".git")
    run("git", "init", "--quiet", ".", cwd=project.path.parent)
    make(project, "pipeline")
    assert project.has("reports/metrics.json")


def test_environment_is_made_without_uv(start: Callable[..., BakedProject], tmp_path: Path) -> None:
    project = start()
    project.make("install", PATH=without_uv(), HOME=str(tmp_path))
    assert project.run(".venv/bin/python", "-m", "dvc", "--version")
    assert project.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(LONGEST, id="longest"),
        pytest.param({"project_slug": "a"}, id="shortest"),
        pytest.param({"license": "Proprietary"}, id="proprietary"),
    ],
)
def test_format_holds_whatever_the_name(
    start: Callable[..., BakedProject],
    answers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SKIP", "mypy")  # slow, and names do not matter to it
    project = start(**answers)
    assert "Failed" not in make(project, "check")
    assert project.run("git", "status", "--porcelain") == ""


@pytest.mark.weekly  # CI takes the oldest, which all others run on
@pytest.mark.parametrize("version", CHOICES["python_version"][1:])
def test_other_pythons_run(start: Callable[..., BakedProject], version: str) -> None:
    if "No interpreter" in run("uv", "python", "find", version, cwd=ROOT, check=False):
        pytest.skip(f"Python {version} is not installed here")
    project = start(python_version=version)
    make(project, "pipeline", "check", "test")
    assert json.loads(project.read("reports/metrics.json"))["roc_auc"] > 0.65


@pytest.mark.parametrize("deploy", CHOICES["deploy"])
def test_pins_are_what_the_project_asks_for(
    start: Callable[..., BakedProject], deploy: str, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("newest"):
        pytest.skip("the newest are not what was pinned")
    project = start(deploy=deploy)
    project.make("lock", "UPGRADE=")
    assert project.run("git", "status", "--porcelain") == ""


def test_every_installed_module_is_refused_as_a_package(flown: BakedProject) -> None:
    """The list in the hook knows what the libraries are imported as, not only their names."""
    code = "import importlib.metadata as m; print(*m.packages_distributions())"
    python = ROOT / "build" / "environments" / CHOICES["python_version"][0] / "bin" / "python"
    names = {name.lower() for name in flown.run(python, "-c", code).split()}
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    installed = set(hook.split('INSTALLED = """')[1].split('"""')[0].split())
    own = {"flight_delays", "modelyard", "a", LONGEST["project_slug"].replace("-", "_")}
    assert sorted(n for n in names - installed - own if n.isidentifier() and n[0] != "_") == []


def test_bake_is_untouched(bake: Bake) -> None:
    assert bake().run("git", "status", "--porcelain", "--ignored") == ""


@pytest.mark.weekly
def test_longer_fuzzing_finds_nothing() -> None:
    fuzz = (sys.executable, "-m", "pytest", "tests/library/core/test_fuzz.py")
    assert " passed" in run(*fuzz, cwd=ROOT, FUZZ="500")


@pytest.mark.weekly  # fetches all flights
def test_the_sample_is_what_all_flights_give(template: Path, tmp_path: Path) -> None:
    clone = tmp_path / "template"
    run("git", "clone", "--quiet", template, clone, cwd=tmp_path)
    run("make", "sample", f"VENV={sys.prefix}", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
