"""The library's folder in a project, and whether somebody changed it; only the standard library is needed."""

import re
from hashlib import sha256
from pathlib import Path

LIBRARY = Path("packages/modelyard")
DIGEST_FILE = ".brought"  # written by the template's hook
RESTORE_COMMAND = f"git checkout HEAD -- {LIBRARY}"
CACHE_PATTERN = re.compile(r"(^|/)(__pycache__|[^/]*\.egg-info|\.[^/]*_cache|\.hypothesis|\.brought)(/|$)")


def compute_library_digest(folder: Path = LIBRARY) -> str:
    """Compute the digest of the library's files, as packages/modelyard/README.md describes it.

    Parameters
    ----------
    folder
        The library's folder.

    Returns
    -------
    str
        The SHA-256, in hexadecimal, of a list with one line for each file: its SHA-256, two spaces and its path,
        ordered by path. Caches and the file `.brought` do not count.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    names = sorted(name for name in paths if not CACHE_PATTERN.search(name))
    lines = [f"{sha256(paths[name].read_bytes()).hexdigest()}  {name}\n" for name in names]
    return sha256("".join(lines).encode()).hexdigest()


def read_recorded_digest(folder: Path = LIBRARY) -> str:
    """Return the digest that the template recorded when it brought the library, or an empty text."""
    file = folder / DIGEST_FILE
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def is_library_unchanged(folder: Path = LIBRARY) -> bool:
    """Return whether the library's files are those that the template brought."""
    return read_recorded_digest(folder) == compute_library_digest(folder)
