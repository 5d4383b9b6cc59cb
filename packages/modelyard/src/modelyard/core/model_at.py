"""TODO doc."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.core.dvc_lock import get_cache_path, get_hashes
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.git_objects import read_yaml_at
from modelyard.core.paths import DVC_LOCK, LIBRARY_FOLDER, MODEL_FILE, ROW_HASHES_FILE
from modelyard.core.process import DVC_COMMAND, last_error_line


@dataclass(frozen=True)
class Champion:
    """A model by digest, the commit whose code made it, and why it is the one; `dummy` has neither."""

    source: str
    model: str | None = None
    commit: str | None = None


def load_row_hashes(project: Path) -> np.ndarray:
    """The hashes of the rows that a model learned from; a file that holds anything else is a `UserError`."""
    try:
        return np.asarray(np.load(project / ROW_HASHES_FILE, allow_pickle=False))
    except (ValueError, OSError, EOFError):
        raise UserError(f"{project / ROW_HASHES_FILE} holds no hashes of rows; `make pipeline` makes it anew") from None


def run_in_checkout(project: Path, *command: str) -> None:
    """Run a command with a checkout's own code; its last line becomes the `UserError` when it fails."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env = keep | {"PYTHONPATH": str(project / LIBRARY_FOLDER), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(last_error_line(done.stderr or done.stdout))


def restore_model(project: Path, champion: Champion) -> Champion:
    """Put the champion's model into its checkout: from DVC's cache or remote, else trained again."""
    where, files = (
        get_hashes(read_yaml_at(str(champion.commit), DVC_LOCK)),
        [project / MODEL_FILE, project / ROW_HASHES_FILE],
    )
    for path in (MODEL_FILE, ROW_HASHES_FILE):
        held = get_cache_path(where.get(str(path)))
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        if held.is_file():
            shutil.copyfile(held, project / path)
    lacks = not all(file.exists() for file in files)
    if lacks and "[" in (project / ".dvc/config").read_text(encoding="utf-8").replace("[core]", ""):  # a remote
        command = [*DVC_COMMAND, "pull", "--quiet", str(MODEL_FILE), str(ROW_HASHES_FILE)]
        subprocess.run(command, cwd=project, capture_output=True, check=False)
        lacks = not all(file.exists() for file in files)
    if lacks:
        run_in_checkout(project, *DVC_COMMAND, "repro", "train")
    digest = sha256(project / MODEL_FILE)
    rebuilt = lacks or champion.model not in (None, digest)
    return Champion("rebuilt" if rebuilt else champion.source, digest, champion.commit)
