"""Make any CSV or Parquet table the project's data, with a schema and parameters that suit it, or change nothing."""

import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
from modelyard.data.importing import (
    SourceTable,
    convert_to_parquet,
    match_column,
    open_parquet,
    open_text,
    require_file,
)
from modelyard.data.profiling import ColumnProfile, profile_columns, sample_rows
from modelyard.pipeline.split import split_table
from modelyard.workspace.infer import InferredParams, ParamBlocks, find_key, infer_params
from modelyard.workspace.infer_schema import EMPTY_SCHEMA, amend_schema, to_flow_style

RAW_FOLDER = Path("data/raw")
RAW_GITIGNORE = RAW_FOLDER / ".gitignore"
PARQUET_MAGIC = b"PAR1"
DVC_THRESHOLD_BYTES = 50_000_000  # larger files do not belong into git
# What the pipeline made from the former data.
GENERATED_PATHS = (DVC_LOCK, MODEL_FILE.parent, METRICS_JSON.parent, TRAIN_PARQUET, HOLDOUT_PARQUET)
MIN_NUMERIC_SHARE = 0.95  # with so many numbers, other values are mistakes rather than categories
SPLIT_SAMPLE_ROWS = 1_000_000
FLOW_STYLE_KEYS = ("slices", "floors", "sensitive")
MAX_ROWS_PRINTED = 30
MAX_COLUMN_WIDTH = 40


class SummaryRow(NamedTuple):
    """A line of what adopt prints: a topic, what was inferred, and why."""

    topic: str
    value: str
    reason: str


def find_ambiguous_values(source: Path, profiles: dict[str, ColumnProfile]) -> Iterator[str]:
    """Yield sentences about what only its owner knows of a table: infinite values, and words among numbers."""
    columns_by_word = dict[str, list[str]]()
    for name, profile in profiles.items():
        if profile.type == "float64" and math.inf in (profile.high, -(profile.low or 0)):
            yield f"{name} in {source} has infinite values; correct them, or leave them empty"
        present = profile.rows - profile.missing_count
        is_mostly_numeric = MIN_NUMERIC_SHARE * present <= profile.numeric_count < present
        if profile.non_numeric_example is not None and is_mostly_numeric:
            columns_by_word.setdefault(profile.non_numeric_example, []).append(name)
    for word, names in columns_by_word.items():
        more = ""
        if len(names) > 1:
            more = f" ({', '.join(names[1:3])}{' …' if len(names) > 3 else ''}, too)"
        yield (
            f"{names[0]} in {source} holds numbers, but also {word!r}{more}; correct it, "
            f"or say MISSING={','.join(columns_by_word)} to take that for a missing value"
        )


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


def open_table(source: Path, wish: DataParams, options: dict[str, str]) -> tuple[SourceTable, DataParams]:
    """Open a table.

    Parameters
    ----------
    source
        A CSV or Parquet file.
    wish
        What the table's owner says of it.
    options
        How a text file is to be read: `missing`, `separator` and `encoding`.

    Returns
    -------
    tuple[SourceTable, DataParams]
        The table, and the wish with its columns as the table spells them.
    """
    with source.open("rb") as file:
        is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    table = open_parquet(source, wish.time) if is_parquet else open_text(source, wish.time, **options)
    names = list(table.candidate_kinds)
    spelled = replace(
        wish,
        target=match_column(source, names, wish.target),
        time=match_column(source, names, wish.time) if wish.time else None,
        group=match_column(source, names, wish.group) if wish.group else None,
        sensitive=[match_column(source, names, name) for name in wish.sensitive],
    )
    if spelled.time != wish.time:  # its times were not looked for under this name
        return open_table(source, spelled, options)
    return table, spelled


def render_texts(
    source: Path, wish: DataParams, profiles: dict[str, ColumnProfile], blocks: ParamBlocks, key: list[str]
) -> dict[Path, str]:
    """Return the content of schema.yaml, params.yaml and the data's README for a table."""
    rows = profiles[wish.target].rows
    about = f"{rows:,} rows and {len(profiles)} columns, adopted from `{source.name}`; `{wish.target}` is the target"
    return {
        SCHEMA_YAML: amend_schema(EMPTY_SCHEMA, profiles, DataParams(**blocks["data"]), set(), key),
        PARAMS_YAML: render_params(blocks),
        RAW_FOLDER / "README.md": f"# {Path(wish.path).name}\n\n{about}.\n`schema.yaml` says what the columns hold.\n",
    }


def check_values(source: Path, profiles: dict[str, ColumnProfile], gaps: str) -> None:
    """Raise an error with all that only its owner knows of a table.

    Parameters
    ----------
    source
        The table's file.
    profiles
        The profile of each column.
    gaps
        A sentence about rows without target or time that are not to be left out; else empty.
    """
    questions = [f"{gaps}; add DROP=1 to leave them out"] if gaps else []
    questions += find_ambiguous_values(source, profiles)
    if questions:
        raise UserError(". ".join(questions))


def adopt_table(source: Path, wish: DataParams, options: dict[str, str], drop: bool) -> None:
    """Make a table the project's data, and print what was inferred.

    Parameters
    ----------
    source
        A CSV or Parquet file.
    wish
        What the table's owner says of it.
    options
        How a text file is to be read: `missing`, `separator` and `encoding`.
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
        gaps = convert_to_parquet(table, draft, required, drop)
        profiles = profile_columns(draft)
        check_values(source, profiles, "" if drop else gaps)
        inferred = infer_params(draft, profiles, wish)
        key = find_key(draft, profiles, inferred.blocks["data"]["left_out"])
        check_split(draft, inferred.blocks, key)
        texts = render_texts(source, wish, profiles, inferred.blocks, key)
        dvc_note = replace_project_data(draft, texts, Path(load_params().data.path), Path(wish.path))
    rows = profiles[wish.target].rows
    print_result("adopt", f"{source.name}: {rows:,} rows, {len(profiles)} columns → {wish.path}")
    read_as = [SummaryRow("read as", name, note) for name, note in table.notes.items()]
    print_summary(summarize_inference(inferred, key) + read_as)
    gaps_note = f"{gaps}: left out" if gaps else ""
    for note in filter(None, [gaps_note, *inferred.notes, dvc_note]):
        print_line(f"  note       {note}")
    print_line("  next       `make pipeline`; dvc.lock, models and reports of the former data are gone")


def main(
    csv: str = "",
    target: str = "",
    time: str = "",
    group: str = "",
    sensitive: str = "",
    task: str = "",
    drop: bool = False,
    missing: str = "",
    sep: str = "",
    encoding: str = "",
) -> int:
    """Make a table the project's data: CSV=path TARGET=column [TIME=…] [GROUP=…] [SENSITIVE=a,b].

    TASK=classification or regression overrules the guess; DROP=1 leaves out rows without target or time;
    MISSING=a,b names further words for a missing value; SEP and ENCODING overrule what the file seems to have.
    """
    if not csv or not target:
        raise UserError("name a table and the column to predict: make adopt CSV=path TARGET=column")
    source = require_file(Path(csv).expanduser())
    sensitive_columns = [name.strip() for name in sensitive.split(",") if name.strip()]
    if target in (time, group, *sensitive_columns):
        raise OptionError("TARGET", f"{target} is the target", "it cannot be TIME, GROUP or SENSITIVE as well")
    slug = re.sub(r"[^a-z0-9]+", "-", source.name.partition(".")[0].lower()).strip("-") or "table"
    path = f"{RAW_FOLDER}/{slug}.parquet"
    wish = DataParams(path, target, task, [], time or None, group or None, sensitive=sensitive_columns)
    adopt_table(source, wish, {"missing": missing, "separator": sep, "encoding": encoding}, drop)
    return 0
