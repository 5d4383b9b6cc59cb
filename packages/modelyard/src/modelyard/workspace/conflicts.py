"""TODO doc."""

from pathlib import Path

from modelyard.core.process import try_command

CONFLICT_MARKER = "<<<<<<< "  # what git leaves in a file that two branches changed


def list_conflicts() -> list[str]:
    """The files that a merge left in conflict, and a dvc.lock to which git added the marks."""
    names = (try_command("git", "diff", "--name-only", "--diff-filter=U", "--relative") or "").split("\n")
    lock = Path("dvc.lock")
    marked = lock.exists() and any(
        line.startswith(CONFLICT_MARKER) for line in lock.read_text(encoding="utf-8").splitlines()
    )
    return sorted({*filter(None, names), *(["dvc.lock"] if marked else [])})
