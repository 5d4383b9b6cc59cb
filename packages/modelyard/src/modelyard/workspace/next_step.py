"""Verb: what this project's state asks for next; `make` alone shows it."""

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from modelyard.core.console import colour_word, print_line
from modelyard.core.process import try_command
from modelyard.workspace.conflicts import list_conflicts

LOCK, MODEL, VERDICT = Path("dvc.lock"), Path("models/model.skops"), Path("reports/verdict.json")
SAMPLE_DATA = Path("data/raw/flights.parquet")
NextStep = tuple[str, str]  # a command and why


def list_changed_files() -> str:
    """What has changed since dvc.lock was made, in words; nothing where all of it was run."""
    said = json.loads(try_command(sys.executable, "-m", "dvc", "status", "--json") or "{}")
    kinds = [kind for stage in said.values() for kind in stage if isinstance(kind, dict)]
    names = sorted({str(name) for kind in kinds for files in kind.values() for name in files})
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def load_current_verdict() -> dict[str, str] | None:
    """The verdict on the model that is here, if it was judged."""
    if not MODEL.exists() or not VERDICT.exists():
        return None
    verdict = json.loads(VERDICT.read_text(encoding="utf-8"))
    here = sha256(MODEL.read_bytes()).hexdigest()
    return verdict if (verdict.get("candidate") or {}).get("model") == here else None


def suggest_git_steps() -> Iterator[NextStep]:
    """What git asks for: a commit, a remote, a push, a branch."""
    if try_command("git", "status", "--porcelain"):
        yield "git add -A && git commit", "keep what changed"
    elif not try_command("git", "remote"):
        yield "git remote add origin ADDRESS && git push -u origin main", "the same verbs run on GitHub"
    elif try_command("git", "rev-list", "--max-count=1", "HEAD", "--not", "--remotes"):
        yield "git push -u origin HEAD", "let the workflows judge it"
    elif try_command("git", "branch", "--show-current") in ("main", "master"):
        yield "git switch -c BRANCH", "then change params.yaml or features.py"


def suggest_steps() -> Iterator[NextStep]:
    """The steps, the most urgent first."""
    if found := list_conflicts():
        others = [name for name in found if name != "dvc.lock" and not name.startswith("reports/")]
        edit = [(f"edit {name} && git add {name}", "both sides changed it") for name in others[:1]]
        yield from edit or [("make resolve", "dvc.lock is in conflict: it is made anew")]
    elif not LOCK.exists():
        yield "make pipeline", "train the first model"
        if SAMPLE_DATA.exists():
            yield "make adopt CSV=table.csv TARGET=column", "or make a table of yours the data first"
    elif names := list_changed_files():
        yield "make pipeline", f"changed: {names}"
    elif not try_command("git", "rev-parse", "--verify", "HEAD"):
        if not try_command("git", "config", "user.email"):
            yield 'git config --global user.email "you@example.org"', "git does not know who commits (user.name, too)"
        yield "git add -A && git commit", "there is no commit yet, and the gate compares commits"
    elif not (verdict := load_current_verdict()):
        yield "make gate report", "judge the model on the rows it never saw"
    else:
        print_line(f"{verdict['sentence']}\n")
        if verdict["decision"] == "block":
            yield "open reports/report.html", "worse: see where, and change it"
        yield from suggest_git_steps()


def main() -> int:
    """Show what to do next in this state of the project."""
    for command, why in suggest_steps():
        print_line(f"{colour_word('next', 6)}{command}\n{'':<6}{why}")
    print_line("\n`make help` lists every verb, `make doctor` looks at tools, remotes and locks")
    return 0
