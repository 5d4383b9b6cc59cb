"""Opens text files in a layout: leaves out the lines that are no rows, and reads the rest as columns of text."""

import codecs
import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.implementations.local import LocalFileSystem
from pyarrow import csv as arrow_csv

from modelyard.core.errors import InvalidFileError
from modelyard.data.dialect import ROW_NAMES, WHITESPACE, Dialect, Layout

BLOCK_BYTES = 8 << 20
LINES_AT_ONCE = 1024
END_CHARACTERS = 1 << 16
MAX_PROBLEM_LENGTH = 120
READING_CURE = "save it as UTF-8, or correct `dialect` in schema.yaml"
LOCAL_FILES = LocalFileSystem()
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
WORD = re.compile(r'"[^"]*"|\S+')  # between spaces
WRONG_WIDTH = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)
# What a file begins with that is no table of text, and what to do with it.
FOREIGN_FILES = (
    (b"PK\x03\x04", "is an Excel workbook or another archive", "save its sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook", "save its sheet as CSV"),
    (b"[", "is JSON in one list, not a table", "write one JSON object a line, or save it as CSV"),
    (b"<", "is HTML or XML, not a table", "fetch the CSV or Parquet file itself"),
    (b"%PDF", "is a PDF, not a table", "use CSV or Parquet"),
)


class TextEnds(NamedTuple):
    """The encoding of a text file, its beginning and its end; the end is empty where the beginning is all of it."""

    encoding: str
    head: str
    tail: str


def read_ends(path: Path, wanted: str) -> TextEnds:
    """Return the encoding of a text file, its beginning and its end.

    Parameters
    ----------
    path
        The file, which may be compressed.
    wanted
        The encoding that the user names; empty to look for one.

    Raises
    ------
    InvalidFileError
        The file is no text, or is not written in that encoding.
    """
    with LOCAL_FILES.open(str(path), compression="infer") as file:
        start = file.read(END_CHARACTERS)
    is_utf16 = start.startswith(UTF16_MARKS)
    for mark, problem, cure in FOREIGN_FILES:
        if start.lstrip().startswith(mark):
            raise InvalidFileError(path, problem, cure)
    if not start.strip() or (b"\0" in start and not is_utf16 and not wanted):
        raise InvalidFileError(path, "is blank or a binary file, not a table", "use CSV or Parquet")
    if wanted:
        encodings = [wanted]
    else:
        encodings = ["utf-16"] if is_utf16 else ["utf-8", "cp1252"]
    for encoding in encodings:
        ends = decode_ends(path, encoding)
        if ends is not None:
            return ends
    problem = f"is not written in {' or '.join(encodings)}"
    raise InvalidFileError(path, problem, "name its encoding, such as ENCODING=latin-1")


def decode_ends(path: Path, encoding: str) -> TextEnds | None:
    """Return both ends of a text file; None where some of the file is not in that encoding."""
    tail = ""
    try:
        with LOCAL_FILES.open(str(path), "rt", encoding=encoding, newline="", compression="infer") as file:
            head: str = file.read(END_CHARACTERS)
            while block := file.read(BLOCK_BYTES):
                tail = (tail + block)[-END_CHARACTERS:]
    except UnicodeError:
        return None
    return TextEnds(encoding, head.removeprefix("\ufeff"), tail)


def cut_at_spaces(line: str) -> list[str]:
    """Return the words of a line; quotes hold several together."""
    return [word.strip('"') for word in WORD.findall(line)]


def drop_last_lines(lines: Iterator[str], count: int) -> Iterator[str]:
    """Yield all lines but the last ones that are not blank."""
    held = deque[str]()
    filled = 0
    for line in lines:
        held.append(line)
        filled += bool(line.strip())
        while filled > count:
            first = held.popleft()
            filled -= bool(first.strip())
            yield first


def filter_lines(lines: Iterator[str], layout: Layout) -> Iterator[str]:
    """Yield the lines of a table, names first: without those that are no rows, and with tabs for runs of spaces."""
    for _ in islice(lines, layout.skip):
        pass
    if layout.comment:
        lines = (line for line in lines if not line.startswith(layout.comment))
    if layout.footer:
        lines = drop_last_lines(lines, layout.footer)
    if layout.header:
        yield from _cut_line(islice((line for line in lines if line.strip()), 1), layout)
    for _ in islice(lines, layout.units):
        pass
    yield from _cut_line(lines, layout)


def _cut_line(lines: Iterator[str], layout: Layout) -> Iterator[str]:
    """Yield lines as they are, or with tabs where their columns are separated by runs of spaces."""
    if layout.separator != WHITESPACE:
        yield from lines
        return
    for line in lines:
        yield "\t".join(cut_at_spaces(line)) + "\n"


class LineStream(io.RawIOBase):
    """A file of the lines that an iterator yields, in UTF-8."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._rest = bytearray()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, less of it only at the end."""
        while len(self._rest) < len(buffer):
            text = "".join(islice(self._lines, LINES_AT_ONCE))
            if not text:
                break
            self._rest += text.encode()
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        del self._rest[:size]
        return size


@contextmanager
def open_lines(path: Path, layout: Layout) -> Iterator[Iterator[str]]:
    """Yield the lines of a table in a text file, which may be compressed."""
    encoding = "utf-8-sig" if layout.encoding == "utf-8" else layout.encoding
    with LOCAL_FILES.open(str(path), "rt", encoding=encoding, newline="", compression="infer") as file:
        yield filter_lines(iter(file), layout)


@contextmanager
def open_bytes(path: Path, layout: Layout) -> Iterator[Any]:
    """Yield a text file as Arrow is to read it: itself, or its lines as far as they belong to the table."""
    if layout.needs_line_filter:
        with open_lines(path, layout) as lines:
            yield LineStream(lines)
        return
    with LOCAL_FILES.open(str(path), compression="infer") as file:
        yield file


def cut_rows(lines: Iterator[str] | list[str], layout: Layout) -> Iterator[list[str]]:
    """Yield the cells of each row; raise a `csv.Error` where it cannot be cut."""
    delimiter = "\t" if layout.separator == WHITESPACE else layout.separator
    yield from csv.reader(
        lines, delimiter=delimiter, quotechar=layout.quote, escapechar=layout.escape or None, skipinitialspace=False
    )


def read_column_names(path: Path, layout: Layout) -> list[str]:
    """Return the names of all columns of a text file, with the one that rows have and the names have not.

    Columns without a name are called `unnamed_<number>`, those of a file without names `column_<number>`.

    Raises
    ------
    InvalidFileError
        The file cannot be read in this layout.
    """
    try:
        with open_lines(path, layout) as lines:
            header = next(cut_rows(lines, layout), [])
    except (UnicodeError, OSError, EOFError, csv.Error) as problem:
        raise InvalidFileError(path, f"cannot be read as {layout.encoding} text ({problem})", READING_CURE) from None
    if not layout.header:
        return [f"column_{number}" for number in range(1, len(header) + 1)]
    if layout.extra == ROW_NAMES:
        header = ["", *header]
    elif layout.extra:
        header = [*header, ""]
    return [" ".join(name.split()) or f"unnamed_{number}" for number, name in enumerate(header)]


def read_text_blocks(
    path: Path,
    dialect: Dialect,
    names: list[str],
    columns: list[str],
    block_bytes: int = 0,
    counts: Counter[tuple[str, str]] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a text file as text.

    Parameters
    ----------
    path
        The file, which may be compressed.
    dialect
        How it is written.
    names
        The names of all its columns.
    columns
        The columns to read.
    block_bytes
        About how many bytes are read at once.
    counts
        Gets the number of each word for a missing value in each column.

    Yields
    ------
    pyarrow.RecordBatch
        Columns of text without spaces around it, null where a value is missing.

    Raises
    ------
    InvalidFileError
        A row has more or fewer columns.
    """
    encoding = "utf-8" if dialect.needs_line_filter else dialect.encoding
    read = arrow_csv.ReadOptions(
        use_threads=False,
        block_size=block_bytes or BLOCK_BYTES,
        encoding=encoding,
        column_names=names,
        skip_rows_after_names=int(dialect.header),
    )
    parse = arrow_csv.ParseOptions(
        delimiter="\t" if dialect.separator == WHITESPACE else dialect.separator,
        quote_char=dialect.quote,
        escape_char=dialect.escape or False,
        newlines_in_values=True,
    )
    convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=columns)
    missing = pa.array(dialect.missing_words)
    try:
        with open_bytes(path, dialect) as file:
            for batch in arrow_csv.open_csv(file, read, parse, convert):
                texts = [pc.utf8_trim_whitespace(column) for column in batch.columns]
                if counts is not None:
                    _count_missing_words(counts, columns, texts, missing)
                cleared = [pc.if_else(pc.is_in(text, missing), None, text) for text in texts]
                yield pa.RecordBatch.from_arrays(cleared, columns)
    except (pa.ArrowInvalid, UnicodeError) as problem:
        raise describe_bad_row(path, dialect, str(problem)) from None


def _count_missing_words(
    counts: Counter[tuple[str, str]], names: list[str], texts: list[pa.Array], missing: pa.Array
) -> None:
    """Add the number of each word for a missing value in each column of a block."""
    for name, text in zip(names, texts, strict=True):
        found = pc.drop_null(pc.filter(text, pc.is_in(text, missing)))
        if len(found):
            for pair in pc.value_counts(found).to_pylist():
                counts[name, pair["values"]] += pair["counts"]


def describe_bad_row(path: Path, layout: Layout, problem: str) -> InvalidFileError:
    """Return the error for a row that does not fit the names: its place, what stands there, an option that helps."""
    match = WRONG_WIDTH.search(problem)
    if not match:
        reason = " ".join(problem.removeprefix("CSV parse error: ").split())[:MAX_PROBLEM_LENGTH]
        return InvalidFileError(path, f"cannot be cut into columns ({reason})", "correct that row, or give SEP=…")
    row, expected, found = (int(number) for number in match.groups()[:3])
    text = " ".join(match[4].split())[:MAX_PROBLEM_LENGTH]
    place = row + layout.skip + layout.units
    sentence = f"cannot be cut into columns: row {place} has {found} instead of {expected} ({text})"
    cure = "correct that row, or give SEP=… for another separator"
    if found < expected:
        cure += ", SKIP=… for lines before the names, FOOTER=… for lines after the last row"
    return InvalidFileError(path, sentence, cure)
