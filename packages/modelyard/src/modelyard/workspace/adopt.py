"""Verb: any CSV or Parquet table becomes the project's data, with a schema and parameters that suit it, or nothing."""

import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
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
from modelyard.workspace.infer import ParamBlocks, find_key, infer_params
from modelyard.workspace.infer_schema import EMPTY_SCHEMA, amend_schema, to_flow_style

RAW_FOLDER = Path("data/raw")
RAW_GITIGNORE = RAW_FOLDER / ".gitignore"
DVC_THRESHOLD_BYTES = 50_000_000  # bytes, above which a repository is no place for a file
GENERATED_PATHS = (
    DVC_LOCK,
    MODEL_FILE.parent,
    METRICS_JSON.parent,
    TRAIN_PARQUET,
    HOLDOUT_PARQUET,
)  # from the former data
MIN_NUMERIC_SHARE = 0.95  # so many numbers, and the other values are mistakes rather than categories


def find_ambiguous_values(source: Path, facts: dict[str, ColumnProfile]) -> Iterator[str]:
    """What only its owner can say of a table: infinite values, and words among numbers."""
    strays = dict[str, list[str]]()
    for name, column in facts.items():
        if column.type == "float64" and math.inf in (column.high, -(column.low or 0)):
            yield f"{name} in {source} has infinite values; correct them, or leave them empty"
        full = column.rows - column.missing_count
        if column.non_numeric_example is not None and MIN_NUMERIC_SHARE * full <= column.numbers < full:
            strays.setdefault(column.non_numeric_example, []).append(name)
    for word, names in strays.items():
        also = f" ({', '.join(names[1:3])}{' …' * (len(names) > 3)}, too)" if names[1:] else ""
        yield (
            f"{names[0]} in {source} holds numbers, but also {word!r}{also}; correct it, "
            f"or say MISSING={','.join(strays)} to take that for a missing value"
        )


def check_split(draft: Path, blocks: ParamBlocks, key: list[str]) -> None:
    """Try the split on a million rows: both sides must hold rows, and more than one class."""
    params, data = load_params(), DataParams(**blocks["data"])
    names = {data.target, *filter(None, (data.time, data.group)), *key}
    table = sample_rows(draft, 1_000_000, sorted(names))
    parts = split_table(table, data, key, params.split.holdout, params.split.seed)
    for side, part in zip(("training rows", "holdout"), parts, strict=True):
        if data.task == "classification" and part[data.target].nunique() < 2:
            what = f"only {data.target} = {part[data.target].iloc[0]}"
            raise UserError(f"the {side} would hold {what}; name another TIME or GROUP, or bring more rows")


def summarize_inference(blocks: ParamBlocks, why: dict[str, str], key: list[str]) -> list[tuple[str, str, str]]:
    """What was inferred and why, as the rows of a table."""
    data = blocks["data"]
    by = " and ".join(f"{word} {data[word]}" for word in ("group", "time") if data[word])
    chance = f"key {key[0]}" if key else "chance"
    return [
        ("target", data["target"], ""),
        ("task", data["task"], why["task"]),
        ("metric", blocks["evaluate"]["metric"], why["metric"]),
        ("split", f"by {by or chance}", "" if by else "TIME=… and GROUP=… say which rows belong together"),
        ("estimator", blocks["train"]["estimator"].rpartition(".")[2], why["estimator"]),
        ("features", f"{len(data['features'])} columns", ""),
        *(("left out", name, reason) for name, reason in data["left_out"].items()),
    ]


def print_rows(rows: list[tuple[str, str, str]], limit: int = 30) -> None:
    """Print the rows in columns, a word that repeats but once, and the first ones of many."""
    width, last = min(40, max(len(value) for _, value, _ in rows)), ""
    for title, value, why in rows[:limit]:
        print_line(f"  {title if title != last else '':<11}{value:<{width}}  {why}".rstrip())
        last = title
    if len(rows) > limit:
        print_line(f"  {'':<11}… and {len(rows) - limit} more, in {PARAMS_YAML}")


def replace_project_data(draft: Path, texts: dict[Path, str], old: Path, path: Path) -> str:
    """Put the table and the texts in place of the former data and all that was made from it; a sentence on DVC."""
    lines = RAW_GITIGNORE.read_text(encoding="utf-8").splitlines() if RAW_GITIGNORE.exists() else []
    kept = "".join(f"{line}\n" for line in lines if line != f"/{old.name}")
    large = draft.stat().st_size > DVC_THRESHOLD_BYTES
    tracked = [file.with_name(f"{file.name}.dvc") for file in (old, path) if RAW_FOLDER in file.parents]
    former = [old] if RAW_FOLDER in old.parents else []
    changed = dict.fromkeys([*texts, path, *tracked, *former, RAW_GITIGNORE, *GENERATED_PATHS])
    with restore_files_on_error(*changed, set_aside=True):
        for file, text in (texts | ({RAW_GITIGNORE: kept} if kept else {})).items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        draft.replace(path)
        if large:
            add_to_dvc(path)
    return large * f"{path} is large and went under DVC: `make remote` gives it a home before the first push"


def render_params(blocks: ParamBlocks) -> str:
    """params.yaml with these values in its blocks; the rest of it, comments included, stays."""
    editor = YamlEditor(PARAMS_YAML.read_text(encoding="utf-8"))
    for name, values in blocks.items():
        short = {key: to_flow_style(value) for key, value in values.items() if key in ("slices", "floors", "sensitive")}
        editor.document.setdefault(name, {}).update(values | short)
    space = blocks["sweep"]["space"]
    editor.document["sweep"]["space"] = {name: to_flow_style(rule) for name, rule in space.items()}
    return re.sub(r"(?m)^( .*\n)(?=\w)", r"\1\n", editor.to_yaml())


def open_table(source: Path, wish: DataParams, options: dict[str, str]) -> tuple[SourceTable, DataParams]:
    """The table, and the wish with its columns as the table spells them."""
    with source.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    table = open_parquet(source, wish.time) if parquet else open_text(source, wish.time, **options)
    target, time, group, *others = (
        match_column(source, list(table.kinds), name) if name else None
        for name in (wish.target, wish.time, wish.group, *wish.sensitive)
    )
    named = replace(wish, target=target, time=time, group=group, sensitive=others)
    return open_table(source, named, options) if time != wish.time else (table, named)


def adopt_table(source: Path, wish: DataParams, options: dict[str, str], drop: bool) -> None:
    """Make a table the project's data and say what was inferred."""
    table, wish = open_table(source, wish, options)
    with tempfile.TemporaryDirectory(prefix=".adopt-", dir=".") as folder:
        draft = Path(folder, "table")
        lacking = convert_to_parquet(table, draft, [name for name in (wish.target, wish.time) if name], drop)
        facts = profile_columns(draft)
        asked = [f"{lacking}; add DROP=1 to leave them out"] if lacking and not drop else []
        if asked := [*asked, *find_ambiguous_values(source, facts)]:
            raise UserError(". ".join(asked))
        blocks, why, notes = infer_params(draft, facts, wish)
        key = find_key(draft, facts, blocks["data"]["left_out"])
        check_split(draft, blocks, key)
        rows = facts[wish.target].rows
        about = f"{rows:,} rows and {len(facts)} columns, adopted from `{source.name}`; `{wish.target}` is the target"
        page = f"# {Path(wish.path).name}\n\n{about}.\n`schema.yaml` says what the columns hold.\n"
        texts = {
            SCHEMA_YAML: amend_schema(EMPTY_SCHEMA, facts, DataParams(**blocks["data"]), set(), key),
            PARAMS_YAML: render_params(blocks),
            RAW_FOLDER / "README.md": page,
        }
        moved = replace_project_data(draft, texts, Path(load_params().data.path), Path(wish.path))
    print_result("adopt", f"{source.name}: {rows:,} rows, {len(facts)} columns → {wish.path}")
    print_rows(summarize_inference(blocks, why, key) + [("read as", name, what) for name, what in table.notes.items()])
    for note in filter(None, [lacking and f"{lacking}: left out", *notes, moved]):
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
    source, others = (
        require_file(Path(csv).expanduser()),
        [name.strip() for name in sensitive.split(",") if name.strip()],
    )
    if target in (time, group, *others):
        raise UserError(f"{target} is the target; it cannot be TIME, GROUP or SENSITIVE as well")
    slug = re.sub(r"[^a-z0-9]+", "-", source.name.partition(".")[0].lower()).strip("-") or "table"
    wish = DataParams(f"{RAW_FOLDER}/{slug}.parquet", target, task, [], time or None, group or None, others)
    adopt_table(source, wish, {"missing": missing, "separator": sep, "encoding": encoding}, drop)
    return 0
