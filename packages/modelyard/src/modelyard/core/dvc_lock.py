"""Reads dvc.lock, computes DVC's digests, and finds where two dvc.lock files differ."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import msgspec

from modelyard.core.errors import IntegrityError, InvalidFileError
from modelyard.core.files import md5
from modelyard.core.paths import DVC_LOCK, METRICS_JSON, MODEL_FILE
from modelyard.core.yaml import read_yaml

DVC_CACHE = Path(".dvc/cache/files/md5")
FOLDER_SUFFIX = ".dir"  # of the digest of a folder
IGNORED_PATHS = re.compile(r"(^|/)(__pycache__|[^/]*\.egg-info|\.[^/]*_cache)(/|$)")  # as in .dvcignore
# The model and what follows from it. Another processor may round differently, so other bytes there prove nothing.
MODEL_OUTPUTS = (str(MODEL_FILE), "models/rows.npy", "reports/predictions.parquet", "reports/plots", str(METRICS_JSON))


def load_lock() -> dict[str, Any]:
    """Return the contents of dvc.lock; empty where there is none."""
    if not DVC_LOCK.exists():
        return {}
    return read_yaml(DVC_LOCK) or {}


def get_hashes(lock: Mapping[str, Any], part: str = "outs") -> dict[str, str]:
    """Return the MD5 of every path that a dvc.lock lists under `outs` or `deps`."""
    entries = [entry for stage in lock.get("stages", {}).values() for entry in stage.get(part, [])]
    return {entry["path"]: entry["md5"] for entry in entries if "md5" in entry}


def verify_model_matches_lock(path: Path = MODEL_FILE) -> None:
    """Raise an `InvalidFileError` where the model file, or another output of training, is not as dvc.lock names it."""
    expected = get_hashes(load_lock()).get(str(path))
    if expected not in (None, md5(path)):
        what = "model" if path == MODEL_FILE else "file"
        raise InvalidFileError(path, f"is not the {what} that {DVC_LOCK} names", "`make pipeline` restores that one")


def get_cache_path(digest: str | None) -> Path:
    """Return the place of an MD5 in DVC's cache; for None a path where nothing is."""
    name = digest or "none"
    return DVC_CACHE / name[:2] / name[2:]


def hash_folder(files: Mapping[str, str]) -> str:
    """Return DVC's digest of a folder, from the MD5 of each file by its path in the folder."""
    rows = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return md5(json.dumps(rows, sort_keys=True).encode()) + ".dir"


def hash_path(path: Path) -> str:
    """Return DVC's digest of a file, or of a folder without the caches in it."""
    if not path.is_dir():
        return md5(path)
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    return hash_folder({name: md5(file) for name, file in files.items() if not IGNORED_PATHS.search(name)})


def is_inside(name: str) -> bool:
    """Whether a relative path stays in its folder, on every system."""
    parts = PureWindowsPath(name)  # both / and \ part it
    return not (parts.is_absolute() or parts.anchor or ".." in parts.parts)


def verify_cached_folder(name: str, digest: str) -> None:
    """Raise an `IntegrityError` where the list of a folder's files, in DVC's cache, names one outside of the folder.

    DVC joins the names of a folder's files to its path as they are, and a branch's job may have written them.

    Parameters
    ----------
    name
        The folder, for the message.
    digest
        Its MD5 in DVC's cache; one of a file has no such list.
    """
    cached = get_cache_path(digest)
    if not digest.endswith(FOLDER_SUFFIX) or not cached.is_file():
        return
    rows = msgspec.json.decode(cached.read_bytes(), type=list[dict[str, Any]])
    foreign = [row["relpath"] for row in rows if not is_inside(str(row["relpath"]))]
    if foreign:
        raise IntegrityError("data", f"{name} has a file named {foreign[0]!r}, outside of it; delete DVC's cache")


def iterate_outputs(pointers: Iterable[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each .dvc file with each entry of its outputs."""
    for pointer in pointers:
        for entry in read_yaml(pointer).get("outs", []):
            yield pointer, entry


def verify_data(pointers: Iterable[Path]) -> None:
    """Raise an `IntegrityError` where data is not what its .dvc file names.

    DVC does not look again at what it takes from its cache, and a job that runs code of a branch writes to that cache.

    Parameters
    ----------
    pointers
        The .dvc files. Data that is not there is not looked at.
    """
    for pointer, entry in iterate_outputs(pointers):
        path = pointer.parent / entry["path"]
        if path.exists() and hash_path(path) != entry["md5"]:
            sentence = f"{path} is not what {pointer} names; delete DVC's cache and run the workflow again"
            raise IntegrityError("data", sentence)


class LockDifference(NamedTuple):
    """A place where two dvc.lock files differ.

    Parameters
    ----------
    stage
        The stage of the pipeline.
    part
        `cmd`, `deps`, `params` or `outs`; `stage` where only one of the files has the stage.
    name
        The path or the parameter; empty for `cmd` and `stage`.
    """

    stage: str
    part: str
    name: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))

    @property
    def invalidates_lock(self) -> bool:
        """Whether it proves that a lock is wrong: it is not the model, nor something that follows from the model."""
        return self.part not in ("deps", "outs") or self.name not in MODEL_OUTPUTS


def flatten_lock(lock: Mapping[str, Any]) -> dict[LockDifference, Any]:
    """Return the digest or value at each place of a dvc.lock."""
    flat: dict[LockDifference, Any] = {}
    for name, stage in lock.get("stages", {}).items():
        flat[LockDifference(name, "stage")] = True
        flat[LockDifference(name, "cmd")] = stage.get("cmd")
        for part in ("deps", "outs"):
            for entry in stage.get(part, []):
                flat[LockDifference(name, part, entry["path"])] = entry.get("md5")
        for values in stage.get("params", {}).values():
            for key, value in values.items():
                flat[LockDifference(name, "params", key)] = value
    return flat


def diff_locks(committed: Mapping[str, Any], fresh: Mapping[str, Any]) -> list[LockDifference]:
    """Return where a committed and a fresh dvc.lock differ; a stage that only one of them has is one difference."""
    old = flatten_lock(committed)
    new = flatten_lock(fresh)
    found = [place for place in {**old, **new} if old.get(place) != new.get(place)]
    lone_stages = {place.stage for place in found if place.part == "stage"}
    return [place for place in found if place.part == "stage" or place.stage not in lone_stages]


def find_stale_entries(committed: Mapping[str, Any], fresh: Mapping[str, Any]) -> list[LockDifference]:
    """Return the inputs that changed since a committed dvc.lock was made; outputs that differ alone do not count."""
    made_here = set(get_hashes(fresh)) | set(MODEL_OUTPUTS)
    differences = diff_locks(committed, fresh)
    return [place for place in differences if place.part != "outs" and place.name not in made_here]
