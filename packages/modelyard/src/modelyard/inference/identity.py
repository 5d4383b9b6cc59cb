"""What a model bundle was made from, and what ties its model to the repository."""

import hashlib
from pathlib import Path
from typing import Any

from modelyard.core.errors import UserError
from modelyard.core.files import read_json, sha256
from modelyard.core.paths import (
    DATA_JSON,
    DVC_LOCK,
    HOLDOUT_PARQUET,
    MODEL_FILE,
    PARAMS_YAML,
    SCHEMA_YAML,
    VERDICT_JSON,
)
from modelyard.core.process import run_git
from modelyard.core.project import Project

SOURCE_DISTRICTS = ("core", "data", "pipeline", "inference")


def hash_sources() -> str:
    """Return one SHA-256 of all files that a bundle is built from: model, holdout, settings and code."""
    library = Path(__file__).parents[1]
    folders = [*(library / name for name in SOURCE_DISTRICTS), Project.load().source]
    code = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    digests = [sha256(path) for path in (MODEL_FILE, HOLDOUT_PARQUET, PARAMS_YAML, SCHEMA_YAML, *code)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def get_model_identity() -> dict[str, Any]:
    """Return what ties the model in this folder to the repository.

    Returns
    -------
    dict
        The fields `model`, `commit`, `dvc_lock`, `data` and `verdict` of a `ModelBundle`. The commit is empty outside
        a git repository; the verdict is `none` where the gate has not judged this model.
    """
    model = sha256(MODEL_FILE)
    return {
        "model": model,
        "commit": find_commit(),
        "dvc_lock": sha256(DVC_LOCK) if DVC_LOCK.exists() else "",
        "data": read_json(DATA_JSON)["sha256"],
        "verdict": read_decision(model),
    }


def find_commit() -> str:
    """Return the current commit; an empty text where there is no repository or no commit."""
    try:
        return run_git("rev-parse", "HEAD")
    except UserError:
        return ""


def read_decision(model: str) -> str:
    """Return the gate's decision on a model, given by its SHA-256; `none` where there is no verdict on it."""
    if not VERDICT_JSON.exists():
        return "none"
    verdict = read_json(VERDICT_JSON)
    judged = (verdict.get("candidate") or {}).get("model") == model
    return verdict["decision"] if judged else "none"
