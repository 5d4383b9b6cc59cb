"""The dialect of a project's text files: how they are cut into rows and columns, and how their values are written.

`make adopt` finds it once and writes what differs from plain CSV to schema.yaml, under `dialect`. Everything that reads
a text file later reads it in that dialect.
"""

import csv
import io
from pathlib import Path
from typing import Any

import msgspec
from pyarrow import csv as arrow_csv

from modelyard.core.errors import InvalidFileError
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.yaml import read_yaml

# What Arrow takes for missing, what others write, the point of SAS and Stata, and the question mark of the UCI tables.
MISSING_MARKERS = (*arrow_csv.ConvertOptions().null_values, "?", "None", "<NA>", "-", "--", ".")
WHITESPACE = " "  # as a separator: any run of spaces and tabs
ROW_NAMES, TRAILING_SEPARATOR = "row names", "a trailing separator"


class Layout(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a text file is cut into rows and columns. The defaults are those of plain CSV.

    Parameters
    ----------
    separator
        What stands between two columns; a space stands for any run of spaces and tabs.
    quote
        What stands around a value that holds a separator.
    escape
        What stands before a quote within a value, besides the quote itself.
    encoding
        The encoding of the text.
    header
        Whether the first line has the names of the columns, which are `column_1`, `column_2`, … otherwise.
    skip
        Lines before that line.
    units
        Lines between the names and the first row.
    footer
        Lines after the last row.
    comment
        What a line begins with that is no row.
    extra
        The column that rows have and the names have not: `row names` before the others, or the empty one behind a
        `trailing separator`.
    """

    separator: str = ","
    quote: str = '"'
    escape: str = ""
    encoding: str = "utf-8"
    header: bool = True
    skip: int = 0
    units: int = 0
    footer: int = 0
    comment: str = ""
    extra: str = ""

    @property
    def needs_line_filter(self) -> bool:
        """Whether lines must be left out or changed before Arrow can read the file."""
        has_other_lines = self.skip or self.units or self.footer or self.comment
        return bool(has_other_lines) or self.separator == WHITESPACE


class Dialect(Layout, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A layout, and how the values are written.

    Parameters
    ----------
    missing
        Words for a missing value besides `MISSING_MARKERS`.
    keep
        Those of `MISSING_MARKERS` that are values.
    formats
        The kinds of columns, as `modelyard.data.column_kinds` names them, that do not follow from their types.
    """

    missing: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    formats: dict[str, str] = {}

    @property
    def missing_words(self) -> list[str]:
        """All words for a missing value."""
        return [word for word in (*MISSING_MARKERS, *self.missing) if word not in self.keep]

    def to_plain_layout(self) -> "Dialect":
        """Return the dialect of a plain CSV file with the same words for a missing value."""
        return Dialect(missing=self.missing, keep=self.keep)

    def to_yaml(self) -> dict[str, Any]:
        """Return what differs from plain CSV, as schema.yaml writes it."""
        written: dict[str, Any] = msgspec.to_builtins(self)
        return written


def read_dialect(path: Path = SCHEMA_YAML) -> Dialect:
    """Return the dialect that schema.yaml names; plain CSV where it names none.

    Raises
    ------
    InvalidFileError
        It names something that is none.
    """
    found = read_yaml(path) if path.exists() else {}
    written = found.get("dialect") if isinstance(found, dict) else None
    try:
        return msgspec.convert(written or {}, Dialect)
    except msgspec.ValidationError as problem:
        raise InvalidFileError(path, f"has a dialect that is none ({problem})", "correct it") from None


def split_words(words: str) -> tuple[str, ...]:
    """Return the words of a list that is written as a line of CSV: those that hold a comma stand in quotes."""
    row = next(csv.reader(io.StringIO(words), skipinitialspace=True), [])
    return tuple(word.strip() for word in row if word.strip())


def join_words(words: list[str]) -> str:
    """Return words as `split_words` reads them."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(words)
    return line.getvalue()
