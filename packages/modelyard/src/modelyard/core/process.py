"""TODO doc."""

import os
import re
import subprocess
import sys
from pathlib import Path

from modelyard.core.errors import UserError

DVC_COMMAND = (sys.executable, "-m", "dvc")


def add_to_dvc(path: Path) -> None:
    """Put a large file under DVC, and no longer under git; DVC's refusal is a `UserError`."""
    subprocess.run(
        ["git", "rm", "--cached", "--quiet", "--ignore-unmatch", "--", path], capture_output=True, check=False
    )
    done = run_dvc("add", path)
    if done.returncode:
        subprocess.run(["git", "reset", "--quiet", "--", path], capture_output=True, check=False)
        raise UserError(f"DVC did not take {path} ({last_error_line(done.stderr)}); the project is as it was")


def run_git(*arguments: str, cwd: Path = Path()) -> str:
    """What git answers, stripped; a refusal is a `UserError` with git's own words."""
    try:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("git is not installed; install it and try again") from None
    except subprocess.CalledProcessError as problem:
        raise UserError(f"git {arguments[0]}: {last_error_line(problem.stderr)}") from None
    return done.stdout.strip()


def run_dvc(*arguments: str | Path, shown: bool = False) -> subprocess.CompletedProcess[str]:
    """What DVC answers; its words go to the terminal when they are to be shown."""
    return subprocess.run([*DVC_COMMAND, *map(str, arguments)], capture_output=not shown, text=True, check=False)


def last_error_line(text: str) -> str:
    """The last line that a tool said of the matter itself."""
    if first := re.search(r"failed to transfer '.*' - (.*)", text):  # DVC's last line only counts them
        return first[1]
    lines = [line.strip() for line in text.splitlines() if "https://" not in line and not line.startswith("make")]
    last = next(filter(None, reversed(lines)), "without a word")
    return re.sub("^(error|fatal): (unexpected error - )?", "", last, flags=re.IGNORECASE)


def try_command(*command: str) -> str | None:
    """What a tool says in at most half a minute, or None where it fails or is not there."""
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
