"""TODO doc."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.errors import UserError
from modelyard.core.paths import DVC_LOCK, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.process import run_git
from modelyard.core.yaml import parse_yaml

CANDIDATE_PATHS = (str(DVC_LOCK), str(PARAMS_YAML), str(SCHEMA_YAML), "src")  # what a change that is judged may change


def read_blob(commit: str, path: str | Path) -> bytes | None:
    """A file's bytes at a commit, or None where that commit has no such file."""
    try:
        return subprocess.check_output(["git", "cat-file", "blob", f"{commit}:./{path}"], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None


def read_folder_blobs(commit: str, folder: str | Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder at a commit, by its path in the folder."""
    rows = run_git("ls-tree", "-r", "-z", commit, "--", f"./{folder}/").split("\0")
    objects = {row.partition("\t")[2]: row.split()[2] for row in rows if row}
    done = subprocess.run(
        ["git", "cat-file", "--batch"], input="\n".join(objects.values()).encode(), capture_output=True, check=True
    )
    found, rest = {}, done.stdout
    for name in objects:
        head, _, rest = rest.partition(b"\n")
        size = int(head.split()[2])
        found[Path(name).relative_to(folder).as_posix()] = rest[:size]
        rest = rest[size + 1 :]
    return found


def read_yaml_at(commit: str, path: str | Path) -> Any:
    """The YAML or JSON of a file at a commit, or None where that commit has no such file."""
    return None if (there := read_blob(commit, path)) is None else parse_yaml(there)


def find_commit(name: str) -> str | None:
    """The commit that a name stands for, or None where it is none; an option is none."""
    try:
        return None if name.startswith("-") else run_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except UserError:
        return None


def resolve_base(base: str | None) -> str:
    """The commit that a change is held against: BASE, else the default branch's tip, else the commit before.

    The tip also where it is this commit, and what is here is a change to it that is not committed.
    """
    if base:
        if found := find_commit(base):
            return found
        raise UserError(f"BASE {base} is no commit here; fetch it, or name another one")
    if not (head := find_commit("HEAD")):
        raise UserError("nothing is committed yet; `git add -A && git commit`, then run this again")
    for name in ("origin/HEAD", "origin/main", "origin/master", "main", "master"):
        if (tip := find_commit(name)) and (tip != head or run_git("status", "--porcelain", "--", *CANDIDATE_PATHS)):
            return tip
    return find_commit("HEAD~1") or head


@contextmanager
def checkout_commit(commit: str) -> Iterator[Path]:
    """A scratch checkout of a commit that shares our DVC cache and is gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="checkout-"))
    try:
        run_git("worktree", "add", "--quiet", "--detach", "--force", str(folder), commit)
        top = run_git("rev-parse", "--show-prefix")
        project = folder / top
        cache = Path(".dvc/cache").resolve()
        (project / ".dvc").mkdir(parents=True, exist_ok=True)
        (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n", encoding="utf-8")
        yield project
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        run_git("worktree", "prune")
