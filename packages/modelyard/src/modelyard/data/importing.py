"""Any CSV or Parquet file as one Parquet file of plain types, in blocks, so that its size does not matter."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pyarrow import csv as arrow

from modelyard.core.errors import UserError

BLOCK_BYTES = 8 << 20
BATCH_ROWS = 1 << 16
LOCAL_FILES = LocalFileSystem()
SEPARATORS = ",;\t|"
# What Arrow takes for missing, what others write, and the question mark of the UCI tables.
MISSING_MARKERS = (*arrow.ConvertOptions().null_values, "?", "None", "<NA>", "-", "--")
TEXT, WHOLE_NUMBER, NUMBER, ISO_TIME = "text", "whole numbers", "numbers", "ISO8601"
DECIMAL_COMMA, THOUSANDS_COMMA = "decimal commas", "commas at the thousands"
CODE_PATTERN = r"^[+-]?(0[0-9xX]|[0-9]{19})"  # a leading zero and very many digits are no number
DATE_FORMATS = ("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%d-%b-%Y", "%d %b %Y")
TIME_FORMATS = (ISO_TIME, *(date + clock for date in DATE_FORMATS for clock in ("", " %H:%M", " %H:%M:%S")))
PLAIN_TYPES: tuple[tuple[tuple[str, ...], pa.DataType], ...] = (
    (("timestamp", "date"), pa.timestamp("us")),
    (("integer", "boolean"), pa.int64()),
    (("floating", "decimal", "null"), pa.float64()),
    (("string", "large_string", "string_view", "time"), pa.string()),
)


def parse_number(values: pa.Array, to: str) -> pa.Array:
    """Text as numbers; codes such as 007 are none."""
    if pc.any(pc.match_substring_regex(values, CODE_PATTERN)).as_py():
        raise pa.ArrowInvalid("a code")
    return pc.cast(values, to)


def parse_grouped_number(values: pa.Array, mark: str, point: str) -> pa.Array:
    """Text such as 1.234,5 as numbers, with a mark at the thousands and a decimal point."""
    pattern = rf"^[+-]?([0-9]{{1,3}}(\{mark}[0-9]{{3}})+|[0-9]+)(\{point}[0-9]*)?$"
    if not pc.all(pc.match_substring_regex(values, pattern), min_count=0).as_py():
        raise pa.ArrowInvalid("not marked so")
    return parse_number(pc.replace_substring(pc.replace_substring(values, mark, ""), point, "."), "float64")


def parse_times(values: pa.Array, layout: str) -> pa.Array:
    """Text of one layout as times in microseconds, in UTC where they have a zone."""
    found = pd.to_datetime(values.to_pandas(), format=layout, utc=True).dt.tz_localize(None)
    return pa.array(found.astype("datetime64[us]"), pa.timestamp("us"))


COLUMN_PARSERS: dict[str, Callable[[pa.Array], pa.Array]] = {
    WHOLE_NUMBER: partial(parse_number, to="int64"),
    NUMBER: partial(parse_number, to="float64"),
    "true and false, as 1 and 0": lambda values: pc.cast(pc.cast(values, "bool"), "int64"),
    **{layout: partial(parse_times, layout=layout) for layout in TIME_FORMATS},
    DECIMAL_COMMA: partial(parse_grouped_number, mark=".", point=","),
    THOUSANDS_COMMA: partial(parse_grouped_number, mark=",", point="."),
    TEXT: lambda values: values,
}


@dataclass
class SourceTable:
    """Rows that can be read again and again in blocks; what the text in each column may be; its encoding."""

    path: Path
    kinds: dict[str, list[str]]
    read: Callable[[], Iterator[pa.RecordBatch]]
    notes: dict[str, str] = field(default_factory=dict)


def require_file(path: Path) -> Path:
    """The path of a file with bytes in it; anything else is a `UserError`."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the file in it")
    if not path.is_file():
        raise UserError(f"there is no file {path}; look at the path")
    if not path.stat().st_size:
        raise UserError(f"{path} is empty; bring a file with column names and rows")
    return path


def check_column_names(path: Path, names: list[str]) -> None:
    """Refuse two columns of one name, and a single column."""
    if len(names) < 2:
        raise UserError(f"{path} has one column; a table needs a target and a feature (SEP=… names its separator)")
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{path} has {count} columns called {name}; give each its own name")


def match_column(path: Path, names: list[str], name: str) -> str:
    """The column of that name, in whatever case where only one is meant; else a `UserError` that names similar ones."""
    alike = [other for other in names if other.lower() == name.lower()]
    if name in names or len(alike) == 1:
        return name if name in names else alike[0]
    near = sorted(names, key=lambda other: -SequenceMatcher(None, name.lower(), other.lower()).ratio())
    raise UserError(f"there is no column {name} in {path}; it has {', '.join(near[:12])}{' …' * (len(near) > 12)}")


def detect_encoding(path: Path, wanted: str) -> tuple[str, str]:
    """The encoding that all of a text file keeps, and its beginning; a `UserError` where there is none."""
    with LOCAL_FILES.open(str(path), compression="infer") as file:
        start = file.read(BATCH_ROWS)
    utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    found = [wanted] if wanted else ["utf-16"] if utf16 else ["utf-8", "cp1252"]
    if start.lstrip()[:1] in b"{[<" or (b"\0" in start and not utf16 and not wanted):
        raise UserError(f"{path} is blank, JSON, HTML or a binary file, not a table; bring CSV or Parquet")
    for encoding in found:
        try:
            with LOCAL_FILES.open(str(path), "rt", encoding=encoding, newline="", compression="infer") as file:
                head = file.read(BATCH_ROWS)
                while file.read(BLOCK_BYTES):
                    pass
            return encoding, head.removeprefix("\ufeff")
        except UnicodeError:
            continue
    raise UserError(f"{path} is not written in {' or '.join(found)}; name its encoding, such as ENCODING=latin-1")


def open_text(path: Path, time: str | None, missing: str, separator: str, encoding: str) -> SourceTable:
    """A CSV file of any separator and encoding; what does not read as one is a `UserError`."""
    try:
        encoding, head = detect_encoding(path, encoding)
        separator = separator.replace("\\t", "\t") or max(SEPARATORS, key=head.partition("\n")[0].count)
        header = next(csv.reader(io.StringIO(head), delimiter=separator), [])
    except LookupError:
        raise UserError(f"there is no encoding {encoding}; try ENCODING=utf-8 or ENCODING=cp1252") from None
    except (OSError, EOFError, csv.Error, ValueError) as problem:
        raise UserError(f"{path} does not read as a table ({problem}); fetch it again, or save it as CSV") from None
    names = [" ".join(name.split()) or f"unnamed_{i}" for i, name in enumerate(header)]
    check_column_names(path, names)
    kinds = [kind for kind in COLUMN_PARSERS if kind != (DECIMAL_COMMA if separator == "," else THOUSANDS_COMMA)]
    absent = pa.array([*MISSING_MARKERS, *(word.strip() for word in missing.split(","))])
    read = partial(read_text_blocks, path, names, separator, encoding, absent)
    notes = {} if encoding.startswith("utf") else {encoding: "the encoding; ENCODING=… if letters look wrong"}
    return SourceTable(path, {name: list(TIME_FORMATS if name == time else kinds) for name in names}, read, notes)


def read_text_blocks(
    path: Path, names: list[str], separator: str, encoding: str, missing: pa.Array
) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV file as text without spaces around it, and null for what is missing."""
    how = {
        "read_options": arrow.ReadOptions(
            use_threads=False, block_size=BLOCK_BYTES, encoding=encoding, column_names=names, skip_rows_after_names=1
        ),
        "parse_options": arrow.ParseOptions(delimiter=separator, newlines_in_values=True),
        "convert_options": arrow.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    }
    try:
        with LOCAL_FILES.open(str(path), compression="infer") as file:
            for batch in arrow.open_csv(file, **how):
                columns = [pc.utf8_trim_whitespace(column) for column in batch.columns]
                columns = [pc.if_else(pc.is_in(column, missing), None, column) for column in columns]
                yield pa.RecordBatch.from_arrays(columns, names)
    except pa.ArrowInvalid as problem:
        what = " ".join(str(problem).removeprefix("CSV parse error: ").split())[:120]
        raise UserError(f"{path} cannot be cut into columns ({what}); correct that row, or say SEP=…") from None


def open_parquet(path: Path, time: str | None) -> SourceTable:
    """A Parquet file; columns that are no number, time or text are not kept, and noted."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as problem:
        raise UserError(f"{path} is not a readable Parquet file ({problem}); fetch it again") from None
    check_column_names(path, schema.names)
    types = {f.name: to_plain_type(f.type) for f in schema if not f.name.startswith("__index_level_")}
    notes = {name: f"not kept: {schema.field(name).type}" for name, kind in types.items() if kind is None}
    types = {name: kind for name, kind in types.items() if kind is not None}
    told = time in types and not pa.types.is_timestamp(types[time])
    if told:
        types[time] = pa.string()

    def read() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(types)):
                yield pa.RecordBatch.from_arrays(
                    [cast_to_plain_type(batch.column(n), types[n]) for n in types], list(types)
                )

    return SourceTable(
        path, {name: list(TIME_FORMATS) if told and name == time else [TEXT] for name in types}, read, notes
    )


def to_plain_type(kind: pa.DataType) -> pa.DataType | None:
    """The one type of its family that projects use; None for what a table cell cannot be."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return next((to for names, to in PLAIN_TYPES if any(getattr(pa.types, f"is_{n}")(kind) for n in names)), None)


def cast_to_plain_type(values: pa.Array, to: pa.DataType) -> pa.Array:
    """Values as the plain type; empty text and not-a-number become null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    values = pc.cast(values, to, safe=pa.types.is_integer(to))
    if pa.types.is_string(to):
        values = pc.utf8_trim_whitespace(values)
        return pc.if_else(pc.equal(values, ""), None, values)
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(to) else values


def matches_kind(values: pa.Array, kind: str) -> bool:
    """Whether values, none of them null, are of a kind; the first ones first, since most kinds fall at once."""
    try:
        for part in (values.slice(0, 100), values):
            COLUMN_PARSERS[kind](part)
    except ValueError:  # Arrow's and pandas' own are of that kind
        return False
    return True


def drop_incomplete_rows(batch: pa.RecordBatch, required: list[str]) -> pa.RecordBatch:
    """The rows that have a value in every required column."""
    for name in required:
        batch = batch.filter(pc.is_valid(batch.column(name)))
    return batch


def infer_kinds(table: SourceTable, required: list[str], drop: bool) -> tuple[dict[str, str], Counter[str], str]:
    """What each column is, its gaps, and what gaps in required columns cost."""
    kinds, holes, gaps, rows = dict(table.kinds), Counter[str](), Counter[str](), 0
    for batch in table.read():
        rows += len(batch)
        gaps.update({name: batch.column(name).null_count for name in required})
        batch = drop_incomplete_rows(batch, required) if drop else batch
        for name, left in kinds.items():
            holes[name] += batch.column(name).null_count
            kinds[name] = [kind for kind in left if matches_kind(batch.column(name).drop_null(), kind)]
    if not rows:
        raise UserError(f"{table.path} has column names but no rows; bring a file with rows")
    for name in required:
        if gaps[name] == rows:
            raise UserError(f"{name} in {table.path} has no value in any of {rows:,} rows; name another column")
        if not kinds[name]:
            raise UserError(f"TIME={name} does not hold times that can be read; write them as 2024-12-31 23:59")
    lacking = " and ".join(f"{gaps[name]:,} have no {name}" for name in required if gaps[name])
    if any(
        left[0] == DECIMAL_COMMA for left in kinds.values()
    ):  # then a point is a thousands mark in other columns, too
        kinds = {
            name: [DECIMAL_COMMA] if left[0] == NUMBER and DECIMAL_COMMA in left else left
            for name, left in kinds.items()
        }
    return {name: left[0] for name, left in kinds.items()}, holes, lacking and f"of {rows:,} rows {lacking}"


def convert_to_parquet(table: SourceTable, to: Path, required: list[str], drop: bool) -> str:
    """Write a table as Parquet of plain types; how many rows lack what is required, in words, or nothing."""
    kinds, holes, lacking = infer_kinds(table, required, drop)
    told = {name: kind for name, kind in kinds.items() if kind not in (TEXT, WHOLE_NUMBER, NUMBER, ISO_TIME)}
    table.notes |= {name: f"times such as {kind}" if kind in TIME_FORMATS else kind for name, kind in told.items()}
    writer = None
    for batch in table.read():
        batch = drop_incomplete_rows(batch, required) if drop else batch
        columns = {name: COLUMN_PARSERS[kind](batch.column(name)) for name, kind in kinds.items()}
        for name in (n for n in columns if holes[n] and pa.types.is_integer(columns[n].type)):
            columns[name] = pc.cast(columns[name], "float64")  # as pandas reads it
        batch = pa.RecordBatch.from_pydict(columns)
        writer = writer or pq.ParquetWriter(to, batch.schema, compression="zstd")
        writer.write_batch(batch)
    if writer:
        writer.close()
    return lacking
