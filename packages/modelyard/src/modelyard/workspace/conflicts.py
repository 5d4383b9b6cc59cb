"""TODO doc."""

from pathlib import Path

from modelyard.core.process import told

MARK = "<<<<<<< "  # what git leaves in a file that two branches changed


def conflicts() -> list[str]:
    """The files that a merge left in conflict, and a dvc.lock to which git added the marks."""
    names = (told("git", "diff", "--name-only", "--diff-filter=U", "--relative") or "").split("\n")
    lock = Path("dvc.lock")
    marked = lock.exists() and any(line.startswith(MARK) for line in lock.read_text(encoding="utf-8").splitlines())
    return sorted({*filter(None, names), *(["dvc.lock"] if marked else [])})
