"""TODO doc."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, reduce
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelyard.core.errors import UserError


@contextmanager
def replace_paths_or_restore(paths: list[Path], scratch: Path) -> Iterator[None]:
    """Put the paths aside; when the block fails, they are as they were, and what it made of them is gone."""
    aside = {path: scratch / f"old-{i}" for i, path in enumerate(paths) if path.exists()}
    try:
        for path, kept in aside.items():
            path.replace(kept)
        yield
    except BaseException:
        for path in paths:
            if path not in aside:
                path.unlink(missing_ok=True)
            elif aside[path].exists():
                aside[path].replace(path)
        raise


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `path` when the block ends well, and vanishes when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The JSON value in a file; a missing or broken file is a `UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; `make pipeline` makes it") from None
    except ValueError as problem:
        raise UserError(f"{path} is not JSON ({problem}); delete it and make it anew") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole, keys in order, so that equal values give equal bytes."""
    with atomic_write(path) as draft:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        draft.write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(what: Path | bytes) -> str:
    """DVC's own name for a file or some bytes; what they are is said by SHA-256."""
    with io.BytesIO(what) if isinstance(what, bytes) else what.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def flatten_mapping(block: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names such as `split.holdout`; an empty one stays a value."""
    if not isinstance(block, dict) or (prefix and not block):
        return {prefix.rstrip("."): block}
    return {
        key: value for name, inner in block.items() for key, value in flatten_mapping(inner, f"{prefix}{name}.").items()
    }


def get_nested(block: Any, name: str) -> Any:
    """What nested mappings hold under a name such as `split.holdout`; None where they hold nothing."""
    return reduce(lambda node, part: (node or {}).get(part), name.split("."), block)


def replace_nonfinite(value: Any) -> Any:
    """The same value with null for every number that JSON cannot say."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=np.generic.item))


@contextmanager
def restore_files_on_error(*paths: Path) -> Iterator[None]:
    """When the block fails, the files hold what they held before."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            path.write_bytes(content)
        raise
