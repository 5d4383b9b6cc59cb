"""Restores the model of an earlier commit, and runs that commit's own code."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.core.dvc_lock import get_cache_path, get_hashes, iterate_outputs, verify_cached_folder, verify_data
from modelyard.core.errors import InvalidFileError, ToolError
from modelyard.core.files import md5, sha256
from modelyard.core.git_objects import read_yaml_at
from modelyard.core.paths import DVC_LOCK, LIBRARY_FOLDER, MODEL_FILE, PARAMS_YAML, ROW_HASHES_FILE
from modelyard.core.process import DVC_COMMAND, get_default_remote, last_error_line, run_dvc, run_process
from modelyard.core.yaml import read_yaml

MODEL_FILES = (MODEL_FILE, ROW_HASHES_FILE)
MODELYARD_COMMAND = (sys.executable, "-P", "-m", "modelyard")


@dataclass(frozen=True)
class Champion:
    """The model that a candidate is compared with.

    Parameters
    ----------
    source
        Why it is the one: `deployed`, `base` (nothing is deployed), `rebuilt` (trained again) or `dummy` (there is
        no model that fits).
    model
        The SHA-256 of its file; None until the file is there, and for a dummy.
    commit
        The commit whose code and data made it; None for a dummy.
    """

    source: str
    model: str | None = None
    commit: str | None = None


def load_row_hashes(project: Path) -> np.ndarray:
    """Return the hashes of the rows that a project's model was trained on, as uint64 of shape (n,).

    Raises
    ------
    InvalidFileError
        The file is missing or holds something else.
    """
    return load_row_hashes_file(project / ROW_HASHES_FILE)


def load_row_hashes_file(path: Path) -> np.ndarray:
    """Return the hashes of rows in a file; raises as `load_row_hashes` does."""
    broken = InvalidFileError(path, "holds no hashes of rows", "`make pipeline` writes it again")
    try:
        hashes = np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError):
        raise broken from None
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise broken
    return hashes


def run_in_checkout(project: Path, *command: str) -> None:
    """Run a command with the library and the code of a checkout.

    Raises
    ------
    ToolError
        The command fails; with the last line that it printed.
    """
    env = {"PYTHONPATH": str(project / LIBRARY_FOLDER), "PYTHONSAFEPATH": "1", "DVC_NO_ANALYTICS": "1"}
    done = run_process(command, cwd=project, env=env)
    if done.returncode:
        raise ToolError(Path(command[0]).name, last_error_line(done.stderr or done.stdout))


def bring_start_model(project: Path) -> None:
    """Bring the model that a checkout's training goes on from, where its params.yaml names one under `train.start`."""
    if read_yaml(project / PARAMS_YAML)["train"].get("start"):
        run_in_checkout(project, *MODELYARD_COMMAND, "start")


def bring_raw_data(project: Path) -> None:
    """Bring a checkout's data out of DVC's cache, or raise an `IntegrityError` where it is not what git names."""
    pointers = sorted(path for path in project.rglob("*.dvc") if path.is_file())
    for _, entry in iterate_outputs(pointers):
        verify_cached_folder(str(entry["path"]), str(entry.get("md5")))
    if pointers:
        run_dvc("checkout", "--quiet", *pointers, cwd=project)
    verify_data(pointers)


def restore_model(project: Path, champion: Champion) -> Champion:
    """Put the champion's model into its checkout: from DVC's cache, from the remote, or by training it again.

    Parameters
    ----------
    project
        A checkout of the champion's commit.
    champion
        The champion, with a commit.

    Returns
    -------
    Champion
        The same with the SHA-256 of the restored file; its source is `rebuilt` where that is another model.

    Raises
    ------
    IntegrityError
        It would be trained on other data than its commit names.
    """
    _copy_from_cache(project, str(champion.commit))
    if not _has_model(project) and get_default_remote(project):
        run_dvc("pull", "--quiet", *MODEL_FILES, cwd=project)
    is_retrained = not _has_model(project)
    if is_retrained:
        bring_raw_data(project)
        bring_start_model(project)
        run_in_checkout(project, *DVC_COMMAND, "repro", "--force", "--no-run-cache", "train")
    digest = sha256(project / MODEL_FILE)
    is_rebuilt = is_retrained or champion.model not in (None, digest)
    return Champion("rebuilt" if is_rebuilt else champion.source, digest, champion.commit)


def _copy_from_cache(project: Path, commit: str) -> None:
    """Copy the model files that DVC's cache has into a checkout; a file that was changed there leaves the cache."""
    hashes = get_hashes(read_yaml_at(commit, DVC_LOCK) or {})
    for path in MODEL_FILES:
        cached = get_cache_path(hashes.get(str(path)))
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        if not cached.is_file():
            continue
        if md5(cached) == hashes[str(path)]:  # a branch's code may have written to the cache
            shutil.copyfile(cached, project / path)
        else:
            cached.unlink()


def _has_model(project: Path) -> bool:
    """Return whether all model files are in a project."""
    return all((project / path).exists() for path in MODEL_FILES)
