"""Stage: the rows are parted into training and holdout; no group and no moment is on both sides."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from . import validate
from .config import HOLDOUT, TRAIN, Data, Params, UserError, atomic, load_params, stage
from .validate import blocks, size

CLASSES = "classification"


def hashes(table: pd.DataFrame) -> np.ndarray:
    """A uint64 for each row from its contents: the same on every machine, in any row order."""
    return pd.util.hash_pandas_object(table, index=False, hash_key="0" * 16).to_numpy()


def marks(table: pd.DataFrame) -> np.ndarray:
    """What tells rows apart, in their order: the hash of the schema's key where it names one, else of the row."""
    return hashes(table[validate.key() or sorted(table.columns)])


def by_time(moments: pd.Series, share: float) -> np.ndarray:
    """True for the latest `share` of the rows; rows of one moment stay together."""
    border = moments.sort_values(kind="stable").iloc[int(len(moments) * (1 - share))]
    return (moments >= border).to_numpy()


def by_hash(keys: pd.DataFrame, share: float, seed: int) -> np.ndarray:
    """True for about `share` of the distinct keys: a row never changes sides when others come or go."""
    found = hashes(keys)
    if seed:  # pandas' own hash key does nothing to numbers
        found = pd.util.hash_array(found + np.uint64(seed))
    return found < np.uint64(share * 2**64)


def stratified(target: pd.Series, share: float, seed: int) -> np.ndarray:
    """True for `share` of the rows of each class, drawn with the seed."""
    draw = pd.Series(np.random.default_rng(seed).random(len(target)), index=target.index)
    rank = draw.groupby(target.to_numpy()).rank(method="first").to_numpy()
    size = target.groupby(target.to_numpy()).transform("size").to_numpy()
    return np.asarray(rank <= np.maximum(1, np.round(size * share)))


def held_out(table: pd.DataFrame, data: Data, key: list[str], share: float, seed: int) -> np.ndarray:
    """Which rows are held out: by group, else by time, else by key, else stratified or at random."""
    if data.group:
        chosen = by_hash(table[[data.group]], share, seed)
        if data.time:
            first = table.groupby(data.group)[data.time].transform("min")
            chosen = by_time(first, share)
        return chosen
    if data.time:
        return by_time(table[data.time], share)
    if key:
        return by_hash(table[key], share, seed)
    if data.task == CLASSES:
        return stratified(table[data.target], share, seed)
    return stratified(pd.Series(0, index=table.index), share, seed)


def split(
    table: pd.DataFrame, data: Data, key: list[str], share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and holdout rows, each in the table's order; a side without rows is a `UserError`."""
    chosen = sides(table, data, key, share, seed)
    return table[~chosen], table[chosen]


def sides(table: pd.DataFrame, data: Data, key: list[str], share: float, seed: int) -> np.ndarray:
    """Which rows are held out, where both sides have some; else a `UserError`."""
    if not 0 < share < 1:
        raise UserError(f"split.holdout is {share}; give a share between 0 and 1, such as 0.2")
    chosen = held_out(table, data, key, share, seed)
    if chosen.all() or not chosen.any():
        raise UserError(
            f"a holdout of {share:.0%} leaves one side without rows; change split.holdout or bring more rows"
        )
    return chosen


def parted(path: Path, params: Params) -> tuple[int, int]:
    """Write both sides of a table of any size, block by block; only the columns that part it are held in memory."""
    data, key = params.data, validate.key()
    wanted = list(dict.fromkeys(filter(None, [data.group, data.time] if data.group or data.time else key)))
    table = pd.concat(list(blocks(path, wanted or [data.target])))
    chosen, start = sides(table, data, key, params.split.holdout, params.split.seed), 0
    del table
    with ExitStack() as stack:
        writers = dict[bool, pq.ParquetWriter]()
        for part in blocks(path):
            side = chosen[start : (start := start + len(part))]
            for held, to in ((False, TRAIN), (True, HOLDOUT)):
                rows = pa.Table.from_pandas(part[side == held], preserve_index=False)
                if held not in writers:
                    draft = stack.enter_context(atomic(to))
                    writers[held] = stack.enter_context(pq.ParquetWriter(draft, rows.schema))
                writers[held].write_table(rows)
    return int((~chosen).sum()), int(chosen.sum())


def main() -> int:
    """Write data/train.parquet and data/holdout.parquet."""
    params = load_params()
    path = Path(params.data.path)
    with stage("split", size(path)) as notes:
        notes["train"], notes["holdout"] = parted(path, params)
    return 0
