"""Imports a CSV or Parquet file of any size as a Parquet file of plain types."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pyarrow import csv as arrow_csv

from modelyard.core.errors import InvalidFileError, MissingFileError, OptionError
from modelyard.data.column_kinds import (
    COLUMN_PARSERS,
    DECIMAL_COMMA,
    ISO_TIME,
    NUMBER,
    TEXT,
    THOUSANDS_COMMA,
    TIME_FORMATS,
    WHOLE_NUMBER,
    matches_kind,
)

BLOCK_BYTES = 8 << 20
BATCH_ROWS = 1 << 16
HEAD_CHARACTERS = 1 << 16
MAX_NAMES_SHOWN = 12
MAX_PROBLEM_LENGTH = 120
LOCAL_FILES = LocalFileSystem()
SEPARATORS = ",;\t|"
SELF_EVIDENT_KINDS = (TEXT, WHOLE_NUMBER, NUMBER, ISO_TIME)
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# What Arrow takes for missing, what others write, and the question mark of the UCI tables.
MISSING_MARKERS = (*arrow_csv.ConvertOptions().null_values, "?", "None", "<NA>", "-", "--")
# The one type for each family of Arrow's types.
PLAIN_TYPES: tuple[tuple[tuple[str, ...], pa.DataType], ...] = (
    (("timestamp", "date"), pa.timestamp("us")),
    (("integer", "boolean"), pa.int64()),
    (("floating", "decimal", "null"), pa.float64()),
    (("string", "large_string", "string_view", "time"), pa.string()),
)


@dataclass
class SourceTable:
    """A table to be imported.

    Parameters
    ----------
    path
        Its file.
    candidate_kinds
        For each column, the kinds in `COLUMN_PARSERS` that its values may have.
    read_batches
        Yields its rows from the beginning, as often as it is called.
    notes
        What the user should know of the encoding or of a column.
    """

    path: Path
    candidate_kinds: dict[str, list[str]]
    read_batches: Callable[[], Iterator[pa.RecordBatch]]
    notes: dict[str, str] = field(default_factory=dict)


@dataclass
class InferredColumns:
    """What a first pass over a table finds.

    Parameters
    ----------
    rows
        The number of rows.
    kinds
        The kind of each column.
    missing_counts
        The number of missing values of each column, in the rows that are kept.
    required_gaps
        The number of missing values of each required column, in all rows.
    """

    rows: int
    kinds: dict[str, str]
    missing_counts: Counter[str]
    required_gaps: Counter[str]

    def describe_gaps(self) -> str:
        """Return how many rows lack a required value, in words; empty where none does."""
        gaps = " and ".join(f"{count:,} have no {name}" for name, count in self.required_gaps.items() if count)
        return gaps and f"of {self.rows:,} rows {gaps}"


def require_file(path: Path) -> Path:
    """Return the path of a file that has contents.

    Raises
    ------
    MissingFileError, InvalidFileError
        There is no file, or it is a folder or empty.
    """
    if path.is_dir():
        raise InvalidFileError(path, "is a folder", "name the file in it")
    if not path.is_file():
        raise MissingFileError(path, "correct the path")
    if not path.stat().st_size:
        raise InvalidFileError(path, "is empty", "use a file with column names and rows")
    return path


def check_column_names(path: Path, names: list[str]) -> None:
    """Raise an `InvalidFileError` where a table has two columns with one name, or a single column."""
    if len(names) < 2:
        cure = "a table needs a target and a feature (SEP=… names its separator)"
        raise InvalidFileError(path, "has one column", cure)
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidFileError(path, f"has {count} columns called {name}", "give each its own name")


def match_column(path: Path, names: list[str], name: str) -> str:
    """Return the column that a name means; upper and lower case matter only where several would match.

    Raises
    ------
    InvalidFileError
        There is no such column; the most similar names are listed.
    """
    if name in names:
        return name
    matches = [other for other in names if other.lower() == name.lower()]
    if len(matches) == 1:
        return matches[0]
    by_similarity = sorted(names, key=lambda other: -SequenceMatcher(None, name.lower(), other.lower()).ratio())
    shown = ", ".join(by_similarity[:MAX_NAMES_SHOWN]) + " …" * (len(names) > MAX_NAMES_SHOWN)
    raise InvalidFileError(path, f"has no column {name}", f"it has {shown}")


def detect_encoding(path: Path, wanted: str) -> tuple[str, str]:
    """Return the encoding of a text file, and its beginning.

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
        start = file.read(HEAD_CHARACTERS)
    is_utf16 = start.startswith(UTF16_MARKS)
    is_binary = b"\0" in start and not is_utf16 and not wanted
    if start.lstrip()[:1] in b"{[<" or is_binary:
        raise InvalidFileError(path, "is blank, JSON, HTML or a binary file, not a table", "use CSV or Parquet")
    if wanted:
        encodings = [wanted]
    else:
        encodings = ["utf-16"] if is_utf16 else ["utf-8", "cp1252"]
    for encoding in encodings:
        head = _read_head(path, encoding)
        if head is not None:
            return encoding, head
    problem = f"is not written in {' or '.join(encodings)}"
    raise InvalidFileError(path, problem, "name its encoding, such as ENCODING=latin-1")


def _read_head(path: Path, encoding: str) -> str | None:
    """Return the beginning of a text file; None where some of the file is not in that encoding."""
    try:
        with LOCAL_FILES.open(str(path), "rt", encoding=encoding, newline="", compression="infer") as file:
            head: str = file.read(HEAD_CHARACTERS)
            while file.read(BLOCK_BYTES):
                pass
    except UnicodeError:
        return None
    return head.removeprefix("\ufeff")


def open_text(path: Path, time: str | None, missing: str, separator: str, encoding: str) -> SourceTable:
    """Return a CSV file as a table.

    Parameters
    ----------
    path
        The file, which may be compressed.
    time
        The column of times, where there is one.
    missing
        Further words for a missing value, separated by commas.
    separator
        The separator of the columns; empty to look for one.
    encoding
        The encoding; empty to look for one.

    Raises
    ------
    InvalidFileError
        The file is not a table.
    OptionError
        There is no such encoding.
    """
    try:
        encoding, head = detect_encoding(path, encoding)
        separator = separator.replace("\\t", "\t") or max(SEPARATORS, key=head.partition("\n")[0].count)
        header = next(csv.reader(io.StringIO(head), delimiter=separator), [])
    except LookupError:
        raise OptionError("ENCODING", f"{encoding} does not exist", "try utf-8 or cp1252") from None
    except (OSError, EOFError, csv.Error, ValueError) as problem:
        raise InvalidFileError(path, f"is not a table ({problem})", "fetch it again, or save it as CSV") from None
    names = [" ".join(name.split()) or f"unnamed_{number}" for number, name in enumerate(header)]
    check_column_names(path, names)
    impossible = DECIMAL_COMMA if separator == "," else THOUSANDS_COMMA
    kinds = [kind for kind in COLUMN_PARSERS if kind != impossible]
    candidates = {name: list(TIME_FORMATS if name == time else kinds) for name in names}
    markers = pa.array([*MISSING_MARKERS, *(word.strip() for word in missing.split(","))])
    read = partial(read_text_blocks, path, names, separator, encoding, markers)
    notes = {} if encoding.startswith("utf") else {encoding: "the encoding; ENCODING=… if letters look wrong"}
    return SourceTable(path, candidates, read, notes)


def read_text_blocks(
    path: Path, names: list[str], separator: str, encoding: str, missing: pa.Array
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a CSV file as text.

    Parameters
    ----------
    path
        The file, which may be compressed.
    names
        The names of its columns, instead of its first row.
    separator
        The separator of the columns.
    encoding
        The encoding of the text.
    missing
        The words for a missing value.

    Yields
    ------
    pyarrow.RecordBatch
        Columns of text without spaces around it, null where a value is missing.

    Raises
    ------
    InvalidFileError
        A row has more or fewer columns.
    """
    read = arrow_csv.ReadOptions(
        use_threads=False, block_size=BLOCK_BYTES, encoding=encoding, column_names=names, skip_rows_after_names=1
    )
    parse = arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        with LOCAL_FILES.open(str(path), compression="infer") as file:
            for batch in arrow_csv.open_csv(file, read, parse, convert):
                columns = []
                for column in batch.columns:
                    text = pc.utf8_trim_whitespace(column)
                    columns.append(pc.if_else(pc.is_in(text, missing), None, text))
                yield pa.RecordBatch.from_arrays(columns, names)
    except pa.ArrowInvalid as problem:
        reason = " ".join(str(problem).removeprefix("CSV parse error: ").split())[:MAX_PROBLEM_LENGTH]
        raise InvalidFileError(
            path, f"cannot be cut into columns ({reason})", "correct that row, or give SEP=…"
        ) from None


def open_parquet(path: Path, time: str | None) -> SourceTable:
    """Return a Parquet file as a table; columns of lists and other nested types are left out, with a note.

    Parameters
    ----------
    path
        The file.
    time
        The column of times, where there is one; it may hold text.

    Raises
    ------
    InvalidFileError
        The file is not Parquet.
    """
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InvalidFileError(path, f"is not a readable Parquet file ({problem})", "fetch it again") from None
    check_column_names(path, schema.names)
    types: dict[str, pa.DataType] = {}
    notes: dict[str, str] = {}
    for column in schema:
        if column.name.startswith("__index_level_"):
            continue
        plain = to_plain_type(column.type)
        if plain is None:
            notes[column.name] = f"not kept: {column.type}"
        else:
            types[column.name] = plain
    candidates = {name: [TEXT] for name in types}
    if time in types and not pa.types.is_timestamp(types[time]):
        types[time] = pa.string()
        candidates[time] = list(TIME_FORMATS)
    return SourceTable(path, candidates, partial(_read_parquet_batches, path, types), notes)


def _read_parquet_batches(path: Path, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file with these columns, as plain types."""
    names = list(types)
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            columns = [cast_to_plain_type(batch.column(name), types[name]) for name in names]
            yield pa.RecordBatch.from_arrays(columns, names)


def to_plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the plain type of an Arrow type's family; None for nested types."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    for families, plain in PLAIN_TYPES:
        if any(getattr(pa.types, f"is_{family}")(kind) for family in families):
            return plain
    return None


def cast_to_plain_type(values: pa.Array, to: pa.DataType) -> pa.Array:
    """Return values as a plain type, with null for empty text and for NaN."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    values = pc.cast(values, to, safe=pa.types.is_integer(to))
    if pa.types.is_string(to):
        values = pc.utf8_trim_whitespace(values)
        return pc.if_else(pc.equal(values, ""), None, values)
    if pa.types.is_floating(to):
        return pc.if_else(pc.is_nan(values), None, values)
    return values


def drop_incomplete_rows(batch: pa.RecordBatch, required: list[str]) -> pa.RecordBatch:
    """Return the rows that have a value in every required column."""
    for name in required:
        batch = batch.filter(pc.is_valid(batch.column(name)))
    return batch


def infer_kinds(table: SourceTable, required: list[str], drop: bool) -> InferredColumns:
    """Read a table once, and find out what each column holds.

    Parameters
    ----------
    table
        The table.
    required
        The columns that every row needs.
    drop
        Whether rows without a required value are left out.

    Raises
    ------
    InvalidFileError
        The table has no rows, or a required column has no values.
    OptionError
        The column of times holds something else.
    """
    candidates = dict(table.candidate_kinds)
    missing_counts: Counter[str] = Counter()
    required_gaps: Counter[str] = Counter()
    rows = 0
    for batch in table.read_batches():
        rows += len(batch)
        required_gaps.update({name: batch.column(name).null_count for name in required})
        kept = drop_incomplete_rows(batch, required) if drop else batch
        for name, kinds in candidates.items():
            column = kept.column(name)
            missing_counts[name] += column.null_count
            candidates[name] = [kind for kind in kinds if matches_kind(column.drop_null(), kind)]
    _check_required_columns(table.path, rows, candidates, required_gaps)
    return InferredColumns(rows, _choose_kinds(candidates), missing_counts, required_gaps)


def _check_required_columns(path: Path, rows: int, candidates: dict[str, list[str]], gaps: Counter[str]) -> None:
    """Raise an error where a table has no rows, or a required column no values of a kind."""
    if not rows:
        raise InvalidFileError(path, "has column names but no rows", "use a file with rows")
    for name, count in gaps.items():
        if count == rows:
            problem = f"has no value of {name} in any of {rows:,} rows"
            raise InvalidFileError(path, problem, "name another column")
        if not candidates[name]:
            raise OptionError("TIME", f"{name} has values that are not times", "write them as 2024-12-31 23:59")


def _choose_kinds(candidates: dict[str, list[str]]) -> dict[str, str]:
    """Return the first kind of each column; where one has decimal commas, a point is a thousands mark in all."""
    has_decimal_commas = any(kinds[0] == DECIMAL_COMMA for kinds in candidates.values())
    chosen = {}
    for name, kinds in candidates.items():
        is_marked = has_decimal_commas and kinds[0] == NUMBER and DECIMAL_COMMA in kinds
        chosen[name] = DECIMAL_COMMA if is_marked else kinds[0]
    return chosen


def convert_to_parquet(table: SourceTable, to: Path, required: list[str], drop: bool) -> str:
    """Write a table as a Parquet file of plain types.

    Parameters
    ----------
    table
        The table; its `notes` get the columns that were read in an unusual way.
    to
        The file to write.
    required
        The columns that every row needs.
    drop
        Whether rows without a required value are left out.

    Returns
    -------
    str
        How many rows lack a required value, in words; empty where none does.
    """
    found = infer_kinds(table, required, drop)
    for name, kind in found.kinds.items():
        if kind not in SELF_EVIDENT_KINDS:
            table.notes[name] = f"times such as {kind}" if kind in TIME_FORMATS else kind
    writer = None
    try:
        for batch in table.read_batches():
            typed = _parse_batch(drop_incomplete_rows(batch, required) if drop else batch, found)
            writer = writer or pq.ParquetWriter(to, typed.schema, compression="zstd")
            writer.write_batch(typed)
    finally:
        if writer:
            writer.close()
    return found.describe_gaps()


def _parse_batch(batch: pa.RecordBatch, found: InferredColumns) -> pa.RecordBatch:
    """Return rows with typed columns; whole numbers with gaps become float64, as pandas reads them."""
    columns = {}
    for name, kind in found.kinds.items():
        values = COLUMN_PARSERS[kind](batch.column(name))
        if found.missing_counts[name] and pa.types.is_integer(values.type):
            values = pc.cast(values, "float64")
        columns[name] = values
    return pa.RecordBatch.from_pydict(columns)
