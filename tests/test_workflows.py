"""The generated workflows, run by act: real verbs, real DVC, real training inside the jobs."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from actlab.fakegithub import FakeGitHub
from actlab.lab import GitHub, Run
from conftest import ROOT, BakedProject, run

pytestmark = pytest.mark.slow

NAME = "acme/flight-delays"
VENV = ROOT / "build/environments/3.11"
SHRINK = (
    "import pandas as pd; path = 'data/raw/flights.parquet';"
    "pd.read_parquet(path).iloc[::4].to_parquet(path, index=False)"
)
HOOKS = """repos:
  - repo: local
    hooks: [{id: ruff, name: ruff, entry: ruff check, language: system, files: ^tests/.*py}]
"""
TEST = "def test_sum() -> None:\n    assert 1 + 1 == 2\n"


@dataclass(frozen=True)
class Work:
    """A person's clone, and the pretended GitHub that it is pushed to."""

    clone: BakedProject
    github: GitHub
    api: FakeGitHub

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Replace texts in a file; each must be there."""
        text = self.clone.read(name)
        for before, after in changes:
            assert before in text, f"{name} has no {before!r}"
            text = text.replace(before, after)
        (self.clone.path / name).write_text(text, encoding="utf-8")

    def push(self, branch: str, message: str = "a change") -> None:
        """Commit everything on a branch, a new one if need be, and push it."""
        self.clone.run("git", "switch", "--quiet", "--force-create", branch)
        self.clone.run("git", "add", "--all")
        self.clone.run("git", "commit", "--quiet", "--allow-empty", "--message", message)
        self.clone.run("git", "push", "--quiet", "--force", "origin", branch)

    def make(self, *verbs: str, **env: str) -> str:
        return self.clone.make(*verbs, VENV=str(VENV), TRACK="0", **env)

    def comments(self, number: int = 1) -> list[str]:
        return [row["body"] for row in self.api.rows(f"/repos/{NAME}/issues/{number}/comments")]

    def issues(self) -> list[dict[str, object]]:
        return self.api.rows(f"/repos/{NAME}/issues")

    def pulls(self) -> list[dict[str, object]]:
        return self.api.rows(f"/repos/{NAME}/pulls")


def small(project: BakedProject) -> None:
    """Make the project quick: every fourth row, few trees, one hook, one test."""
    params = project.read("params.yaml").replace("max_iter: 150", "max_iter: 20")
    (project.path / "params.yaml").write_text(params)
    (project.path / ".pre-commit-config.yaml").write_text(HOOKS)
    shutil.rmtree(project.path / "tests")
    (project.path / "tests").mkdir()
    (project.path / "tests/test_sum.py").write_text(TEST)
    project.make("install", VENV=str(VENV))
    project.run(VENV / "bin/python", "-c", SHRINK)
    project.make("pipeline", VENV=str(VENV), TRACK="0")


@pytest.fixture(scope="module")
def pushed(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project on GitHub after its first run on main, whose caches are warm."""
    folder = tmp_path_factory.mktemp("github")
    project = BakedProject(render(folder).rename(folder / "clone"))
    small(project)
    run("git", "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git", cwd=folder)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "Run the pipeline")
    project.run("git", "remote", "add", "origin", folder / "origin.git")
    project.run("git", "push", "--quiet", "origin", "HEAD:main")
    github = GitHub(folder / "origin.git", folder, name=NAME, env={"VENV": str(VENV)})
    done = github.push(only="main.yml")
    assert done.ok, failures(done)
    return folder


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeGitHub]:
    """GitHub's API for one test."""
    with FakeGitHub(tmp_path / "origin.git") as fake:
        yield fake


@pytest.fixture
def work(pushed: Path, tmp_path: Path, api: FakeGitHub) -> Work:
    """That project for one test: its own clone, remote and caches."""
    for name in ("clone", "origin.git", "caches"):
        shutil.copytree(pushed / name, tmp_path / name)
    clone = BakedProject(tmp_path / "clone")
    clone.run("git", "remote", "set-url", "origin", tmp_path / "origin.git")
    github = GitHub(tmp_path / "origin.git", tmp_path, api, NAME, env={"VENV": str(VENV)})
    return Work(clone, github, api)


def failures(done: Run) -> str:
    """The logs of the jobs in which a step failed."""
    bad = [
        f"{name}\n{job.log}" for name, job in done.jobs.items() if "failure" in job.steps.values()
    ]
    return "\n".join([*bad, done.stderr])[-6000:]


def outputs(done: Run) -> dict[str, str]:
    """What the training job said."""
    return done.job("Train and compare (reusable)/Train and compare").outputs.get("summary", {})


def trained(done: Run) -> bool:
    """Whether any stage of the pipeline ran."""
    return "Running stage" in done.job("Train and compare (reusable)/Train and compare").log


REQUIRED = "Required checks pass"


def test_pull_request_with_a_better_model_is_told_and_may_be_merged(work: Work) -> None:
    work.edit("params.yaml", ("max_iter: 20", "max_iter: 80"))
    work.push("better")
    done = work.github.pull_request("better")
    assert done.job(REQUIRED).conclusion == "success", failures(done)
    assert outputs(done)["verdict"] in ("better", "not worse", "inconclusive")
    assert len(work.comments()) == 1 and "roc_auc" in work.comments()[0]
    head = work.clone.run("git", "rev-parse", "HEAD").strip()
    status = work.api.posted(f"/statuses/{head}")[0]
    assert status["state"] == "success" and status["description"] in outputs(done)["sentence"]


def test_second_push_updates_the_comment_and_trains_nothing(work: Work) -> None:
    work.edit("params.yaml", ("max_iter: 20", "max_iter: 30"))
    work.push("twice")
    assert trained(work.github.pull_request("twice"))
    (work.clone.path / "notes.md").write_text("A note.\n")
    work.push("twice")
    done = work.github.pull_request("twice", action="synchronize")
    assert not trained(done), failures(done)
    head = work.clone.run("git", "rev-parse", "--short=12", "HEAD").strip()
    assert len(work.comments()) == 1 and head in work.comments()[0]
