"""Runs the command line: `python -m modelyard`."""

import sys

OLDEST_PYTHON = (3, 11)

if __name__ == "__main__":
    if sys.version_info < OLDEST_PYTHON:  # the system's python3, which runs the verbs that install nothing
        found = ".".join(map(str, sys.version_info[:2]))
        cure = "run `make install`, which makes an environment that has one"
        sys.exit(f"error: python3 is Python {found}, and 3.11 or newer is needed; {cure}")
    from modelyard.cli import run_and_exit

    run_and_exit()
