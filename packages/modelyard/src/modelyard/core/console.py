"""Everything that a command prints goes through here."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STATUS_COLOURS = {"ok": 32, "note": 33, "broken": 31, "next": 36}

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Print errors only, or everything."""
    global _quiet
    _quiet = quiet


def print_line(text: str = "") -> None:
    """Print a line, unless only errors are wanted."""
    if not _quiet:
        print(text, flush=True)


def print_result(label: str, text: str = "") -> None:
    """Print a line that begins with the command or object it is about."""
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
    """Print one line when the stage ends: its name, rows in, what the block noted, and seconds."""
    start, notes = time.perf_counter(), dict[str, Any]()
    yield notes
    out = "  ".join(f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in notes.items())
    told = "" if rows_in is None else f"{rows_in:>12,} rows in  "
    print_result(name, f"{told}{out}  {time.perf_counter() - start:.1f} s")


def colour_word(word: str, width: int = 0) -> str:
    """A word in its colour, padded: plain where no person looks at a terminal, or NO_COLOR is set."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return f"{word:<{width}}" if plain else f"\x1b[{STATUS_COLOURS[word]}m{word:<{width}}\x1b[0m"
