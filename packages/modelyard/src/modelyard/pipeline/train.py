"""Stage: fit the model on the training rows, and remember which rows those were."""

import re
import resource
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from modelyard.core.console import print_result, report_stage
from modelyard.core.errors import SettingError, UserError
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


class FittedModel(NamedTuple):
    """A fitted pipeline, the sorted hashes of the rows that it knows, shape (n,), and the rows it was fitted on."""

    pipeline: "Pipeline"
    row_hashes: np.ndarray
    rows: int


def select_window(table: pd.DataFrame, time: str | None, rule: str) -> pd.DataFrame:
    """Return the rows of a training window.

    Parameters
    ----------
    table
        Raw rows.
    time
        The column of their time, if there is one.
    rule
        `all`, the last `90d` (days) or the last `50000` rows by time.
    """
    if rule == "all":
        return table
    match = re.fullmatch(r"(\d+)(d?)", rule)
    if not match or (match[2] and not time):
        cure = "write all, a number of rows, or days such as 90d (which need data.time)"
        raise SettingError("train.window", f"is {rule!r}", cure)
    ordered = table.sort_values(time, kind="stable") if time else table
    if not match[2]:
        return ordered.tail(int(match[1]))
    return ordered[ordered[time] > ordered[time].max() - pd.Timedelta(days=int(match[1]))]


def select_training_rows(params: Params, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `train.window`; a `UserError` where there are none, or all of them have one class."""
    chosen = select_window(table, params.data.time, params.train.window)
    if chosen.empty:
        raise SettingError("train.window", f"is {params.train.window!r} and leaves no rows", "widen it")
    if params.data.task == "classification" and chosen[params.data.target].nunique() < 2:
        raise UserError(
            f"all {len(chosen):,} training rows have one {params.data.target}; widen train.window or split otherwise"
        )
    return chosen


def max_rows_in_memory(params: Params) -> int:
    """Return how many rows may be learned at once by `train.megabytes`, the same number on every machine."""
    values_per_row = len(params.data.features) + 1
    return params.train.megabytes * 2**20 // (BYTES_PER_VALUE * values_per_row)


def read_training_sample(max_rows: int) -> pd.DataFrame:
    """Return all training rows, or about `max_rows` of more, the same ones wherever they are drawn."""
    rows = count_rows(TRAIN_PARQUET)
    if rows <= max_rows:
        return pd.read_parquet(TRAIN_PARQUET)
    parts = [block[select_by_hash(block, max_rows / rows, seed=1)] for block in read_blocks(TRAIN_PARQUET)]
    return pd.concat(parts, ignore_index=True)


def learns_in_parts(params: Params) -> bool:
    """Return whether a table too large for memory is learned as a whole, by `partial_fit`."""
    is_whole = params.train.start is None and params.train.window == "all"
    return is_whole and hasattr(build_estimator(params), "partial_fit")


def fit_model(params: Params) -> FittedModel:
    """Fit the model on data/train.parquet.

    Of a table too large for `train.megabytes` a sample is learned. Where the estimator has `partial_fit`, every other
    row follows, block by block.
    """
    rows = count_rows(TRAIN_PARQUET)
    max_rows = max_rows_in_memory(params)
    in_parts = rows > max_rows and learns_in_parts(params)
    if rows > max_rows:
        how = "the model learns in parts" if in_parts else f"a sample of {max_rows:,} is learned"
        print_result("train", f"{rows:,} rows are more than train.megabytes allows: {how}")
    if in_parts:
        return fit_in_parts(params, read_training_sample(min(max_rows, WHOLE_TABLE_ROWS)))
    chosen = select_training_rows(params, read_training_sample(max_rows))
    if params.train.start:
        from modelyard.pipeline.warm_start import resume_training

        return FittedModel(*resume_training(params, chosen), len(chosen))
    pipeline = fit_pipeline(params, select_features(params, chosen), chosen[params.data.target])
    return FittedModel(pipeline, np.sort(row_hashes(chosen)), len(chosen))


def fit_in_parts(params: Params, sample: pd.DataFrame) -> FittedModel:
    """Fit the model on a sample as usual, and then on every other training row, block by block."""
    from modelyard.pipeline.warm_start import update_pipeline

    target = params.data.target
    pipeline = fit_pipeline(params, select_features(params, sample), sample[target])
    sample_hashes = row_hashes(sample)
    learned = [sample_hashes]
    for block in read_blocks(TRAIN_PARQUET):
        new = block[~np.isin(row_hashes(block), sample_hashes)]
        if len(new):
            pipeline = update_pipeline(pipeline, select_features(params, new), new[target], 0)
            learned.append(row_hashes(new))
    hashes = np.sort(np.concatenate(learned))
    return FittedModel(pipeline, hashes, len(hashes))


def measure_training() -> dict[str, float]:
    """Return the CPU seconds and the peak of memory, in megabytes, of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    bytes_per_unit = 1 if sys.platform == "darwin" else 1000
    return {
        "seconds": round(used.ru_utime + used.ru_stime, 1),
        "megabytes": round(used.ru_maxrss * bytes_per_unit / 1e6),
    }


def main() -> int:
    """Write models/model.skops and models/rows.npy, and what training took to reports/training.json."""
    params = load_params()
    with report_stage("train", count_rows(TRAIN_PARQUET)) as notes:
        model = fit_model(params)
        notes["learned from"] = model.rows
        with atomic_write(ROW_HASHES_FILE) as draft, draft.open("wb") as file:
            np.save(file, model.row_hashes)
        notes["model"] = save_model(model.pipeline, MODEL_FILE)[:12]
        write_json(TRAINING_JSON, {"model": sha256(MODEL_FILE), **measure_training()})
    return 0
