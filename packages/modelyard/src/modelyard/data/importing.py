"""Imports a text, JSON or Parquet file of any size as a Parquet file of plain types."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from modelyard.core.errors import InvalidFileError, MissingFileError, OptionError
from modelyard.data.column_kinds import (
    DECIMAL_COMMA,
    ISO_TIME,
    NUMBER,
    OFFSET_PATTERN,
    TEXT,
    WHOLE_NUMBER,
    describe_kind,
    get_parser,
    is_doubtful,
    propose_kinds,
    propose_time_kinds,
    select_kinds,
)
from modelyard.data.dialect import TRAILING_SEPARATOR, Dialect, Layout
from modelyard.data.layout import detect_layout, is_number
from modelyard.data.text_files import LOCAL_FILES, MAX_PROBLEM_LENGTH, read_column_names, read_ends, read_text_blocks

BATCH_ROWS = 1 << 16
MAX_NAMES_SHOWN = 12
MAX_NAME_SHOWN = 60
SELF_EVIDENT_KINDS = (TEXT, WHOLE_NUMBER, NUMBER, ISO_TIME)
PARQUET_MAGIC = b"PAR1"
# The one type for each family of Arrow's types.
PLAIN_TYPES: tuple[tuple[tuple[str, ...], pa.DataType], ...] = (
    (("timestamp", "date"), pa.timestamp("us")),
    (("integer", "boolean"), pa.int64()),
    (("floating", "decimal", "null", "duration"), pa.float64()),
    (("string", "large_string", "string_view", "time"), pa.string()),
    (("binary", "large_binary", "binary_view", "fixed_size_binary"), pa.string()),
)


@dataclass
class ImportOptions:
    """What the user says of how a file is written.

    Parameters
    ----------
    layout
        Fields of the `Layout` of a text file; the others are looked for.
    missing
        Further words for a missing value.
    keep
        Words that are values, though they usually stand for a missing one.
    text
        The columns that are text, whatever they hold.
    numbers
        Whether values such as `$1,234` or `5 km` are read as numbers.
    """

    layout: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    text: list[str] = field(default_factory=list)
    numbers: bool = False


@dataclass
class SourceTable:
    """A table to be imported.

    Parameters
    ----------
    path
        Its file.
    columns
        The names of its columns.
    read_batches
        Yields its rows from the beginning, as often as it is called; adds the words for a missing value to `counts`.
    dialect
        How it is written.
    candidate_kinds
        The kinds that the values of a column may have, where its first value does not decide them.
    notes
        What the user should know of the file or of a column.
    word_counts
        How often each word for a missing value stands in each column, after a first pass.
    """

    path: Path
    columns: list[str]
    read_batches: Callable[..., Iterator[pa.RecordBatch]]
    dialect: Dialect = field(default_factory=Dialect)
    candidate_kinds: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    word_counts: Counter[tuple[str, str]] = field(default_factory=Counter)


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
    doubtful
        For each column that is read as numbers only if the user says so, its first value and the number, in words.
    """

    rows: int
    kinds: dict[str, str]
    missing_counts: Counter[str]
    required_gaps: Counter[str]
    doubtful: dict[str, str] = field(default_factory=dict)

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
        shown = f"has one column, {names[0][:MAX_NAME_SHOWN]}" if names else "has no rows"
        raise InvalidFileError(path, shown, "a table needs a target and a feature (SEP=… names its separator)")
    for name, count in Counter(names).items():
        if count > 1:
            cure = f"give each its own name{suggest_no_header(names)}"
            raise InvalidFileError(path, f"has {count} columns called {name}", cure)


def suggest_no_header(names: list[str]) -> str:
    """Return the option for a file without names, where at least half of the names are numbers; else nothing."""
    numbers = sum(map(is_number, names))
    return ", or add HEADER=0 where its first line has values" if 2 * numbers >= len(names) else ""


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
    raise InvalidFileError(path, f"has no column {name}", f"it has {shown}{suggest_no_header(names)}")


def open_source(path: Path, time: str | None, options: ImportOptions) -> SourceTable:
    """Return a file as a table: Parquet, JSON lines or text.

    Parameters
    ----------
    path
        The file; all but Parquet may be compressed.
    time
        The column of times, where there is one.
    options
        What the user says of how the file is written.

    Raises
    ------
    InvalidFileError
        The file is not a table.
    OptionError
        There is no such encoding or separator.
    """
    form = detect_format(path)
    if form == "text":
        return open_text(path, options)
    return open_parquet(path, time) if form == "parquet" else open_json(path, time)


def detect_format(path: Path) -> Literal["parquet", "json", "text"]:
    """Return the format of a file by its beginning; a file that cannot be read passes for text.

    Raises
    ------
    InvalidFileError
        The file is compressed, and broken.
    """
    try:
        with LOCAL_FILES.open(str(path), compression="infer") as file:
            start = file.read(1 << 10)
    except (OSError, EOFError, ValueError) as problem:
        raise InvalidFileError(path, f"is not a table ({problem})", "fetch it again, or save it as CSV") from None
    if start.startswith(PARQUET_MAGIC) or path.suffix == ".parquet":
        return "parquet"
    return "json" if start.lstrip().startswith(b"{") else "text"


def open_text(path: Path, options: ImportOptions) -> SourceTable:
    """Return a text file as a table; see `open_source`."""
    layout = find_layout(path, options.layout)
    names = read_column_names(path, layout)
    check_column_names(path, names)
    columns = names[:-1] if layout.extra == TRAILING_SEPARATOR else names
    dialect = Dialect(**msgspec.structs.asdict(layout), missing=options.missing, keep=options.keep)
    read = partial(read_text_blocks, path, dialect, names, columns)
    return SourceTable(path, columns, read, dialect, {name: [TEXT] for name in options.text}, describe_layout(layout))


def find_layout(path: Path, wanted: dict[str, Any]) -> Layout:
    """Return the layout of a text file; see `open_source`."""
    encoding = wanted.get("encoding", "")
    try:
        ends = read_ends(path, encoding)
        return detect_layout(ends, {key: value for key, value in wanted.items() if key != "encoding"})
    except LookupError:
        raise OptionError("ENCODING", f"{encoding} does not exist", "try utf-8 or cp1252") from None
    except (OSError, EOFError, csv.Error, ValueError) as problem:
        raise InvalidFileError(path, f"is not a table ({problem})", "fetch it again, or save it as CSV") from None


def describe_layout(layout: Layout) -> dict[str, str]:
    """Return what is unusual in a layout, for the user."""
    notes = {}
    if not layout.encoding.startswith("utf"):
        notes[layout.encoding] = "the encoding; ENCODING=… if letters look wrong"
    if layout.skip:
        notes[f"from line {layout.skip + 1}"] = f"{layout.skip} lines stand before the names; SKIP=… if that is wrong"
    if layout.units:
        notes["units"] = "the row below the names is left out"
    if layout.footer:
        notes["footer"] = f"{layout.footer} lines after the last row are left out; FOOTER=0 keeps them"
    if layout.comment:
        notes["comments"] = f"lines that begin with {layout.comment} are left out"
    if layout.extra:
        notes[layout.extra] = "a column more than there are names"
    if layout.escape:
        notes["quotes"] = f"{layout.escape} stands before a quote within a value"
    return notes


def open_json(path: Path, time: str | None) -> SourceTable:
    """Return a file of JSON lines as a table; columns of lists and objects are left out; raises as `read_json`."""
    content = read_json(path)
    return _open_typed(path, content.schema, lambda names: iter(content.select(names).to_batches(BATCH_ROWS)), time)


def read_json(path: Path) -> pa.Table:
    """Return a file of JSON lines, which is read as a whole.

    Raises
    ------
    InvalidFileError
        The file is not one JSON object a line.
    """
    try:
        with LOCAL_FILES.open(str(path), compression="infer") as file:
            return pyarrow.json.read_json(file)
    except (pa.ArrowInvalid, OSError, EOFError) as problem:
        reason = " ".join(str(problem).split())[:MAX_PROBLEM_LENGTH]
        raise InvalidFileError(path, f"is not one JSON object a line ({reason})", "correct it") from None


def open_parquet(path: Path, time: str | None) -> SourceTable:
    """Return a Parquet file as a table; columns of lists and other nested types are left out, with a note.

    Parameters
    ----------
    path
        The file.
    time
        The column of times, where there is one; it may hold text or numbers.

    Raises
    ------
    InvalidFileError
        The file is not Parquet.
    """
    return _open_typed(path, read_parquet_schema(path), partial(read_parquet_batches, path), time)


def read_parquet_schema(path: Path) -> pa.Schema:
    """Return the columns and types of a Parquet file; an `InvalidFileError` where it is not one."""
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InvalidFileError(path, f"is not a readable Parquet file ({problem})", "fetch it again") from None


def read_parquet_batches(path: Path, names: list[str], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file with these columns."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        yield from file.iter_batches(rows, columns=names, use_threads=False)


def _open_typed(
    path: Path, schema: pa.Schema, read: Callable[[list[str]], Iterator[pa.RecordBatch]], time: str | None
) -> SourceTable:
    """Return a table whose columns have types, as plain types; `read` yields the rows of some of its columns."""
    check_column_names(path, schema.names)
    types: dict[str, pa.DataType] = {}
    notes: dict[str, str] = {}
    for column in schema:
        if column.name.startswith("__index_level_"):
            continue
        plain = to_plain_type(column.type)
        if plain is not None and column.type == pa.uint64() and has_huge_numbers(read([column.name])):
            plain, notes[column.name] = pa.string(), "text: numbers from 2^63 on"
        if plain is None:
            notes[column.name] = f"not kept: {column.type}"
        else:
            types[column.name] = plain
    candidates = {name: [TEXT] for name in types}
    if time in types and not pa.types.is_timestamp(types[time]):
        types[time] = pa.string()
        del candidates[time]
    names = list(types)
    return SourceTable(path, names, lambda counts=None: cast_batches(read(names), types), Dialect(), candidates, notes)


def has_huge_numbers(batches: Iterator[pa.RecordBatch]) -> bool:
    """Return whether the one column of some rows has a number that int64 cannot hold."""
    return any((pc.max(batch.column(0)).as_py() or 0) >= 2**63 for batch in batches)


def cast_batches(batches: Iterator[pa.RecordBatch], types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Yield rows with some columns, as plain types."""
    for batch in batches:
        columns = [cast_to_plain_type(batch.column(name), to) for name, to in types.items()]
        yield pa.RecordBatch.from_arrays(columns, list(types))


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
    if pa.types.is_duration(values.type):  # in seconds
        return pc.divide(pc.cast(pc.cast(values, pa.duration("us"), safe=False), "int64"), 1e6)
    if pa.types.is_fixed_size_binary(values.type):
        values = pc.cast(values, pa.binary())
    values = pc.cast(values, to, safe=pa.types.is_integer(to))
    if pa.types.is_string(to):
        return pc.if_else(pc.equal(values, ""), None, values)
    if pa.types.is_floating(to):
        return pc.if_else(pc.is_nan(values), None, values)
    return values


def drop_incomplete_rows(batch: pa.RecordBatch, required: list[str]) -> pa.RecordBatch:
    """Return the rows that have a value in every required column."""
    for name in required:
        batch = batch.filter(pc.is_valid(batch.column(name)))
    return batch


class KindFinder:
    """Finds the kind of each column, block by block.

    Parameters
    ----------
    table
        The table.
    time
        The column of times, where there is one.
    """

    def __init__(self, table: SourceTable, time: str | None) -> None:
        self.separator = table.dialect.separator
        self.time = time
        self.candidates = dict(table.candidate_kinds)
        self.first_values: dict[str, str] = {}

    def add(self, name: str, values: pa.Array) -> None:
        """Drop the kinds that some values of a column, without gaps, do not have."""
        if not len(values):
            return
        if name not in self.first_values:
            self.first_values[name] = first = str(values[0].as_py())
            proposed = propose_time_kinds(first) if name == self.time else propose_kinds(first, self.separator)
            self.candidates.setdefault(name, proposed)
        self.candidates[name] = select_kinds(values, self.candidates[name])

    def choose_kinds(self, names: list[str]) -> dict[str, str]:
        """Return the first kind of each column; where one has decimal commas, a point is a thousands mark in all."""
        has_decimal_commas = any(kinds[:1] == [DECIMAL_COMMA] for kinds in self.candidates.values())
        chosen = {}
        for name in names:
            kinds = self.candidates.get(name) or [NUMBER]
            is_marked = has_decimal_commas and kinds[0] == NUMBER and DECIMAL_COMMA in kinds
            chosen[name] = DECIMAL_COMMA if is_marked else kinds[0]
        return chosen


def infer_kinds(table: SourceTable, required: list[str], drop: bool, time: str | None = None) -> InferredColumns:
    """Read a table once, and find out what each column holds.

    Parameters
    ----------
    table
        The table.
    required
        The columns that every row needs.
    drop
        Whether rows without a required value are left out.
    time
        The column of times, where there is one.

    Raises
    ------
    InvalidFileError
        The table has no rows, or a required column has no values.
    OptionError
        The column of times holds something else.
    """
    finder = KindFinder(table, time)
    table.word_counts.clear()
    missing_counts: Counter[str] = Counter()
    required_gaps: Counter[str] = Counter()
    rows = 0
    for batch in table.read_batches(counts=table.word_counts):
        rows += len(batch)
        required_gaps.update({name: batch.column(name).null_count for name in required})
        kept = drop_incomplete_rows(batch, required) if drop else batch
        for name in table.columns:
            column = kept.column(name)
            missing_counts[name] += column.null_count
            finder.add(name, column.drop_null())
    _check_required_columns(table.path, rows, finder.candidates, required_gaps)
    kinds = finder.choose_kinds(table.columns)
    doubtful = {name: show_number(finder.first_values[name], kind) for name, kind in kinds.items() if is_doubtful(kind)}
    return InferredColumns(rows, kinds, missing_counts, required_gaps, doubtful)


def show_number(value: str, kind: str) -> str:
    """Return a value with the number that a kind makes of it, in words."""
    return f"'{value}' as {get_parser(kind)(pa.array([value]))[0].as_py():.12g}"


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


def convert_to_parquet(
    table: SourceTable, to: Path, required: list[str], drop: bool, time: str | None = None, numbers: bool = False
) -> InferredColumns:
    """Write a table as a Parquet file of plain types.

    Parameters
    ----------
    table
        The table; its `dialect` gets the formats of the columns, and its `notes` what is unusual in them.
    to
        The file to write.
    required
        The columns that every row needs.
    drop
        Whether rows without a required value are left out.
    time
        The column of times, where there is one.
    numbers
        Whether values such as `$1,234` or `5 km` are read as numbers; otherwise as text.

    Returns
    -------
    InferredColumns
        What the columns hold.
    """
    found = infer_kinds(table, required, drop, time)
    if not numbers:
        found.kinds |= dict.fromkeys(found.doubtful, TEXT)
    formats = {name: kind for name, kind in found.kinds.items() if kind not in SELF_EVIDENT_KINDS}
    table.dialect = msgspec.structs.replace(table.dialect, formats=formats)
    table.notes |= {name: describe_kind(kind) for name, kind in formats.items()}
    writer = None
    try:
        for batch in table.read_batches():
            kept = drop_incomplete_rows(batch, required) if drop else batch
            note_time_zones(table, kept, found.kinds)
            typed = _parse_batch(kept, found)
            writer = writer or pq.ParquetWriter(to, typed.schema, compression="zstd")
            writer.write_batch(typed)
    finally:
        if writer:
            writer.close()
    return found


def note_time_zones(table: SourceTable, batch: pa.RecordBatch, kinds: dict[str, str]) -> None:
    """Note the columns of times that have a distance from UTC."""
    for name, kind in kinds.items():
        is_noted = kind != ISO_TIME or name in table.notes
        if not is_noted and pc.any(pc.match_substring_regex(batch.column(name), OFFSET_PATTERN)).as_py():
            table.notes[name] = "times with a distance from UTC, turned to UTC"


def _parse_batch(batch: pa.RecordBatch, found: InferredColumns) -> pa.RecordBatch:
    """Return rows with typed columns; whole numbers with gaps become float64, as pandas reads them."""
    columns = {}
    for name, kind in found.kinds.items():
        values = get_parser(kind)(batch.column(name))
        if found.missing_counts[name] and pa.types.is_integer(values.type):
            values = pc.cast(values, "float64")
        columns[name] = values
    return pa.RecordBatch.from_pydict(columns)
