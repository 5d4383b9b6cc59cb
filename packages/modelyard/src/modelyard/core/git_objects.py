"""Reads files, folders and whole checkouts of other commits from git."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.errors import OptionError, ToolError, UserError
from modelyard.core.paths import DVC_LOCK, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.process import read_git_bytes, run_git
from modelyard.core.yaml import parse_yaml

CANDIDATE_PATHS = (str(DVC_LOCK), str(PARAMS_YAML), str(SCHEMA_YAML), "src")  # what makes a candidate another model
DEFAULT_BRANCHES = ("main", "master")  # where neither a clone nor git's settings name it


def read_blob(commit: str, path: str | Path) -> bytes | None:
    """Return a file's bytes at a commit; None where that commit has no such file."""
    try:
        return read_git_bytes("cat-file", "blob", f"{commit}:./{path}")
    except ToolError:
        return None


def read_folder_blobs(commit: str, folder: str | Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder at a commit, by its path in the folder."""
    listing = read_git_bytes("ls-tree", "-r", "-z", commit, "--", f"./{folder}/").decode()
    rows = [row for row in listing.split("\0") if row]
    names = [row.partition("\t")[2] for row in rows]
    objects = [row.split()[2] for row in rows]
    contents = read_objects(objects)
    return {Path(name).relative_to(folder).as_posix(): content for name, content in zip(names, contents, strict=True)}


def read_objects(ids: Sequence[str]) -> list[bytes]:
    """Return the contents of git objects, in the order of their ids."""
    rest = read_git_bytes("cat-file", "--batch", stdin="\n".join(ids).encode())
    contents = []
    for _ in ids:
        head, _, rest = rest.partition(b"\n")
        size = int(head.split()[2])
        contents.append(rest[:size])
        rest = rest[size + 1 :]
    return contents


def find_objects(commits: Sequence[str], path: str | Path) -> list[str | None]:
    """Return the id of a file or folder at each of many commits; None for a commit that does not have it."""
    names = "".join(f"{commit}:./{path}\n" for commit in commits)
    lines = read_git_bytes("cat-file", "--batch-check=%(objectname)", stdin=names.encode()).decode().splitlines()
    return [None if line.endswith(" missing") else line for line in lines]


def read_yaml_at(commit: str, path: str | Path) -> Any:
    """Return the value of a YAML or JSON file at a commit; None where that commit has no such file."""
    content = read_blob(commit, path)
    return None if content is None else parse_yaml(content)


def find_commit(name: str) -> str | None:
    """Return the commit that a name stands for; None where it stands for none."""
    if name.startswith("-"):
        return None
    try:
        return run_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except ToolError:
        return None


def resolve_base(base: str | None) -> str:
    """Return the commit that a change is compared with.

    It is `base` where that is given. Else it is the tip of the default branch; where that is the current commit, and
    nothing that makes a model has changed since, it is the commit before, or the first commit itself.

    Raises
    ------
    OptionError
        `base` is not a commit of this repository, or none can be found without it.
    UserError
        The repository has no commit.
    """
    if base:
        found = find_commit(base)
        if found is None:
            raise OptionError("BASE", f"{base} is not a commit of this repository", "fetch it, or name another one")
        return found
    head = find_commit("HEAD")
    if head is None:
        raise UserError("nothing is committed yet; `git add -A && git commit`, then run this again")
    tip = find_default_tip()
    is_changed = bool(run_git("status", "--porcelain", "--", *CANDIDATE_PATHS))
    return tip if tip != head or is_changed else find_parent(head)


def find_default_tip() -> str:
    """Return the tip of the default branch: that of the remote, or of this repository where nothing is pushed.

    Raises
    ------
    OptionError
        Nothing here says which branch it is, or this clone does not have it.
    """
    remote_branches = list_branches("refs/remotes")
    if remote_branches:
        remotes = dict.fromkeys(["origin", *(name.partition("/")[0] for name in remote_branches)])
        names = [f"{remote}/{name}" for remote in remotes for name in ("HEAD", *DEFAULT_BRANCHES)]
        problem = "is not given, and this clone does not have the remote's default branch"
        cure = (
            "`git fetch origin main:refs/remotes/origin/main` (or what it is called) brings it, then BASE=origin/main"
        )
    else:
        branches = list_branches("refs/heads")
        own = run_git("config", "--default", "", "init.defaultBranch")
        names = [own, *DEFAULT_BRANCHES, *(branches if len(branches) == 1 else [])]
        problem = f"is not given, and nothing says which of {', '.join(branches)} is the default branch"
        current = run_git("branch", "--show-current")
        others = [name for name in branches if name != current]
        cure = f"name it, such as BASE={others[0] if others else 'HEAD~1'}"
    tips = [tip for tip in map(find_commit, filter(None, names)) if tip]
    if not tips:
        raise OptionError("BASE", problem, cure)
    return tips[0]


def list_branches(namespace: str) -> list[str]:
    """Return the names of the branches below `refs/heads` or `refs/remotes`, without the latter's HEAD."""
    names = run_git("for-each-ref", "--format=%(refname:lstrip=2)", namespace).splitlines()
    return [name for name in names if not name.endswith("/HEAD")]


def find_parent(commit: str) -> str:
    """Return the commit before another one; the first commit of a repository is its own.

    Raises
    ------
    OptionError
        This clone is shallow, so that the commit before is missing.
    """
    parent = find_commit(f"{commit}~1")
    if parent is None and run_git("rev-parse", "--is-shallow-repository") == "true":
        cure = "`git fetch --unshallow` brings it, or name another commit"
        raise OptionError("BASE", "is not given, and the commit before is missing in this shallow clone", cure)
    return parent or commit


@contextmanager
def checkout_commit(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder that shares our DVC cache, and yield the project's folder in it."""
    folder = Path(tempfile.mkdtemp(prefix="checkout-"))
    try:
        run_git("worktree", "add", "--quiet", "--detach", "--force", str(folder), commit)
        project = folder / run_git("rev-parse", "--show-prefix")
        cache = Path(".dvc/cache").resolve()
        (project / ".dvc").mkdir(parents=True, exist_ok=True)
        (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n", encoding="utf-8")
        (project / ".dvc/cache").symlink_to(cache)  # for a checkout that is made from this one
        yield project
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        run_git("worktree", "prune")
