"""Verb: truth that came late is joined to predictions by their id."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from . import logs
from .config import SCHEMA, Params, UserError, atomic, load_params, sha256
from .monitor import names
from .split import hashes
from .validate import failures, key, load_schema, read_table
from .windows import conform

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, dtype={"id": str}),
    ".parquet": pd.read_parquet,
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
}


def read_labels(path: Path) -> pd.DataFrame:
    """A table with id, truth and time (now where it has none); anything else is a `UserError`."""
    if path.suffix not in READERS:
        raise UserError(f"{path} is no .csv, .parquet or .jsonl file; write the labels as one of them")
    if not path.is_file():
        raise UserError(f"there is no file {path}; IN names the file with the labels")
    try:
        table = READERS[path.suffix](path)
    except (ValueError, OSError) as problem:
        raise UserError(f"{path} cannot be read ({' '.join(str(problem).split())[:120]}); write it again") from None
    missing = [name for name in ("id", "truth") if name not in table]
    if missing:
        raise UserError(f"{path} lacks {' and '.join(missing)}; it needs id and truth, and may have time")
    if "time" not in table:
        table["time"] = pd.Timestamp.now("UTC").isoformat()
    return table[["id", "truth", "time"]].astype({"id": str})


def settle(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """One label for each id, the latest one; how many were empty, repeated, and contradicted by a later one."""
    times = pd.to_datetime(table["time"], utc=True, errors="coerce", format="ISO8601")
    good = table["truth"].notna() & table["id"].notna() & times.notna()
    whole = table[good].assign(time=times[good]).sort_values("time", kind="stable")
    last = whole.drop_duplicates("id", keep="last")
    differing = whole.groupby("id")["truth"].nunique()
    return last, {
        "empty": int((~good).sum()),
        "repeated": len(whole) - len(last),
        "contradicting": int((differing > 1).sum()),
    }


def unknown(ids: pd.Series, folder: Path) -> int:
    """How many ids no logged prediction has."""
    wanted = np.unique(logs.identity(ids))
    seen = np.zeros(len(wanted), bool)
    for part in logs.read(folder, "predictions", logs.Tally(), ["id"]):
        if "id" in part:
            place = np.searchsorted(wanted, found := logs.identity(part["id"]))
            place[place == len(wanted)] = 0
            seen[place[wanted[place] == found]] = True
    return int((~seen).sum())


def join(path: Path, folder: Path) -> None:
    """Keep a file's labels beside the predictions; the same file twice is kept once."""
    last, counts = settle(read_labels(path))
    lines = "".join(
        json.dumps({"id": i, "truth": t, "time": when.isoformat()}, default=lambda v: v.item()) + "\n"
        for i, t, when in last.itertuples(index=False)
    )
    with atomic(folder / f"feedback-labels-{sha256(path)[:12]}.jsonl") as draft:
        draft.write_text(lines, encoding="utf-8")
    counts["of unknown predictions"] = unknown(last["id"], folder) if len(last) else 0
    notes = ", ".join(f"{value:,} {word}" for word, value in counts.items() if value)
    print(f"{'labels':<10}{len(last):,} labels joined" + (f"; {notes}" if notes else ""))


def labelled(folder: Path) -> pd.DataFrame:
    """Every logged row whose truth is known, once, with `truth`."""
    told = logs.Sample(2**62)
    for part in logs.read(folder, "feedback", logs.Tally()):
        frame = logs.known(part, logs.Tally())
        told.add(frame[frame["truth"].notna()] if "truth" in frame else frame.head(0))
    truth, found = told.settle(), logs.Sample(2**62)
    if truth.empty:
        raise UserError(f"{folder}/ has no labels; `make labels IN=…` joins them")
    for part in logs.read(folder, "predictions", logs.Tally()):
        frame = logs.known(part, logs.Tally())
        found.add(frame[np.isin(frame["hash"].to_numpy(), truth["hash"].to_numpy())])
    rows = found.settle()
    if rows.empty:
        raise UserError(f"no prediction in {folder}/ has one of the {len(truth):,} labels; are they of other logs?")
    return rows.merge(truth[["hash", "truth"]], on="hash")


def as_rows(frame: pd.DataFrame, table: pd.DataFrame, target: str) -> pd.DataFrame:
    """Labelled predictions as rows of the data: its columns and types; one that the log lacks must allow gaps."""
    rows, _ = conform(frame, table.drop(columns=target))
    schema = load_schema()
    lacking = [n for n in rows if rows[n].isna().all() and n in schema.columns and not schema.columns[n].nullable]
    if lacking:
        raise UserError(
            f"the log lacks {', '.join(map(str, lacking))}, which {SCHEMA} requires; send it along with each row"
        )
    rows[target] = names(frame["truth"]) if table[target].dtype == "str" else pd.to_numeric(names(frame["truth"]))
    needed = [n for n in map(str, table) if n in schema.columns and not schema.columns[n].nullable]
    return rows[list(table)].dropna(subset=needed).astype(table.dtypes.to_dict())


def grow(params: Params) -> None:
    """Append what the logs have learned since to the data; rows that are there already are left alone."""
    path = Path(params.data.path)
    table = read_table(path)
    rows = as_rows(labelled(Path(params.monitor.logs)), table, params.data.target)
    marks = key() or [name for name in map(str, table) if name != params.data.target]
    new = rows[~np.isin(hashes(rows[marks]), hashes(table[marks]))].drop_duplicates(marks)
    broken = failures(new, load_schema())
    if len(broken):
        raise UserError(f"the labelled predictions break {SCHEMA}: {broken['column'][0]} {broken['check'][0]}")
    if len(new):
        whole = pd.concat([table, new], ignore_index=True)
        whole = whole.sort_values(params.data.time, kind="stable") if params.data.time else whole
        with atomic(path) as draft:
            whole.to_parquet(draft, index=False)
    print(f"{'labels':<10}{len(new):,} new rows in {path}, {len(rows) - len(new):,} were there already")


def main(in_: str = "", grow_data: bool = False) -> int:
    """Join the truth in the file IN (id, truth, maybe time) to predictions; GROW_DATA=1 adds them to the data."""
    params = load_params()
    if not in_ and not grow_data:
        raise UserError("name a file with labels (IN=labels.csv), or GROW_DATA=1 to add those there are to the data")
    if in_:
        join(Path(in_), Path(params.monitor.logs))
    if grow_data:
        grow(params)
    return 0
