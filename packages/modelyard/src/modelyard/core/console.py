"""Everything that a command prints goes through this module."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

STATUS_COLOURS = {"ok": 32, "note": 33, "broken": 31, "next": 36}

_quiet = False


def accept_any_character() -> None:
    """Let the output show `?` for what its encoding lacks, as with LC_ALL=C, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def set_quiet(quiet: bool) -> None:
    """Print only errors and data from now on, or everything."""
    global _quiet
    _quiet = quiet


def print_line(text: str = "") -> None:
    """Print a line, unless only errors are wanted."""
    if not _quiet:
        print(text, flush=True)


def print_result(label: str, text: str = "") -> None:
    """Print a line that begins with the command or the object that it is about, unless only errors are wanted."""
    print_line(f"{label:<10}{text}")


def print_error(text: str) -> None:
    """Print a line to standard error."""
    print(text, file=sys.stderr, flush=True)


def print_annotation(kind: str, title: str, text: str, file: str = "") -> None:
    """Print an annotation for GitHub Actions.

    Parameters
    ----------
    kind
        notice, warning or error.
    title, text
        What it says.
    file
        The file that it is about, relative to the top of the repository.
    """
    place = f"file={file}," if file else ""
    print(f"::{kind} {place}title={title}::{text}", flush=True)


def print_data(text: str) -> None:
    """Print what another program reads, also when only errors are wanted."""
    print(text, flush=True)


@contextmanager
def report_stage(name: str, rows_in: int | None = None) -> Iterator[dict[str, Any]]:
    """Time a block, and print one line about it at its end.

    Parameters
    ----------
    name
        The name of the stage.
    rows_in
        The number of rows that the stage reads.

    Yields
    ------
    dict
        Notes that the block may add: they are printed as `key value`.
    """
    start = time.perf_counter()
    notes: dict[str, Any] = {}
    yield notes
    parts = [] if rows_in is None else [f"{rows_in:>12,} rows in"]
    for key, value in notes.items():
        parts.append(f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}")
    parts.append(f"{time.perf_counter() - start:.1f} s")
    print_result(name, "  ".join(parts))


def colour_word(word: str, width: int = 0) -> str:
    """Return a status word padded to a width, in its colour on a terminal that shows colours."""
    padded = f"{word:<{width}}"
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return padded
    return f"\x1b[{STATUS_COLOURS[word]}m{padded}\x1b[0m"
