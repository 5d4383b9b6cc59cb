"""Brings the model that training goes on from, so that the stage `train` needs neither git nor DVC.

params.yaml names it under `train.start`, by its commit and by the SHA-256 of three files in models/start/.
"""

import shutil
from pathlib import Path

from modelyard.core.console import print_result
from modelyard.core.dvc_lock import get_cache_path, get_hashes
from modelyard.core.errors import IntegrityError, MissingFileError
from modelyard.core.files import sha256
from modelyard.core.git_objects import checkout_commit, read_yaml_at
from modelyard.core.model_at import Champion, restore_model, run_in_checkout
from modelyard.core.params import StartParams, load_params
from modelyard.core.paths import DVC_LOCK, HOLDOUT_PARQUET, MODEL_FILE, ROW_HASHES_FILE
from modelyard.core.process import DVC_COMMAND

START_FOLDER = Path("models/start")
START_FILES = {"model": MODEL_FILE, "rows": ROW_HASHES_FILE, "holdout": HOLDOUT_PARQUET}
START_CURE = "`python -m modelyard start` brings it"


def get_start_path(name: str) -> Path:
    """Return where the `model`, `rows` or `holdout` of the earlier model lies."""
    return START_FOLDER / START_FILES[name].name


def bring_start_model(commit: str) -> StartParams:
    """Copy the model of a commit, the hashes of its training rows and its holdout into models/start/.

    Parameters
    ----------
    commit
        The commit whose dvc.lock names the model. What DVC's cache and remote lack is made again.

    Returns
    -------
    StartParams
        What belongs under `train.start` in params.yaml.
    """
    START_FOLDER.mkdir(parents=True, exist_ok=True)
    with checkout_commit(commit) as project:
        restore_model(project, Champion("base", None, commit))
        _restore_holdout(project, commit)
        for name, path in START_FILES.items():
            shutil.copyfile(project / path, get_start_path(name))
    return StartParams(commit, **{name: sha256(get_start_path(name)) for name in START_FILES})


def _restore_holdout(project: Path, commit: str) -> None:
    """Put the holdout of a commit into its checkout, from DVC's cache or by the stage `split`."""
    hashes = get_hashes(read_yaml_at(commit, DVC_LOCK) or {})
    cached = get_cache_path(hashes.get(str(HOLDOUT_PARQUET)))
    path = project / HOLDOUT_PARQUET
    path.parent.mkdir(parents=True, exist_ok=True)
    if cached.is_file():
        shutil.copyfile(cached, path)
    else:
        run_in_checkout(project, *DVC_COMMAND, "repro", "split")


def check_start_files(start: StartParams) -> None:
    """Check that the files in models/start/ are those that params.yaml names.

    Raises
    ------
    MissingFileError
        Where one of them is not there.
    IntegrityError
        Where one of them has another SHA-256.
    """
    for name in START_FILES:
        path = get_start_path(name)
        expected = getattr(start, name)
        if not path.is_file():
            raise MissingFileError(path, START_CURE)
        found = sha256(path)
        if found != expected:
            problem = f"{path} is {found[:12]}, but train.start names {expected[:12]}; {START_CURE}"
            raise IntegrityError("train.start", problem)


def has_start_files(start: StartParams) -> bool:
    """Return whether the files in models/start/ are those that params.yaml names."""
    try:
        check_start_files(start)
    except (MissingFileError, IntegrityError):
        return False
    return True


def main() -> int:
    """Bring the model that `train.start` in params.yaml names, unless it is there."""
    start = load_params().train.start
    if start is None:
        print_result("start", "train.start is null: training starts from nothing")
        return 0
    if not has_start_files(start):
        bring_start_model(start.commit)
        check_start_files(start)
    print_result("start", f"the model {start.model[:12]} of commit {start.commit[:12]} is in {START_FOLDER}/")
    return 0
