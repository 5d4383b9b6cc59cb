"""Text tables (CSV and its kin): encoding, separator and types are found out, from all of the file."""

import codecs
import csv
import io
import lzma
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import csv as arrow

from . import kinds
from .config import UserError
from .tables import Table, known, opened

BLOCK = 8 << 20
SEPARATORS = ",;\t|"
NOT_TEXT = {b"%PDF": "a PDF", b"\x89PNG": "a picture", b"\xd0\xcf\x11\xe0": "an Excel workbook", b"ARROW1": "a Feather"}


@dataclass(frozen=True)
class Text:
    """How a text table is read: its encoding, its separator, its column names, and whether it has quotes."""

    path: Path
    encoding: str
    separator: str
    header: list[str]
    names: list[str]
    quoted: bool


def encoding_of(path: Path, wanted: str) -> tuple[str, bool, bytes]:
    """The encoding that all of the file keeps, whether it has quotes, and its first bytes."""
    with opened(path) as file:
        head = file.read(1 << 16)
    kind = next((name for magic, name in NOT_TEXT.items() if head.startswith(magic)), None)
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if kind or (b"\0" in head and not utf16 and not wanted.lower().startswith("utf-16")):
        raise UserError(f"{path} is {kind or 'a binary'} file, not a table; bring CSV or Parquet")
    candidates = [wanted] if wanted else ["utf-16"] if utf16 else ["utf-8", "cp1252"]
    for name in candidates:
        try:
            return name, decodes(path, name), head
        except LookupError:
            raise UserError(f"there is no encoding {name}; try ENCODING=utf-8 or ENCODING=cp1252") from None
        except UnicodeError as problem:
            last = str(problem)
    raise UserError(
        f"{path} cannot be read as {' or '.join(candidates)} ({last}); name its encoding, such as ENCODING=latin-1"
    )


def decodes(path: Path, encoding: str) -> bool:
    """Read the whole file in an encoding, or raise; true where there are quotes in it."""
    decoder, quoted = codecs.getincrementaldecoder(encoding)(), False
    with opened(path) as file:
        while block := file.read(BLOCK):
            quoted = '"' in decoder.decode(block) or quoted
        decoder.decode(b"", final=True)
    return quoted


def look(path: Path, separator: str = "", encoding: str = "") -> Text:
    """How a text table is to be read; what cannot be one is a `UserError`."""
    try:
        encoding, quoted, head = encoding_of(path, encoding)
    except (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError) as problem:
        raise UserError(f"{path} does not unpack ({problem}); fetch it again") from None
    text = codecs.getincrementaldecoder(encoding)().decode(head).removeprefix("\ufeff")
    if text.lstrip()[:1] in "{[<" or not text.strip():
        raise UserError(f"{path} is no table of rows and columns; bring CSV or Parquet")
    separator = separator.replace("\\t", "\t") or sniff(text)
    lines = list(csv.reader(io.StringIO(text), delimiter=separator))
    header = next((line for line in lines if line), [])
    names = [" ".join(name.split()) for name in header]
    check_names(path, names, separator)
    if sum(bool("".join(line).strip()) for line in lines) < 2:
        raise UserError(f"{path} has column names but no rows; bring a file with rows")
    names = [name or f"unnamed_{i}" for i, name in enumerate(names)]
    return Text(path, encoding, separator, header, names, quoted)


def sniff(text: str) -> str:
    """The separator that cuts the first lines into equally many parts."""

    def fit(separator: str) -> tuple[float, int]:
        try:
            widths = [len(line) for line in list(csv.reader(io.StringIO(text), delimiter=separator))[:100] if line]
        except csv.Error:
            return 0.0, 0
        width, count = Counter(widths[:-1] or widths).most_common(1)[0]
        return (count / len(widths) if width > 1 else 0.0), width

    return max(SEPARATORS, key=fit)


def check_names(path: Path, names: list[str], separator: str) -> None:
    """Refuse a table with one column, with two columns of one name, or with values where names belong."""
    if len(names) < 2:
        raise UserError(f"{path} has one column; a table needs a target and a feature (SEP=… names its separator)")
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise UserError(f"{path} has two columns called {twice[0]}; give each its own name")
    if all(name and kinds.fits(pa.array([name]), kinds.NUMBER) for name in names) and len(names) < 10:
        raise UserError(f"the first line of {path} holds numbers; put a line of column names before it")
    if not any(names):
        raise UserError(f"the first line of {path} has no column names between its {separator!r}; write them there")


def read_text(text: Text, missing: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """The rows of a text table in blocks of cleaned text; rows of another width are a `UserError`."""
    ragged: list[tuple[int, int]] = []

    def note(row: Any) -> str:
        if row.text.strip(" \t\r\n" + text.separator):
            ragged.append((row.number or 0, row.actual_columns))
        return "skip"

    # A line is read as text whatever it holds; its type is told by all of its column.
    with opened(text.path) as file:
        try:
            yield from (cleaned(batch, text.names, missing) for batch in parsed(file, text, note))
        except (pa.ArrowInvalid, csv.Error, UnicodeError) as problem:
            first = str(problem).removeprefix("CSV parse error: ").splitlines()[0]
            raise UserError(f"{text.path} cannot be cut into columns ({first}); look for an open quote") from None
    if ragged:
        line, width = ragged[0]
        count = f"{len(ragged):,} rows" if len(ragged) > 1 else "one row"
        raise UserError(
            f"{count} of {text.path} cannot be put under the {len(text.names)} column names "
            f"(line {line} has {width} values); correct the file, or name its separator with SEP=…"
        )


def parsed(file: IO[bytes], text: Text, note: Callable[[Any], str]) -> Any:
    """The stream of a text table with all its columns as text."""
    return arrow.open_csv(
        file,
        read_options=arrow.ReadOptions(use_threads=False, block_size=BLOCK, encoding=text.encoding),
        parse_options=arrow.ParseOptions(
            delimiter=text.separator, newlines_in_values=text.quoted, invalid_row_handler=note
        ),
        convert_options=arrow.ConvertOptions(column_types=dict.fromkeys(text.header, pa.string())),
    )


def cleaned(batch: pa.RecordBatch, names: list[str], missing: tuple[str, ...]) -> pa.RecordBatch:
    """A block with our column names and null for what is missing."""
    return pa.RecordBatch.from_arrays([kinds.clean(column, missing) for column in batch.columns], names)


def typed(
    names: list[str], read: Callable[[], Iterator[pa.RecordBatch]], separator: str, time: str, path: Path
) -> tuple[dict[str, str], dict[str, bool]]:
    """What each column of text is and whether it has gaps, from all rows; mixed types are a `UserError`."""
    guesses = {name: kinds.guess(separator, name == time) for name in names}
    for batch in read():
        for name, guess in guesses.items():
            guess.narrow(batch.column(name))
    commas = any(guess.commas and kinds.COMMA in guess.kinds for guess in guesses.values())
    for name, guess in guesses.items():
        if name == time and not guess.kinds:
            raise UserError(f"TIME={time} does not hold times that can be read; write them as 2024-12-31 23:59")
        if guess.mixed and guess.stray:
            row, value = guess.stray
            raise UserError(
                f"{name} in {path} holds numbers, but row {row:,} says {value!r}; correct it, "
                f"or say MISSING={value} to take that for a missing value"
            )
    return {n: g.kind(commas) for n, g in guesses.items()}, {n: g.gaps > 0 for n, g in guesses.items()}


def open_text(path: Path, time: str, missing: str, separator: str, encoding: str, full: set[str]) -> Table:
    """A CSV file as a typed table; rows with gaps in the columns `full` will not be kept."""
    text = look(path, separator, encoding)
    gone = (*kinds.MISSING, *(word.strip() for word in missing.split(",") if word.strip()))

    def read() -> Iterator[pa.RecordBatch]:
        return read_text(text, gone)

    known(path, text.names, time)
    found, holes = typed(text.names, read, text.separator, time, path)
    gaps = {name: hole and name not in full for name, hole in holes.items()}

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in read():
            columns = [kinds.convert(batch.column(n), found[n], gaps[n]) for n in text.names]
            yield pa.RecordBatch.from_arrays(columns, text.names)

    types = {n: kinds.type_of(found[n], gaps[n]) for n in text.names}
    notes = {n: kind for n, kind in found.items() if kind not in kinds.PLAIN}
    if text.encoding not in ("utf-8", "utf-16"):
        notes[text.encoding] = "the encoding; ENCODING=… if letters look wrong"
    return Table(text.names, types, batches, notes)
