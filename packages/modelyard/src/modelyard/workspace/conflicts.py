"""Find the files that a merge left in conflict; only the standard library is needed."""

from pathlib import Path

from modelyard.core.process import try_command

CONFLICT_MARKER = "<<<<<<< "
LOCK_FILE = Path("dvc.lock")


def has_conflict_markers(path: Path) -> bool:
    """Return whether a file holds the markers that git leaves where two branches changed the same lines."""
    if not path.exists():
        return False
    lines = path.read_text(encoding="utf-8").splitlines()
    return any(line.startswith(CONFLICT_MARKER) for line in lines)


def list_conflicts() -> list[str]:
    """Return the paths of this folder's files in conflict, and dvc.lock where its markers were added to git."""
    unmerged = try_command("git", "diff", "--name-only", "--diff-filter=U", "--relative") or ""
    paths = set(unmerged.splitlines())
    if has_conflict_markers(LOCK_FILE):
        paths.add(str(LOCK_FILE))
    return sorted(paths)
