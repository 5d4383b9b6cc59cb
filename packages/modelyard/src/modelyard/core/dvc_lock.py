"""TODO doc."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.core.errors import UserError
from modelyard.core.files import md5
from modelyard.core.paths import DVC_LOCK, METRICS_JSON, MODEL_FILE
from modelyard.core.yaml import read_yaml

DVC_CACHE = Path(".dvc/cache/files/md5")
# What follows from the model: other bytes there are reported, since another processor may round differently.
IGNORED_PATHS = re.compile(r"(^|/)(__pycache__|[^/]*\.egg-info|\.[^/]*_cache)(/|$)")
MODEL_OUTPUTS = (str(MODEL_FILE), "models/rows.npy", "reports/predictions.parquet", "reports/plots", str(METRICS_JSON))


def load_lock() -> dict[str, Any]:
    """The dvc.lock of this folder."""
    return read_yaml(DVC_LOCK) or {} if DVC_LOCK.exists() else {}


def get_hashes(lock: dict[str, Any], part: str = "outs") -> dict[str, str]:
    """The MD5 of every output (or of `deps`) that a dvc.lock names: where DVC's cache keeps its bytes."""
    rows = (row for stage in lock.get("stages", {}).values() for row in stage.get(part, []))
    return {row["path"]: row["md5"] for row in rows if "md5" in row}


def verify_model_matches_lock() -> None:
    """The model here is the one that dvc.lock names, byte for byte; another is a `UserError`."""
    if get_hashes(load_lock()).get(str(MODEL_FILE)) not in (None, md5(MODEL_FILE)):
        raise UserError(f"{MODEL_FILE} is not the model that {DVC_LOCK} names; `make pipeline` brings that back")


def get_cache_path(digest: str | None) -> Path:
    """Where DVC's cache keeps the bytes of an MD5; nothing is there for none."""
    return DVC_CACHE / (digest or "none")[:2] / (digest or "none")[2:]


def hash_folder(files: Mapping[str, str]) -> str:
    """Return DVC's digest of a folder, from the MD5 of each file by its path in the folder."""
    rows = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return md5(json.dumps(rows, sort_keys=True).encode()) + ".dir"


def hash_path(path: Path) -> str:
    """Return DVC's digest of a file or folder; caches in a folder do not count, as .dvcignore says."""
    if not path.is_dir():
        return md5(path)
    files = (file for file in sorted(path.rglob("*")) if file.is_file())
    names = {file.relative_to(path).as_posix(): file for file in files}
    return hash_folder({name: md5(file) for name, file in names.items() if not IGNORED_PATHS.search(name)})


class LockDifference(NamedTuple):
    """One place where two dvc.lock files say different things."""

    stage: str
    part: str  # cmd, deps, params, outs or stage
    name: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))

    @property
    def invalidates_lock(self) -> bool:
        """Whether it shows that a lock is false: everything but the model and what follows from it."""
        return self.part not in ("deps", "outs") or self.name not in MODEL_OUTPUTS


def flatten_lock(lock: dict[str, Any]) -> dict[LockDifference, Any]:
    """A dvc.lock as place → digest or value."""
    found: dict[LockDifference, Any] = {}
    for name, stage in lock.get("stages", {}).items():
        found |= {LockDifference(name, "stage"): True, LockDifference(name, "cmd"): stage.get("cmd")}
        for part in ("deps", "outs"):
            found |= {LockDifference(name, part, row["path"]): row.get("md5") for row in stage.get(part, [])}
        for values in stage.get("params", {}).values():
            found |= {LockDifference(name, "params", key): value for key, value in values.items()}
    return found


def diff_locks(said: dict[str, Any], made: dict[str, Any]) -> list[LockDifference]:
    """Where a committed dvc.lock and a fresh one differ; a stage that only one has is one difference."""
    old, new = flatten_lock(said), flatten_lock(made)
    found = [place for place in {**old, **new} if old.get(place) != new.get(place)]
    alone = {place.stage for place in found if place.part == "stage"}
    return [place for place in found if place.part == "stage" or place.stage not in alone]


def find_stale_entries(said: dict[str, Any], made: dict[str, Any]) -> list[LockDifference]:
    """Where a committed dvc.lock was not made from the files beside it; other outputs alone do not count."""
    made_here = set(get_hashes(made)) | set(MODEL_OUTPUTS)
    return [d for d in diff_locks(said, made) if d.part != "outs" and d.name not in made_here]
