"""Show what this project's state asks for next; `make` alone runs it, with the standard library alone."""

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.core.console import colour_word, print_line
from modelyard.core.errors import UserError
from modelyard.core.process import ForeignRepositoryError, run_git, try_command
from modelyard.core.project import Project
from modelyard.workspace.conflicts import list_conflicts
from modelyard.workspace.library import LIBRARY, RESTORE_COMMAND

LOCK = Path("dvc.lock")
MODEL = Path("models/model.skops")
VERDICT = Path("reports/verdict.json")
SAMPLE_DATA = Path("data/raw/flights.parquet")
DEFAULT_BRANCHES = ("main", "master")
MAX_NAMES_SHOWN = 3


class NextStep(NamedTuple):
    """A command, and why it comes next."""

    command: str
    reason: str


def list_changed_files() -> str:
    """Return the first files that changed since dvc.lock was made, in words; empty where nothing did."""
    status = try_command(sys.executable, "-m", "dvc", "status", "--json")
    stages = json.loads(status or "{}")
    names = set[str]()
    for stage in stages.values():
        for change in stage:
            if isinstance(change, dict):  # the others are sentences, such as "changed command"
                names.update(str(name) for files in change.values() for name in files)
    shown = sorted(names)[:MAX_NAMES_SHOWN]
    return ", ".join(shown) + (" …" if len(names) > MAX_NAMES_SHOWN else "")


def load_current_verdict() -> dict[str, Any] | None:
    """Return the verdict on the model that is here; None where it was not judged."""
    if not MODEL.exists() or not VERDICT.exists():
        return None
    verdict: dict[str, Any] = json.loads(VERDICT.read_text(encoding="utf-8"))
    candidate = verdict.get("candidate")
    judged = candidate.get("model") if isinstance(candidate, dict) else None
    return verdict if judged == sha256(MODEL.read_bytes()).hexdigest() else None


def suggest_repairs() -> Iterator[NextStep]:
    """Yield what is to be repaired before anything else runs: the library, the project's package, conflicts."""
    if not (LIBRARY / "src/modelyard").exists():
        yield NextStep(RESTORE_COMMAND, f"{LIBRARY}, the library that runs this project, is missing")
    try:
        package = Project.load().source
        if not (package / "features.py").exists():
            yield NextStep(
                "edit pyproject.toml", f"[tool.modelyard] names a package without {package.name}/features.py"
            )
    except UserError as problem:
        yield NextStep("edit pyproject.toml", str(problem))
    try:
        run_git("rev-parse", "--git-dir")
    except ForeignRepositoryError as problem:
        yield NextStep(problem.cure, str(problem).partition(";")[0])
    except UserError:
        yield NextStep("git init", "this folder is in no git repository")
    conflicts = list_conflicts()
    others = [name for name in conflicts if name != str(LOCK) and not name.startswith("reports/")]
    if others:
        yield NextStep(f"edit {others[0]} && git add {others[0]}", "both sides changed it")
    elif conflicts:
        yield NextStep("make resolve", "dvc.lock is in conflict: it is made anew")


def suggest_pipeline_steps() -> Iterator[NextStep]:
    """Yield what the pipeline asks for: a first model, or another one after a change."""
    if not LOCK.exists():
        yield NextStep("make pipeline", "train the first model")
        if SAMPLE_DATA.exists():
            yield NextStep("make adopt CSV=table.csv TARGET=column", "or make a table of yours the data first")
        return
    changed = list_changed_files()
    if changed:
        yield NextStep("make pipeline", f"changed: {changed}")


def suggest_first_commit() -> Iterator[NextStep]:
    """Yield what makes the first commit, where there is none."""
    if try_command("git", "rev-parse", "--verify", "HEAD"):
        return
    if not try_command("git", "config", "user.email"):
        command = 'git config --global user.email "you@example.org"'
        yield NextStep(command, "git does not know who commits (user.name, too)")
    yield NextStep("git add -A && git commit", "there is no commit yet, and the gate compares commits")


def suggest_git_steps(package: str) -> Iterator[NextStep]:
    """Yield what git asks for: a commit, a remote, a push, a branch.

    Parameters
    ----------
    package
        The name of the project's own package.
    """
    if try_command("git", "status", "--porcelain", "--", "."):
        yield NextStep("git add -A && git commit", "keep what changed")
    elif not try_command("git", "remote"):
        command = "git remote add origin ADDRESS && git push -u origin HEAD"
        yield NextStep(command, "the same verbs run on GitHub")
    elif try_command("git", "rev-list", "--max-count=1", "HEAD", "--not", "--remotes"):
        yield NextStep("git push -u origin HEAD", "let the workflows judge it")
    elif try_command("git", "branch", "--show-current") in DEFAULT_BRANCHES:
        yield NextStep("git switch -c BRANCH", f"then change params.yaml or src/{package}/features.py")


def suggest_judged_steps() -> Iterator[NextStep]:
    """Yield what follows from the verdict, and print its sentence."""
    verdict = load_current_verdict()
    if verdict is None:
        yield NextStep("make gate report", "judge the model on the rows it never saw")
        return
    print_line(f"{verdict['sentence']}\n")
    if verdict["decision"] == "block":
        yield NextStep("open reports/report.html", "worse: see where, and change it")
    looks = verdict.get("looks") or {"count": 0, "limit": 1}
    if looks["count"] >= looks["limit"]:
        yield NextStep("make holdout", f"{looks['count']:,} models were judged on this holdout: hold out other rows")
    yield from suggest_git_steps(Project.load().package)


def suggest_steps() -> list[NextStep]:
    """Return the next steps, the most urgent first; what is less urgent waits until these are done."""
    for suggest in (suggest_repairs, suggest_pipeline_steps, suggest_first_commit):
        steps = list(suggest())
        if steps:
            return steps
    return list(suggest_judged_steps())


def main() -> int:
    """Show what to do next in this state of the project."""
    for step in suggest_steps():
        print_line(f"{colour_word('next', 6)}{step.command}\n{'':<6}{step.reason}")
    print_line("\n`make help` lists every verb, `make doctor` looks at tools, remotes and locks")
    return 0
