"""Stage: the model learns from the training rows and remembers which rows those were."""

import re

import numpy as np
import pandas as pd

from .config import MODEL, ROWS, TRAIN, Params, UserError, atomic, load_params, stage
from .model import build, inputs, save
from .split import marks


def window(table: pd.DataFrame, time: str | None, rule: str) -> pd.DataFrame:
    """The rows to learn from: `all`, the last `90d` (days) or the last `50000` rows by time."""
    if rule == "all":
        return table
    match = re.fullmatch(r"(\d+)(d?)", rule)
    if not match or (match[2] and not time):
        raise UserError(f"train.window is {rule!r}; write all, a number of rows, or days such as 90d (needs data.time)")
    ordered = table.sort_values(time, kind="stable") if time else table
    if not match[2]:
        return ordered.tail(int(match[1]))
    return ordered[ordered[time] > ordered[time].max() - pd.Timedelta(days=int(match[1]))]


def learnable(params: Params, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the window, when they hold something to learn; else a `UserError`."""
    chosen = window(table, params.data.time, params.train.window)
    if params.data.task == "classification" and chosen[params.data.target].nunique() < 2:
        raise UserError(
            f"all {len(chosen):,} training rows have one {params.data.target}; widen train.window or split otherwise"
        )
    return chosen


def main() -> int:
    """Write models/model.skops and models/rows.npy."""
    params = load_params()
    table = pd.read_parquet(TRAIN)
    with stage("train", len(table)) as notes:
        chosen = learnable(params, table)
        if params.train.start:
            from .stateful import resume

            pipeline, rows = resume(params, chosen)
        else:
            pipeline = build(params, inputs(params, chosen), chosen[params.data.target])
            rows = np.sort(marks(chosen))
        with atomic(ROWS) as draft, draft.open("wb") as file:
            np.save(file, rows)
        notes["learned from"] = len(chosen)
        notes["model"] = save(pipeline, MODEL)[:12]
    return 0
