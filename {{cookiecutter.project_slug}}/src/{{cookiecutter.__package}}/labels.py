"""Verb: truth that came late is joined to predictions by their id."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from . import logs
from .config import UserError, atomic, load_params, sha256

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, dtype={"id": str}),
    ".parquet": pd.read_parquet,
    ".jsonl": lambda path: pd.read_json(path, lines=True, convert_dates=False, dtype={"id": str}),
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


def main(in_: str) -> int:
    """Join the truth in the file IN (id, truth and maybe time) to the predictions by id."""
    path, folder = Path(in_), Path(load_params().monitor.logs)
    table = read_labels(path)
    last, counts = settle(table)
    lines = "".join(
        json.dumps({"id": i, "truth": t, "time": when.isoformat()}, default=lambda v: v.item()) + "\n"
        for i, t, when in last.itertuples(index=False)
    )
    with atomic(folder / f"feedback-labels-{sha256(path)[:12]}.jsonl") as draft:
        draft.write_text(lines, encoding="utf-8")
    counts["of unknown predictions"] = unknown(last["id"], folder) if len(last) else 0
    notes = ", ".join(f"{value:,} {key}" for key, value in counts.items() if value)
    print(f"{'labels':<10}{len(last):,} labels joined" + (f"; {notes}" if notes else ""))
    return 0
