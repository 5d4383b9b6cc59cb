"""Runs the command line: `python -m modelyard`."""

from modelyard.cli import run_and_exit

if __name__ == "__main__":
    run_and_exit()
