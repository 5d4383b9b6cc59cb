"""TODO doc."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.core.dvc_lock import cached, outs
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.git_objects import at
from modelyard.core.paths import LIBRARY, LOCK, MODEL, ROWS
from modelyard.core.process import DVC, last_words


@dataclass(frozen=True)
class Champion:
    """A model by digest, the commit whose code made it, and why it is the one; `dummy` has neither."""

    source: str
    model: str | None = None
    commit: str | None = None


def learned(project: Path) -> np.ndarray:
    """The hashes of the rows that a model learned from; a file that holds anything else is a `UserError`."""
    try:
        return np.asarray(np.load(project / ROWS, allow_pickle=False))
    except (ValueError, OSError, EOFError):
        raise UserError(f"{project / ROWS} holds no hashes of rows; `make pipeline` makes it anew") from None


def run(project: Path, *command: str) -> None:
    """Run a command with a checkout's own code; its last line becomes the `UserError` when it fails."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env = keep | {"PYTHONPATH": str(project / LIBRARY), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(last_words(done.stderr or done.stdout))


def bring(project: Path, champion: Champion) -> Champion:
    """Put the champion's model into its checkout: from DVC's cache or remote, else trained again."""
    where, files = outs(at(str(champion.commit), LOCK)), [project / MODEL, project / ROWS]
    for path in (MODEL, ROWS):
        held = cached(where.get(str(path)))
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        if held.is_file():
            shutil.copyfile(held, project / path)
    lacks = not all(file.exists() for file in files)
    if lacks and "[" in (project / ".dvc/config").read_text(encoding="utf-8").replace("[core]", ""):  # a remote
        command = [*DVC, "pull", "--quiet", str(MODEL), str(ROWS)]
        subprocess.run(command, cwd=project, capture_output=True, check=False)
        lacks = not all(file.exists() for file in files)
    if lacks:
        run(project, *DVC, "repro", "train")
    digest = sha256(project / MODEL)
    rebuilt = lacks or champion.model not in (None, digest)
    return Champion("rebuilt" if rebuilt else champion.source, digest, champion.commit)
