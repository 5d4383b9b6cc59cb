"""What the pull-request workflow adds to the same make verbs run by hand, first and second push.

Run by `make bench PART=workflows`, in the demo project's environment, with act from the test tools;
CPU seconds of all that is started (jobs run side by side), medians of interleaved rounds. Hooks and
tests are one each, on both sides: minutes of them would hide what the workflow adds.
"""

import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.template.actlab.fakegithub import FakeGitHub
from tests.template.actlab.lab import GitHub, git

from .pipeline import cpu
from .support import VENV, copy_demo

ROUNDS = 3
VERBS = ("install", "pull", "pipeline", "verify", "gate", "report", "check", "test")
HOOKS = """repos:
  - repo: local
    hooks: [{id: ruff, name: ruff, entry: ruff check, language: system, files: ^tests/.*py}]
"""
CHANGE = ("max_iter: 150", "max_iter: 120")
NAME = "acme/flight-delays"


@dataclass(frozen=True)
class Round:
    """One project on a pretended GitHub, and the clones in which its verbs are run by hand."""

    folder: Path

    @property
    def clone(self) -> Path:
        """A person's clone."""
        return self.folder / "clone"

    @property
    def origin(self) -> Path:
        """The bare repository that stands for GitHub's."""
        return self.folder / "origin.git"

    def start(self) -> None:
        """Main with its first run behind it, and a branch with another parameter."""
        copy_demo(self.clone, "build")
        (self.clone / ".pre-commit-config.yaml").write_text(HOOKS)
        shutil.rmtree(self.clone / "tests")
        (self.clone / "tests").mkdir()
        (self.clone / "tests/test_sum.py").write_text("def test_sum() -> None:\n    assert True\n")
        git(self.folder, "init", "--quiet", "--bare", "--initial-branch", "main", self.origin)
        self.commit("main", "run the pipeline")
        params = self.clone / "params.yaml"
        params.write_text(params.read_text().replace(*CHANGE))
        self.commit("branch", "fewer trees")

    def commit(self, branch: str, message: str) -> None:
        """Commit everything, and push it as a branch."""
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--allow-empty", "--message", message)
        git(self.clone, "push", "--quiet", self.origin, f"HEAD:refs/heads/{branch}")

    def by_hand(self, name: str, cache: Path) -> float:
        """The verbs in a fresh clone of the branch that has this DVC cache."""
        here = self.folder / name
        git(self.folder, "clone", "--quiet", "--branch", "branch", self.origin, here)
        shutil.copytree(cache, here / ".dvc/cache")
        settings = ["TRACK=0", "BASE=origin/main", "RERUN_ALL=0", f"VENV={VENV}"]
        spent = [cpu("make", verb, *settings, cwd=here) for verb in VERBS]
        return sum(spent)


def by_workflow(github: GitHub) -> tuple[float, int]:
    """CPU seconds of the whole workflow, and how many stages of the pipeline it ran."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = github.pull_request("branch")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.job("Required checks pass").conclusion == "success", run.conclusions
    stages = sum(job.log.count("Running stage") for job in run.jobs.values())
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, stages


def measure(folder: Path) -> dict[str, float]:
    """One round: by hand and by workflow in turn, before and after a push that changes no model."""
    this = Round(folder)
    this.start()
    with FakeGitHub(this.origin) as api:
        github = GitHub(this.origin, folder, api, NAME, env={"MODELYARD_VENV": str(VENV)})
        github.push("main", only="main.yml")
        found = {"first, by hand": this.by_hand("first", this.clone / ".dvc/cache")}
        found["first, workflow"], found["stages, first"] = by_workflow(github)
        (this.clone / "notes.md").write_text("A note.\n")
        this.commit("branch", "a note")
        found["second, by hand"] = this.by_hand("second", folder / "first/.dvc/cache")
        found["second, workflow"], found["stages, second"] = by_workflow(github)
    return found


def main() -> None:
    """Print the table."""
    rounds = []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="workflows-") as folder:
            rounds.append(measure(Path(folder)))
            print(f"round {number + 1} of {ROUNDS}: {rounds[-1]}", flush=True)
    middle = {key: median(row[key] for row in rounds) for key in rounds[0]}
    print("\n| push | by hand, CPU s | workflow, CPU s | ratio | stages run |\n|---|---|---|---|---|")
    for push in ("first", "second"):
        hand, flow = middle[f"{push}, by hand"], middle[f"{push}, workflow"]
        stages = middle[f"stages, {push}"]
        print(f"| {push} | {hand:.1f} | {flow:.1f} | {flow / hand:.2f} | {stages:.0f} |")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as problem:
        raise SystemExit(f"{problem}\n{problem.stdout}\n{problem.stderr}") from None
