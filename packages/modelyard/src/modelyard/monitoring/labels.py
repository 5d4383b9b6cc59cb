"""Verb: truth that came late is joined to predictions by their id."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write, sha256
from modelyard.core.params import Params, load_params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.predictions import normalize_class_names
from modelyard.data.hashing import hash_frame
from modelyard.data.parquet import read_table
from modelyard.data.schema import collect_failures, load_schema, read_key
from modelyard.monitoring import log_reader
from modelyard.monitoring.windows import cast_columns

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, dtype={"id": str}),
    ".parquet": pd.read_parquet,
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
}


def read_labels(path: Path) -> pd.DataFrame:
    """A table with id, truth and time (now where it has none); anything else is a `UserError`."""
    if path.suffix not in READERS or not path.is_file():
        raise UserError(f"{path} is no .csv, .parquet or .jsonl file; IN names the file with the labels")
    try:
        table = READERS[path.suffix](path)
    except (ValueError, OSError) as problem:
        raise UserError(f"{path} cannot be read ({' '.join(str(problem).split())[:120]}); write it again") from None
    if missing := [name for name in ("id", "truth") if name not in table]:
        raise UserError(f"{path} lacks {' and '.join(missing)}; it needs id and truth, and may have time")
    if "time" not in table:
        table["time"] = pd.Timestamp.now("UTC").isoformat()
    return table[["id", "truth", "time"]]


def join_labels(path: Path, folder: Path) -> None:
    """Keep a file's labels beside the predictions, of each id the latest; the same file twice is kept once."""
    table = read_labels(path)
    times = pd.to_datetime(table["time"], utc=True, errors="coerce", format="ISO8601")
    good = table["truth"].notna() & table["id"].notna() & times.notna()
    whole = table[good].assign(time=times[good], id=table["id"][good].astype(str)).sort_values("time", kind="stable")
    last, differing = whole.drop_duplicates("id", keep="last"), whole.groupby("id")["truth"].nunique() > 1
    rows = zip(last["id"], last["truth"].tolist(), last["time"], strict=True)
    lines = [json.dumps({"id": name, "truth": truth, "time": when.isoformat()}) for name, truth, when in rows]
    with atomic_write(folder / f"feedback-labels-{sha256(path)[:12]}.jsonl") as draft:
        draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    unknown = np.unique(log_reader.hash_ids(last["id"]))
    for part in log_reader.read_records(folder, "predictions", log_reader.ReadStats(), ["id", "time"]):
        unknown = unknown[~np.isin(unknown, part["hash"].to_numpy())]
    counts = {"empty": (~good).sum(), "repeated": len(whole) - len(last), "contradicting": differing.sum()}
    counts["of unknown predictions"] = len(unknown)
    notes = ", ".join(f"{value:,} {word}" for word, value in counts.items() if value)
    print_result("labels", f"{len(last):,} labels joined" + (f"; {notes}" if notes else ""))


def load_labelled_rows(folder: Path) -> pd.DataFrame:
    """Every logged row whose truth is known, once, with `truth`."""
    told, found = log_reader.HashSample(2**62), log_reader.HashSample(2**62)
    for part in log_reader.read_records(folder, "feedback", log_reader.ReadStats()):
        told.add(part[part["truth"].notna()] if "truth" in part else part.head(0))
    if (truth := told.settle()).empty:
        raise UserError(f"{folder}/ has no labels; `make labels IN=…` joins them")
    for part in log_reader.read_records(folder, "predictions", log_reader.ReadStats()):
        found.add(part[np.isin(part["hash"].to_numpy(), truth["hash"].to_numpy())])
    if (rows := found.settle()).empty:
        raise UserError(f"no prediction in {folder}/ has one of the {len(truth):,} labels; are they of other logs?")
    return rows.drop(columns="truth", errors="ignore").merge(truth[["hash", "truth"]], on="hash")


def append_labelled_rows(params: Params) -> None:
    """Append what the logs have learned since to the data, in its columns and types; rows that it has stay alone."""
    path, target, schema = Path(params.data.path), params.data.target, load_schema()
    table, frame = read_table(path), load_labelled_rows(Path(params.monitor.logs))
    rows, _ = cast_columns(frame, table.drop(columns=target))
    needed = [str(n) for n, column in schema.columns.items() if n in table and not column.nullable]
    if lacking := [str(n) for n in rows if n in needed and rows[n].isna().all()]:
        raise UserError(
            f"the log lacks {', '.join(lacking)}, which {SCHEMA_YAML} requires; send it along with each row"
        )
    rows[target] = (
        normalize_class_names(frame["truth"])
        if table[target].dtype == "str"
        else pd.to_numeric(normalize_class_names(frame["truth"]))
    )
    rows = rows[list(table)].dropna(subset=needed).astype(table.dtypes.to_dict())
    marks = read_key() or [name for name in map(str, table) if name != target]
    new = rows[~np.isin(hash_frame(rows[marks]), hash_frame(table[marks]))].drop_duplicates(marks)
    if len(broken := collect_failures(new, schema)):
        raise UserError(f"the labelled predictions break {SCHEMA_YAML}: {broken['column'][0]} {broken['check'][0]}")
    if len(new):
        whole = pd.concat([table, new], ignore_index=True)
        whole = whole.sort_values(params.data.time, kind="stable") if params.data.time else whole
        with atomic_write(path) as draft:
            whole.to_parquet(draft, index=False)
    print_result("labels", f"{len(new):,} new rows in {path}, {len(rows) - len(new):,} were there already")


def main(in_: str = "", grow_data: bool = False) -> int:
    """Join the truth in the file IN (id, truth, maybe time) to predictions; GROW_DATA=1 adds them to the data."""
    params = load_params()
    if not in_ and not grow_data:
        raise UserError("name a file with labels (IN=labels.csv), or GROW_DATA=1 to add those there are to the data")
    if in_:
        join_labels(Path(in_), Path(params.monitor.logs))
    if grow_data:
        append_labelled_rows(params)
    return 0
