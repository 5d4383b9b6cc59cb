"""Verb: the newer template comes to this project, on a branch, as a three-way merge."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write
from modelyard.core.process import last_error_line, run_git

CRUFT_FILE = Path(".cruft.json")  # cruft's own file: `cruft diff` works, too
UPDATE_BRANCH, MAX_ENTRIES_SHOWN = "template-update", 10


def render_template(template: Path, commit: str, answers: dict[str, Any], folder: Path) -> str:
    """A tree of git's that holds the project as the template makes it at a commit, with these answers."""
    run_git("checkout", "--quiet", "--detach", commit, cwd=template)
    said = [f"{key}={value}" for key, value in answers.items() if not key.startswith("_")]
    own = os.environ.get("COOKIECUTTER") or shutil.which("cookiecutter")
    uv = shutil.which("uv") or ".uv/bin/uv"
    tool = shlex.split(own) if own else [uv, "tool", "run", "--from", "cookiecutter>=2.6,<3", "cookiecutter"]
    command = [*tool, "--no-input", "--default-config", "-o", str(folder), str(template), *said]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    made = folder / answers["project_slug"]
    if done.returncode:
        raise UserError(f"the template at {commit[:9]} does not render ({last_error_line(done.stderr)})")
    shutil.rmtree(made / ".git", ignore_errors=True)
    (made / CRUFT_FILE).unlink(missing_ok=True)
    env = os.environ | {"GIT_INDEX_FILE": str(folder / "index")}
    where = [f"--git-dir={run_git('rev-parse', '--absolute-git-dir')}", f"--work-tree={made}"]
    subprocess.run(["git", *where, "add", "--all", "."], cwd=made, env=env, check=True, capture_output=True)
    tree = subprocess.run(["git", *where, "write-tree"], env=env, check=True, capture_output=True, text=True)
    return tree.stdout.strip()


def list_changelog_entries(template: Path, old: str, new: str) -> list[str]:
    """What the template's CHANGELOG says since, one line an entry."""
    lines = run_git("diff", "--unified=0", old, new, "--", "CHANGELOG.md", cwd=template).splitlines()
    added = "\n".join(line[1:] for line in lines if line.startswith("+") and not line.startswith("+++"))
    return [" ".join(entry.split()) for entry in re.findall(r"(?m)^- (.*(?:\n  .*)*)", added)]


def merge_trees(old: str, new: str) -> list[str]:
    """Bring what changed from one tree to the other into this folder; the files where both sides changed."""
    parent = run_git("commit-tree", old, "-m", "The template as it was")
    change = run_git("commit-tree", new, "-p", parent, "-m", "The template as it is")
    try:
        run_git("cherry-pick", "--no-commit", change)
    except UserError as problem:
        if not run_git("diff", "--name-only", "--diff-filter=U"):
            raise UserError(f"{problem}; nothing was changed") from None
    for line in run_git("status", "--porcelain").splitlines():
        if line.startswith("DU "):  # you removed what the template went on changing
            run_git("rm", "--quiet", "--force", "--", line[3:])
    return run_git("diff", "--name-only", "--diff-filter=U").splitlines()


def load_cruft_state() -> dict[str, Any]:
    """The answers of .cruft.json; a folder with changes, or a template that is not known, is a `UserError`."""
    if run_git("status", "--porcelain"):
        raise UserError("there are changes that are not committed; commit them, then run this again")
    state: dict[str, Any] = json.loads(CRUFT_FILE.read_text(encoding="utf-8")) if CRUFT_FILE.exists() else {}
    if not state.get("commit") or run_git("rev-parse", "--show-prefix"):
        raise UserError(f"{CRUFT_FILE} does not say which commit of the template made this; write it there")
    return state


def main(to: str = "", test: bool = True) -> int:
    """Merge the template's newest commit (or TO) on a branch, explain conflicts, say what is new, run the tests."""
    state = load_cruft_state()
    with tempfile.TemporaryDirectory(prefix="update-") as name:
        template, old = Path(name, "template"), state["commit"]
        run_git("clone", "--quiet", state["template"], str(template))
        run_git("checkout", "--quiet", to or state.get("checkout") or "HEAD", "--", cwd=template)
        new = run_git("rev-parse", "HEAD", cwd=template)
        if new == old:
            print_line("update    this project follows the newest template already")
            return 0
        answers, entries = state["context"]["cookiecutter"], list_changelog_entries(template, old, new)
        trees = [render_template(template, commit, answers, Path(name, commit)) for commit in (old, new)]
    run_git("switch", "--quiet", "-C", UPDATE_BRANCH)
    conflicts = merge_trees(*trees)
    answers["_commit"] = new
    with atomic_write(CRUFT_FILE) as draft:
        draft.write_text(json.dumps(state | {"commit": new}, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    run_git("add", str(CRUFT_FILE))
    for entry in entries[:MAX_ENTRIES_SHOWN]:
        print_result("new", f"{textwrap.shorten(entry, 110, placeholder=' …')}")
    if len(entries) > MAX_ENTRIES_SHOWN:
        print_line(f"{'':<10}and {len(entries) - MAX_ENTRIES_SHOWN} more in its CHANGELOG.md")
    return finish_update(conflicts, new, test)


def finish_update(conflicts: list[str], new: str, test: bool) -> int:
    """Say what is left to do: conflicts to decide, else the tests' word and a commit."""
    for path in conflicts:
        print_result("conflict", f"{path}: both changed it; where lines met, yours stand above =======")
    if conflicts:
        print_result("update", "edit these, `git add` them, `make test`, `git commit`; or `git switch -f -` to go back")
        if any(path.startswith("requirements/") for path in conflicts):
            print_line(f"{'':<10}pins: `git checkout --theirs requirements && make lock UPGRADE=` makes them anew")
        return 1
    run_git("commit", "--quiet", "--no-verify", "--message", f"Template at {new[:9]}")
    print_result("update", f"committed on the branch {UPDATE_BRANCH}; `git switch -` goes back")
    return subprocess.run(["make", "--no-print-directory", "test"], check=False).returncode if test else 0
