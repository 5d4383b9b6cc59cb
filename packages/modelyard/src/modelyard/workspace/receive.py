"""Put a candidate that another job trained into place, as data: each file by its name, and models by their digest.

The job that trains runs code of a branch and can write anything into what it hands on. So nothing of it is started
here, no other file is taken, and of its params.yaml at most the block `train` counts.
"""

import shutil
from pathlib import Path
from typing import Any

from modelyard.core.console import print_result
from modelyard.core.dvc_lock import get_cache_path, get_hashes, verify_data
from modelyard.core.errors import IntegrityError, InvalidFileError, MissingFileError
from modelyard.core.files import md5
from modelyard.core.model_at import MODEL_FILES
from modelyard.core.params import load_params
from modelyard.core.paths import (
    DATA_JSON,
    DVC_LOCK,
    HOLDOUT_PARQUET,
    METRICS_JSON,
    PARAMS_YAML,
    PLOTS_FOLDER,
    PREDICTIONS_PARQUET,
    TRAIN_PARQUET,
    TRAINING_JSON,
)
from modelyard.core.process import run_git
from modelyard.core.yaml import read_yaml
from modelyard.core.yaml_edit import edit_yaml

REPORT_FILES = (DATA_JSON, METRICS_JSON, TRAINING_JSON)
# From DVC's cache, where it has them: report and model card show them. The gate reads no rows but its own.
ROW_FILES = (TRAIN_PARQUET, HOLDOUT_PARQUET, PREDICTIONS_PARQUET)
TRAIN_AGAIN = "run the workflow again"


def take_file(folder: Path, path: Path) -> None:
    """Copy one plain file of a candidate to its place; a link would lead out of the folder that was handed on.

    Raises
    ------
    MissingFileError
        There is no such file.
    InvalidFileError
        It is a link or in a folder that is one, or its place is.
    """
    refuse_link(path)
    source = folder / path
    if source.resolve() != folder.resolve() / path:
        raise InvalidFileError(source, "is a link", TRAIN_AGAIN)
    if not source.is_file():
        raise MissingFileError(source, TRAIN_AGAIN)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)


def refuse_link(path: Path) -> None:
    """Raise an `InvalidFileError` where a branch has a link in the place of a file: it would be written elsewhere."""
    if path.resolve() != Path.cwd().resolve() / path:
        raise InvalidFileError(path, "is a link in this commit", "commit no links below models/ and reports/")


def read_candidate_lock(folder: Path) -> dict[str, Any]:
    """Return the dvc.lock of a candidate, or raise an `InvalidFileError` where it names no model."""
    lock = read_yaml(folder / DVC_LOCK)
    try:
        has_models = {str(path) for path in MODEL_FILES} <= set(get_hashes(lock))
    except (AttributeError, KeyError, TypeError):
        has_models = False
    if not has_models:
        raise InvalidFileError(folder / DVC_LOCK, "names no model", TRAIN_AGAIN)
    return dict(lock)


def receive_models(folder: Path, hashes: dict[str, str]) -> None:
    """Take the model files, or raise an `IntegrityError` where one is not what the candidate's dvc.lock names."""
    for path in MODEL_FILES:
        take_file(folder, path)
        if md5(path) != hashes[str(path)]:
            path.unlink()
            raise IntegrityError("model", f"{folder / path} is not what {folder / DVC_LOCK} names; {TRAIN_AGAIN}")


def receive_reports(folder: Path) -> None:
    """Take what the report shows of the training: the small files that are there."""
    refuse_link(PLOTS_FOLDER)
    plots = [path.relative_to(folder) for path in sorted((folder / PLOTS_FOLDER).glob("*.csv"))]
    shutil.rmtree(PLOTS_FOLDER, ignore_errors=True)
    for path in (*REPORT_FILES, *plots):
        if (folder / path).exists():
            take_file(folder, path)


def receive_rows(hashes: dict[str, str]) -> None:
    """Take the rows that DVC's cache has, where their bytes are what the candidate's dvc.lock names."""
    for path in ROW_FILES:
        refuse_link(path)
        cached = get_cache_path(hashes.get(str(path)))
        path.unlink(missing_ok=True)
        if cached.is_file() and md5(cached) == hashes[str(path)]:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cached, path)


def receive_train_params(folder: Path) -> None:
    """Take the block `train` of the candidate's params.yaml, which a retrain changes; the rest stays the checkout's."""
    block = read_yaml(folder / PARAMS_YAML)["train"]
    with edit_yaml(PARAMS_YAML) as document:
        document["train"].update(block)
    load_params()


def main(folder: str, retrained: bool = False) -> int:
    """Put the candidate in FOLDER into place, as data; RETRAINED=1 takes the block train of its params.yaml, too."""
    source = Path(folder)
    refuse_link(source)
    lock = read_candidate_lock(source)
    hashes = get_hashes(lock)
    verify_data(map(Path, run_git("ls-files", "--", "*.dvc").splitlines()))
    receive_models(source, hashes)
    take_file(source, DVC_LOCK)
    receive_reports(source)
    receive_rows(hashes)
    if retrained:
        receive_train_params(source)
    print_result("receive", f"the candidate of {folder} is in place: {hashes[str(MODEL_FILES[0])][:12]} (MD5)")
    return 0
