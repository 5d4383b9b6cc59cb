"""Make any CSV or Parquet table the project's data, with a schema and parameters that suit it, or change nothing."""

import math
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import OptionError, UserError
from modelyard.core.files import restore_files_on_error
from modelyard.core.params import DataParams, load_params
from modelyard.core.paths import (
    DVC_LOCK,
    HOLDOUT_PARQUET,
    METRICS_JSON,
    MODEL_FILE,
    PARAMS_YAML,
    SCHEMA_YAML,
    TRAIN_PARQUET,
)
from modelyard.core.process import add_to_dvc
from modelyard.core.yaml_edit import YamlEditor
from modelyard.data.dialect import join_words, split_words
from modelyard.data.importing import (
    ImportOptions,
    InferredColumns,
    SourceTable,
    convert_to_parquet,
    match_column,
    open_source,
    require_file,
)
from modelyard.data.profiling import MAX_STRAYS_KEPT, ColumnProfile, profile_columns, sample_rows
from modelyard.pipeline.split import split_table
from modelyard.workspace.infer import InferredParams, ParamBlocks, find_key, infer_params
from modelyard.workspace.infer_schema import EMPTY_SCHEMA, amend_schema, to_flow_style

RAW_FOLDER = Path("data/raw")
RAW_GITIGNORE = RAW_FOLDER / ".gitignore"
DVC_THRESHOLD_BYTES = 50_000_000  # larger files do not belong into git
# What the pipeline made from the former data.
GENERATED_PATHS = (DVC_LOCK, MODEL_FILE.parent, METRICS_JSON.parent, TRAIN_PARQUET, HOLDOUT_PARQUET)
MIN_NUMERIC_SHARE = 0.95  # with so many numbers, other values are mistakes rather than categories
SPLIT_SAMPLE_ROWS = 1_000_000
FLOW_STYLE_KEYS = ("slices", "floors", "sensitive")
MAX_ROWS_PRINTED = 30
MAX_COLUMN_WIDTH = 40
MAX_WORDS_SHOWN = 3


class SummaryRow(NamedTuple):
    """A line of what adopt prints: a topic, what was inferred, and why."""

    topic: str
    value: str
    reason: str


def find_ambiguous_values(source: Path, profiles: dict[str, ColumnProfile], text: list[str]) -> Iterator[str]:
    """Yield sentences about what only its owner knows of a table: infinite values, and words among numbers.

    Parameters
    ----------
    source
        The table's file.
    profiles
        The profile of each column.
    text
        The columns that its owner says are text.
    """
    strays = dict[str, list[str]]()
    for name, profile in profiles.items():
        if profile.type == "float64" and math.inf in (profile.high, -(profile.low or 0)):
            yield f"{name} in {source} has infinite values; correct them, or leave them empty"
        present = profile.rows - profile.missing_count
        if name not in text and profile.strays and MIN_NUMERIC_SHARE * present <= profile.numeric_count < present:
            strays[name] = profile.strays
    if strays:
        yield describe_strays(source, strays)


def describe_strays(source: Path, strays: dict[str, list[str]]) -> str:
    """Return the one question about the words that stand among the numbers of some columns.

    Parameters
    ----------
    source
        The table's file.
    strays
        The words of each column, in which there are more than `MAX_STRAYS_KEPT` where so many are listed.
    """
    found = []
    for name, words in strays.items():
        more = " …" if len(words) > MAX_WORDS_SHOWN else ""
        found.append(f"{name} ({', '.join(map(repr, words[:MAX_WORDS_SHOWN]))}{more})")
    shown = ", ".join(found[:MAX_WORDS_SHOWN]) + " …" * (len(found) > MAX_WORDS_SHOWN)
    cure = f"say TEXT={shlex.quote(join_words(list(strays)))} where they are codes"
    if all(len(words) <= MAX_STRAYS_KEPT for words in strays.values()):
        words = list(dict.fromkeys(word for listed in strays.values() for word in listed))
        cure += f", MISSING={shlex.quote(join_words(words))} where they stand for a missing value"
    return f"numbers in {source} stand beside words: {shown}; {cure}, or correct them"


def describe_doubtful(found: InferredColumns) -> str:
    """Return the one question about the columns that hold numbers with units or odd marks."""
    examples = [f"{name} ({example})" for name, example in found.doubtful.items()]
    shown = ", ".join(examples[:MAX_WORDS_SHOWN]) + " …" * (len(examples) > MAX_WORDS_SHOWN)
    text = shlex.quote(join_words(list(found.doubtful)))
    return f"numbers with signs or units stand in {shown}; add NUMBERS=auto to read them so, or TEXT={text} as text"


def describe_gaps(table: SourceTable, found: InferredColumns) -> str:
    """Return how many rows lack a required value, with the words that were taken for missing; empty without any."""
    gaps = found.describe_gaps()
    words = [describe_missing_words(table, name) for name, count in found.required_gaps.items() if count]
    shown = ", ".join(filter(None, words))
    return f"{gaps} ({shown})" if shown else gaps


def describe_missing_words(table: SourceTable, name: str) -> str:
    """Return the words of a column that were taken for missing and how often, most often first."""
    counts = {word: count for (column, word), count in table.word_counts.items() if column == name and word}
    return ", ".join(f"{count:,} × {word}" for word, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def check_split(table: Path, blocks: ParamBlocks, key: list[str]) -> None:
    """Try the split on a million rows.

    Parameters
    ----------
    table
        The table as a Parquet file.
    blocks
        The inferred parameters.
    key
        The columns that no two rows share.

    Raises
    ------
    UserError
        If a side would hold no rows, or one class only.
    """
    params = load_params()
    data = DataParams(**blocks["data"])
    columns = {data.target, *key} | {name for name in (data.time, data.group) if name}
    rows = sample_rows(table, SPLIT_SAMPLE_ROWS, sorted(columns))
    parts = split_table(rows, data, key, params.split)
    for side, part in zip(("training rows", "holdout"), parts, strict=True):
        if data.task == "classification" and part[data.target].nunique() < 2:
            only = f"only {data.target} = {part[data.target].iloc[0]}"
            raise UserError(f"the {side} would hold {only}; name another TIME or GROUP, or bring more rows")


def summarize_inference(inferred: InferredParams, key: list[str]) -> list[SummaryRow]:
    """Return what was inferred and why."""
    blocks, reasons, _ = inferred
    data = blocks["data"]
    criteria = [f"{role} {data[role]}" for role in ("group", "time") if data[role]]
    if criteria:
        split = SummaryRow("split", f"by {' and '.join(criteria)}", "")
    else:
        criterion = f"key {key[0]}" if key else "chance"
        split = SummaryRow("split", f"by {criterion}", "TIME=… and GROUP=… say which rows belong together")
    estimator = blocks["train"]["estimator"].rpartition(".")[2]
    return [
        SummaryRow("target", data["target"], ""),
        SummaryRow("task", data["task"], reasons["task"]),
        SummaryRow("metric", blocks["evaluate"]["metric"], reasons["metric"]),
        split,
        SummaryRow("estimator", estimator, reasons["estimator"]),
        SummaryRow("features", f"{len(data['features'])} columns", ""),
        *(SummaryRow("left out", name, reason) for name, reason in data["left_out"].items()),
    ]


def summarize_reading(table: SourceTable) -> list[SummaryRow]:
    """Return how the file was read, and which words were taken for missing."""
    rows = [SummaryRow("read as", name, note) for name, note in table.notes.items()]
    for name in table.columns:
        words = describe_missing_words(table, name)
        if words:
            rows.append(SummaryRow("missing", name, f"{words}; KEEP=… where a word is a value"))
    return rows


def print_summary(rows: list[SummaryRow]) -> None:
    """Print the first rows in columns, each topic once, and how many more there are."""
    width = min(MAX_COLUMN_WIDTH, max(len(row.value) for row in rows))
    last_topic = ""
    for row in rows[:MAX_ROWS_PRINTED]:
        topic = "" if row.topic == last_topic else row.topic
        print_line(f"  {topic:<11}{row.value:<{width}}  {row.reason}".rstrip())
        last_topic = row.topic
    if len(rows) > MAX_ROWS_PRINTED:
        print_line(f"  {'':<11}… and {len(rows) - MAX_ROWS_PRINTED} more, in {PARAMS_YAML}")


def list_changed_paths(texts: dict[Path, str], old: Path, new: Path) -> list[Path]:
    """Return every path that another table changes or removes."""
    paths = [*texts, new, RAW_GITIGNORE, *GENERATED_PATHS]
    if RAW_FOLDER in old.parents:
        paths.append(old)
    paths += [path.with_name(f"{path.name}.dvc") for path in (old, new) if RAW_FOLDER in path.parents]
    return list(dict.fromkeys(paths))


def replace_project_data(draft: Path, texts: dict[Path, str], old: Path, new: Path) -> str:
    """Put a table in place of the former data, and remove all that was made from that.

    Parameters
    ----------
    draft
        The new table, which is moved.
    texts
        The content of further files.
    old, new
        Where the former table stands and where the new one will.

    Returns
    -------
    str
        A sentence about DVC where the table is large; else empty.
    """
    is_large = draft.stat().st_size > DVC_THRESHOLD_BYTES
    ignored = RAW_GITIGNORE.read_text(encoding="utf-8").splitlines() if RAW_GITIGNORE.exists() else []
    still_ignored = [line for line in ignored if line != f"/{old.name}"]
    written = dict(texts)
    if still_ignored:
        written[RAW_GITIGNORE] = "".join(f"{line}\n" for line in still_ignored)
    with restore_files_on_error(*list_changed_paths(texts, old, new), set_aside=True):
        for path, text in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        draft.replace(new)
        if is_large:
            add_to_dvc(new)
    if is_large:
        return f"{new} is large and went under DVC: `make remote` gives it a home before the first push"
    return ""


def render_params(blocks: ParamBlocks) -> str:
    """Return params.yaml with these values in its blocks; the rest of it, comments included, stays."""
    editor = YamlEditor(PARAMS_YAML.read_text(encoding="utf-8"))
    for name, values in blocks.items():
        one_line = {key: to_flow_style(value) for key, value in values.items() if key in FLOW_STYLE_KEYS}
        editor.document.setdefault(name, {}).update(values | one_line)
    space = blocks["sweep"]["space"]
    editor.document["sweep"]["space"] = {name: to_flow_style(rule) for name, rule in space.items()}
    return re.sub(r"(?m)^( .*\n)(?=\w)", r"\1\n", editor.to_yaml())


def open_table(source: Path, wish: DataParams, options: ImportOptions) -> tuple[SourceTable, DataParams]:
    """Open a table.

    Parameters
    ----------
    source
        A file with a table.
    wish
        What the table's owner says of it.
    options
        How the file is written.

    Returns
    -------
    tuple[SourceTable, DataParams]
        The table, and the wish with its columns as the table spells them.
    """
    table = open_source(source, wish.time, options)
    names = table.columns
    spelled = replace(
        wish,
        target=match_column(source, names, wish.target),
        time=match_column(source, names, wish.time) if wish.time else None,
        group=match_column(source, names, wish.group) if wish.group else None,
        sensitive=[match_column(source, names, name) for name in wish.sensitive],
    )
    text = [match_column(source, names, name) for name in options.text]
    if spelled.time != wish.time or text != options.text:  # they were not looked for under this name
        options.text = text
        return open_table(source, spelled, options)
    return table, spelled


def render_texts(
    table: SourceTable, wish: DataParams, profiles: dict[str, ColumnProfile], blocks: ParamBlocks, key: list[str]
) -> dict[Path, str]:
    """Return the content of schema.yaml, params.yaml and the data's README for a table."""
    source = table.path
    rows = profiles[wish.target].rows
    about = f"{rows:,} rows and {len(profiles)} columns, adopted from `{source.name}`; `{wish.target}` is the target"
    return {
        SCHEMA_YAML: amend_schema(EMPTY_SCHEMA, profiles, DataParams(**blocks["data"]), set(), key, table.dialect),
        PARAMS_YAML: render_params(blocks),
        RAW_FOLDER / "README.md": f"# {Path(wish.path).name}\n\n{about}.\n`schema.yaml` says what the columns hold.\n",
    }


def check_values(
    table: SourceTable,
    found: InferredColumns,
    profiles: dict[str, ColumnProfile],
    target: str,
    drop: bool,
    options: ImportOptions,
) -> None:
    """Raise an error with all that only its owner knows of a table.

    Parameters
    ----------
    table
        The table.
    found
        What its columns hold.
    profiles
        The profile of each column.
    target
        The target.
    drop
        Whether rows without target or time are left out.
    options
        How the file is written.
    """
    questions = []
    gaps = describe_gaps(table, found)
    if gaps and not drop:
        words = [word for (column, word) in table.word_counts if column == target and word]
        keep = f"KEEP={shlex.quote(join_words(words))} where that is a value, or " if words else ""
        questions.append(f"{gaps}; add {keep}DROP=1 to leave them out")
    if found.doubtful and not options.numbers:
        questions.append(describe_doubtful(found))
    questions += find_ambiguous_values(table.path, profiles, options.text)
    if questions:
        raise UserError(". ".join(questions))


def adopt_table(source: Path, wish: DataParams, options: ImportOptions, drop: bool) -> None:
    """Make a table the project's data, and print what was inferred.

    Parameters
    ----------
    source
        A file with a table.
    wish
        What the table's owner says of it.
    options
        How the file is written.
    drop
        Whether to leave out rows without target or time.

    Raises
    ------
    UserError
        If the table cannot be used as it is; nothing is changed then.
    """
    table, wish = open_table(source, wish, options)
    required = [name for name in (wish.target, wish.time) if name]
    with tempfile.TemporaryDirectory(prefix=".adopt-", dir=".") as folder:
        draft = Path(folder, "table")
        found = convert_to_parquet(table, draft, required, drop, wish.time, options.numbers)
        profiles = profile_columns(draft)
        check_values(table, found, profiles, wish.target, drop, options)
        inferred = infer_params(draft, profiles, wish)
        key = find_key(draft, profiles, inferred.blocks["data"]["left_out"])
        check_split(draft, inferred.blocks, key)
        texts = render_texts(table, wish, profiles, inferred.blocks, key)
        dvc_note = replace_project_data(draft, texts, Path(load_params().data.path), Path(wish.path))
    rows = profiles[wish.target].rows
    print_result("adopt", f"{source.name}: {rows:,} rows, {len(profiles)} columns → {wish.path}")
    print_summary(summarize_inference(inferred, key) + summarize_reading(table))
    gaps = found.describe_gaps()
    gaps_note = f"{gaps}: left out" if gaps else ""
    for note in filter(None, [gaps_note, *inferred.notes, dvc_note]):
        print_line(f"  note       {note}")
    print_line("  next       `make pipeline`; dvc.lock, models and reports of the former data are gone")


def read_layout_options(sep: str, encoding: str, header: bool, skip: str, footer: str) -> dict[str, Any]:
    """Return the fields of the layout that the options name.

    Raises
    ------
    OptionError
        A separator or a number of lines makes no sense.
    """
    wanted: dict[str, Any] = {}
    if sep:
        wanted["separator"] = sep.replace("\\t", "\t")
    if len(wanted.get("separator", ",")) != 1:
        raise OptionError("SEP", f"is {sep!r}, not one character", "write one, such as SEP=';', or SEP='\\t'")
    if encoding:
        wanted["encoding"] = encoding
    if not header:
        wanted["header"] = False
    for option, field, text in (("SKIP", "skip", skip), ("FOOTER", "footer", footer)):
        if text and not text.isdecimal():
            raise OptionError(option, f"is {text!r}, not a number of lines", f"write it as {option}=3")
        if text:
            wanted[field] = int(text)
    return wanted


def main(
    csv: str = "",
    target: str = "",
    time: str = "",
    group: str = "",
    sensitive: str = "",
    task: str = "",
    drop: bool = False,
    missing: str = "",
    keep: str = "",
    text: str = "",
    numbers: str = "",
    sep: str = "",
    encoding: str = "",
    header: bool = True,
    skip: str = "",
    footer: str = "",
) -> int:
    """Make a table the project's data: CSV=path TARGET=column [TIME=…] [GROUP=…] [SENSITIVE=a,b].

    TASK=classification or regression overrules the guess; DROP=1 leaves out rows without target or time;
    MISSING=a,b names further words for a missing value, KEEP=None,NA words that are values; NUMBERS=auto reads $5 and
    5 km as numbers, TEXT=a,b keeps columns as text; SEP, ENCODING, HEADER=0, SKIP and FOOTER (lines before the names
    and after the last row) overrule what the file seems to have. A word that holds a comma stands in "quotes".
    """
    if not csv or not target:
        raise UserError("name a table and the column to predict: make adopt CSV=path TARGET=column")
    if numbers not in ("", "auto"):
        raise OptionError("NUMBERS", f"is {numbers!r}", "say NUMBERS=auto to read $5 and 5 km as numbers")
    source = require_file(Path(csv).expanduser())
    sensitive_columns = list(split_words(sensitive))
    if target in (time, group, *sensitive_columns):
        raise OptionError("TARGET", f"{target} is the target", "it cannot be TIME, GROUP or SENSITIVE as well")
    slug = re.sub(r"[^a-z0-9]+", "-", source.name.partition(".")[0].lower()).strip("-") or "table"
    path = f"{RAW_FOLDER}/{slug}.parquet"
    wish = DataParams(path, target, task, [], time or None, group or None, sensitive=sensitive_columns)
    layout = read_layout_options(sep, encoding, header, skip, footer)
    words = (split_words(missing), split_words(keep), list(split_words(text)))
    adopt_table(source, wish, ImportOptions(layout, *words, bool(numbers)), drop)
    return 0
