"""Runs the command line: `python -m modelyard`."""

import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)


def leave_current_folder() -> None:
    """Take the current folder and its `src/` off `sys.path`: no file there stands in for an installed module."""
    here = [Path.cwd(), Path.cwd() / "src"]
    sys.path[:] = [path for path in sys.path if Path(path).absolute() not in here]


if __name__ == "__main__":
    if sys.version_info < OLDEST_PYTHON:  # the system's python3, which runs the verbs that install nothing
        found = ".".join(map(str, sys.version_info[:2]))
        cure = "run `make install`, which makes an environment that has one"
        sys.exit(f"error: python3 is Python {found}, and 3.11 or newer is needed; {cure}")
    leave_current_folder()
    from modelyard.cli import run_and_exit

    run_and_exit()
