"""Join labels that came late to the predictions, and add labelled predictions to the data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import InvalidFileError, MissingFileError, OptionError
from modelyard.core.files import atomic_write, sha256
from modelyard.core.params import Params, load_params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.predictions import normalize_class_names
from modelyard.core.project import Project
from modelyard.data.column_kinds import (
    NUMBER,
    TEXT,
    TRUTH_VALUE,
    WHOLE_NUMBER,
    get_parser,
    kind_of_dtype,
    matches_kind,
)
from modelyard.data.dialect import read_dialect
from modelyard.data.hashing import hash_frame
from modelyard.data.parquet import read_table
from modelyard.data.reading import read_rows
from modelyard.data.schema import collect_failures, load_schema, read_key
from modelyard.data.schema_fields import read_column_specs
from modelyard.data.source import open_table
from modelyard.monitoring.log_reader import EmptyLogError, HashSample, LabelSample, ReadStats, hash_ids, read_records
from modelyard.monitoring.windows import cast_columns

LABEL_DTYPES = {"id": "str", "truth": "str", "time": "str"}
ROWS_AT_ONCE = 1 << 16
ALL_ROWS = 2**62  # a sample of this size leaves nothing out


def read_labels(path: Path) -> pd.DataFrame:
    """Return the labels in a file: `id`, `truth` and `time`, which is now where the file has none.

    The file is written as schema.yaml says, the truth as the target is, or it is plain CSV, Parquet or JSON lines.

    Raises
    ------
    MissingFileError, InvalidFileError
        The file is missing, cannot be read, lacks `id` or `truth`, or has another truth than numbers for a number.
    """
    if not path.is_file():
        raise MissingFileError(path, "name the file with the labels in IN")
    parts = [*read_rows(path, LABEL_DTYPES, read_dialect(), ROWS_AT_ONCE, optional=["time"])]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*LABEL_DTYPES])
    table["truth"] = parse_truth(path, table["truth"])
    if "time" not in table:
        table["time"] = pd.Timestamp.now("UTC").isoformat()
    return table[["id", "truth", "time"]]


def parse_truth(path: Path, texts: pd.Series) -> pd.Series:
    """Return the truth of each label as the target has it: as numbers where that holds numbers."""
    target = load_params().data.target
    dtype = read_column_specs()[target]["dtype"] if SCHEMA_YAML.exists() else "str"
    if kind_of_dtype(dtype) == TEXT:
        return texts
    values = pa.array(texts, pa.string())
    for kind in (read_dialect().formats.get(target), WHOLE_NUMBER, NUMBER, TRUTH_VALUE):
        if kind and matches_kind(values.drop_null(), kind):
            return get_parser(kind)(values).to_pandas()
    raise InvalidFileError(path, f"has a truth that is no number, as {target} is", "correct it")


def join_labels(path: Path, folder: Path) -> None:
    """Write a file's labels to a folder of logs, of each id the latest one, and print what was left out.

    Parameters
    ----------
    path
        The file with the labels.
    folder
        The folder of the prediction logs. The same labels twice are written once.
    """
    table = read_labels(path)
    times = pd.to_datetime(table["time"], utc=True, errors="coerce", format="ISO8601")
    complete = table["truth"].notna() & table["id"].notna() & times.notna()
    labels = table[complete].assign(time=times[complete], id=table["id"][complete].astype(str))
    labels = labels.sort_values("time", kind="stable")
    latest = labels.drop_duplicates("id", keep="last")
    write_feedback(latest, folder / f"feedback-labels-{sha256(path)[:12]}.jsonl")
    counts = {
        "empty": int((~complete).sum()),
        "repeated": len(labels) - len(latest),
        "contradicting": int((labels.groupby("id")["truth"].nunique() > 1).sum()),
        "of unknown predictions": count_unknown_ids(latest["id"], folder),
    }
    notes = ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count)
    text = f"{len(latest):,} labels joined"
    print_result("labels", f"{text}; {notes}" if notes else text)


def write_feedback(labels: pd.DataFrame, path: Path) -> None:
    """Write labels (`id`, `truth`, `time`) as JSON lines."""
    rows = zip(labels["id"], labels["truth"].tolist(), labels["time"], strict=True)
    lines = [json.dumps({"id": name, "truth": truth, "time": time.isoformat()}) for name, truth, time in rows]
    with atomic_write(path) as draft:
        draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def count_unknown_ids(ids: pd.Series, folder: Path) -> int:
    """Return how many of the ids no prediction in the folder has."""
    unknown = np.unique(hash_ids(ids))
    for part in read_records(folder, "predictions", ReadStats(), ["id", "time"]):
        unknown = unknown[~np.isin(unknown, part["hash"].to_numpy())]
    return len(unknown)


def load_labelled_rows(folder: Path) -> pd.DataFrame:
    """Return every logged prediction whose truth is known and not contradicted, once, with `truth`.

    Raises
    ------
    EmptyLogError
        There are no labels that nothing contradicts, or none of a logged prediction.
    """
    labels = LabelSample(ALL_ROWS)
    for part in read_records(folder, "feedback", ReadStats()):
        if "truth" in part:
            labels.add(part[part["truth"].notna()])
    truth = labels.shrink()
    if truth.empty:
        raise EmptyLogError(folder, "has no labels", "join them with `make labels IN=…`")
    contradicted = int(truth["is_contradicted"].sum())
    if contradicted:
        print_line(f"{'':<10}{contradicted:,} predictions are left out: their labels contradict each other")
        truth = truth[~truth["is_contradicted"]]
    predictions = HashSample(ALL_ROWS)
    for part in read_records(folder, "predictions", ReadStats()):
        predictions.add(part[np.isin(part["hash"].to_numpy(), truth["hash"].to_numpy())])
    rows = predictions.shrink()
    if rows.empty:
        problem = f"has no prediction with one of its {len(truth):,} labels"
        raise EmptyLogError(folder, problem, "use the logs that the labels belong to")
    return rows.drop(columns="truth", errors="ignore").merge(truth[["hash", "truth"]], on="hash")


def append_labelled_rows(params: Params) -> None:
    """Add the labelled predictions to the data, in its columns and types, except for rows that the data has.

    Raises
    ------
    EmptyLogError
        There are no labelled predictions.
    InvalidFileError
        The logs lack a column that schema.yaml requires, or hold rows that violate it.
    OptionError
        The project reads its rows from a source of its own.
    """
    path = Path(params.data.path)
    if open_table(Project.load()) != path:
        problem = "cannot add rows to a source that load() in data.py reads"
        raise OptionError("GROW_DATA", problem, "add the labelled rows to that source yourself")
    table = read_table(path)
    rows = build_labelled_rows(params, table)
    key = read_key() or [name for name in map(str, table) if name != params.data.target]
    is_new = ~np.isin(hash_frame(rows[key]), hash_frame(table[key]))
    new = rows[is_new].drop_duplicates(key)
    failures = collect_failures(new, load_schema())
    if len(failures):
        problem = f"holds labelled predictions that violate {SCHEMA_YAML}"
        check = f"{failures['column'][0]}: {failures['check'][0]}"
        raise InvalidFileError(params.monitor.logs, f"{problem} ({check})", "correct the labels or the schema")
    if len(new):
        whole = pd.concat([table, new], ignore_index=True)
        if params.data.time:
            whole = whole.sort_values(params.data.time, kind="stable")
        with atomic_write(path) as draft:
            whole.to_parquet(draft, index=False)
    print_result("labels", f"{len(new):,} new rows in {path}, {len(rows) - len(new):,} were there already")


def build_labelled_rows(params: Params, table: pd.DataFrame) -> pd.DataFrame:
    """Return the labelled predictions as rows of the data: its columns, its types, nothing missing that is required."""
    target = params.data.target
    labelled = load_labelled_rows(Path(params.monitor.logs))
    rows, _ = cast_columns(labelled, table.drop(columns=target))
    schema = load_schema()
    required = [str(name) for name, column in schema.columns.items() if name in table and not column.nullable]
    missing = [str(name) for name in rows if name in required and rows[name].isna().all()]
    if missing:
        problem = f"lacks {', '.join(missing)}, which {SCHEMA_YAML} requires"
        raise InvalidFileError(params.monitor.logs, problem, "send it to the service with each row")
    truth = normalize_class_names(labelled["truth"])
    rows[target] = truth if table[target].dtype == "str" else pd.to_numeric(truth)
    return rows[list(table)].dropna(subset=required).astype(table.dtypes.to_dict())


def main(in_: str = "", grow_data: bool = False) -> int:
    """Join the labels in the file IN (id, truth, maybe time) to predictions; GROW_DATA=1 adds them to the data."""
    params = load_params()
    if not in_ and not grow_data:
        cure = "name a file with labels (IN=labels.csv), or add the labelled predictions to the data (GROW_DATA=1)"
        raise OptionError("IN", "is not given", cure)
    if in_:
        join_labels(Path(in_), Path(params.monitor.logs))
    if grow_data:
        append_labelled_rows(params)
    return 0
