"""Files that are written as a whole or not at all, their digests, and nested mappings."""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelyard.core.errors import InvalidFileError, MissingFileError

PIPELINE_CURE = "`make pipeline` writes it again"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block succeeds, and is removed when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def restore_files_on_error(*paths: Path, set_aside: bool = False) -> Iterator[None]:
    """When the block fails, put files back as they were, and remove those that were not there.

    Parameters
    ----------
    paths
        The files that the block may change.
    set_aside
        Move the files away instead of copying them: the block begins without them, and a large file costs nothing.
    """
    keep = Path.replace if set_aside else shutil.copy2
    with tempfile.TemporaryDirectory(prefix=".restore-", dir="." if set_aside else None) as folder:
        copies = {path: Path(folder, str(number)) for number, path in enumerate(paths) if path.exists()}
        try:
            for path, copy in copies.items():
                keep(path, copy)
            yield
        except BaseException:
            for path in paths:
                if path not in copies:
                    path.unlink(missing_ok=True)
                elif copies[path].exists():
                    shutil.move(copies[path], path)
            raise


def read_json(path: Path) -> Any:
    """Return the value of a JSON file that the pipeline writes.

    Raises
    ------
    MissingFileError, InvalidFileError
        The file is missing, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(path, PIPELINE_CURE) from None
    except ValueError as problem:
        raise InvalidFileError(path, f"is not JSON ({problem})", f"delete it; {PIPELINE_CURE}") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file with its keys in order, so that equal values give equal bytes.

    Raises
    ------
    ValueError
        The value holds a number that JSON does not have: see `replace_nonfinite`.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(content: Path | bytes) -> str:
    """Return the MD5 of a file or of some bytes, by which DVC names them; identity is always the SHA-256."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def flatten_mapping(block: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with keys such as `split.holdout`; an empty mapping stays a value."""
    if not isinstance(block, dict) or (prefix and not block):
        return {prefix.rstrip("."): block}
    flat: dict[str, Any] = {}
    for name, inner in block.items():
        flat |= flatten_mapping(inner, f"{prefix}{name}.")
    return flat


def get_nested(block: Any, name: str) -> Any:
    """Return the value of nested mappings at a key such as `split.holdout`; None where they have none."""
    for part in name.split("."):
        block = (block or {}).get(part)
    return block


def replace_nonfinite(value: Any) -> Any:
    """Return a value with NumPy's numbers as Python's, and null for those that JSON does not have (NaN, infinity)."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=np.generic.item))
