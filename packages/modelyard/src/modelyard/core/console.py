"""TODO doc."""

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


@contextmanager
def report_stage(name: str, rows_in: int | None = None) -> Iterator[dict[str, Any]]:
    """Print one line when the stage ends: its name, rows in, what the block noted, and seconds."""
    start, notes = time.perf_counter(), dict[str, Any]()
    yield notes
    out = "  ".join(f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in notes.items())
    told = "" if rows_in is None else f"{rows_in:>12,} rows in  "
    print(f"{name:<10}{told}{out}  {time.perf_counter() - start:.1f} s", flush=True)


def colour_word(word: str, width: int = 0) -> str:
    """A word in its colour, padded: plain where no person looks at a terminal, or NO_COLOR is set."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return f"{word:<{width}}" if plain else f"\x1b[{STATUS_COLOURS[word]}m{word:<{width}}\x1b[0m"
