"""Stage: the model learns from the training rows and remembers which rows those were."""

import re
import resource
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from modelyard.core.console import print_result, report_stage
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write, sha256, write_json
from modelyard.core.params import Params, load_params
from modelyard.core.paths import MODEL_FILE, ROW_HASHES_FILE, TRAIN_PARQUET, TRAINING_JSON
from modelyard.data.hashing import row_hashes, select_by_hash
from modelyard.data.parquet import WHOLE_TABLE_ROWS, count_rows, read_blocks
from modelyard.pipeline.estimator import build_estimator, fit_pipeline
from modelyard.pipeline.model_file import save_model
from modelyard.pipeline.preprocessing import select_features

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

BYTES_PER_VALUE = 64  # that a value costs while a model learns, about


def select_window(table: pd.DataFrame, time: str | None, rule: str) -> pd.DataFrame:
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


def select_training_rows(params: Params, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the window, when they hold something to learn; else a `UserError`."""
    chosen = select_window(table, params.data.time, params.train.window)
    if params.data.task == "classification" and chosen[params.data.target].nunique() < 2:
        raise UserError(
            f"all {len(chosen):,} training rows have one {params.data.target}; widen train.window or split otherwise"
        )
    return chosen


def max_rows_in_memory(params: Params) -> int:
    """How many rows may be learned at once, by the memory that params.yaml allows: no machine changes the model."""
    return params.train.megabytes * 2**20 // (BYTES_PER_VALUE * (len(params.data.features) + 1))


def read_training_sample(most: int) -> pd.DataFrame:
    """All training rows where they fit; else about so many of them, the same ones wherever they are drawn."""
    rows = count_rows(TRAIN_PARQUET)
    if rows <= most:
        return pd.read_parquet(TRAIN_PARQUET)
    return pd.concat(
        [part[select_by_hash(part, most / rows, seed=1)] for part in read_blocks(TRAIN_PARQUET)], ignore_index=True
    )


def fit_model(params: Params) -> "tuple[Pipeline, np.ndarray, int]":
    """The model, what tells its rows apart, and how many they are; what is done with too large a table is said.

    In parts: a sample is learned as usual, and then by `partial_fit` every other row, block by block.
    """
    rows, most, recipe = count_rows(TRAIN_PARQUET), max_rows_in_memory(params), params.train
    parts = rows > most and not recipe.start and recipe.window == "all"
    parts = parts and hasattr(build_estimator(params), "partial_fit")
    if rows > most:
        how = "the model learns in parts" if parts else f"a sample of {most:,} is learned"
        print_result("train", f"{rows:,} rows are more than train.megabytes allows: {how}")
    chosen = (
        read_training_sample(min(most, WHOLE_TABLE_ROWS))
        if parts
        else select_training_rows(params, read_training_sample(most))
    )
    if recipe.start:
        from modelyard.pipeline.warm_start import resume_training

        return *resume_training(params, chosen), len(chosen)
    pipeline, seen = (
        fit_pipeline(params, select_features(params, chosen), chosen[params.data.target]),
        [row_hashes(chosen)],
    )
    if parts:
        from modelyard.pipeline.warm_start import update_pipeline

        for part in read_blocks(TRAIN_PARQUET):
            new = part[~np.isin(row_hashes(part), seen[0])]
            if len(new):
                pipeline = update_pipeline(pipeline, select_features(params, new), new[params.data.target], 0)
                seen.append(row_hashes(new))
    learned_from = np.sort(np.concatenate(seen))
    return pipeline, learned_from, len(learned_from)


def main() -> int:
    """Write models/model.skops and models/rows.npy, and what that took to reports/training.json."""
    params = load_params()
    with report_stage("train", count_rows(TRAIN_PARQUET)) as notes:
        pipeline, rows, notes["learned from"] = fit_model(params)
        with atomic_write(ROW_HASHES_FILE) as draft, draft.open("wb") as file:
            np.save(file, rows)
        notes["model"] = save_model(pipeline, MODEL_FILE)[:12]
        used = resource.getrusage(resource.RUSAGE_SELF)
        peak = round(used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))
        seconds = round(used.ru_utime + used.ru_stime, 1)
        write_json(TRAINING_JSON, {"model": sha256(MODEL_FILE), "seconds": seconds, "megabytes": peak})
    return 0
