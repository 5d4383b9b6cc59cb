"""Stage: split the rows into training rows and holdout; no group and no moment is on both sides."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.console import report_stage
from modelyard.core.errors import SettingError, UserError
from modelyard.core.params import DataParams, Params, SplitParams, parse_duration
from modelyard.core.paths import HOLDOUT_PARQUET, TRAIN_PARQUET
from modelyard.core.project import Project
from modelyard.data import schema
from modelyard.data.hashing import select_by_hash
from modelyard.data.parquet import count_rows, open_writer, read_blocks
from modelyard.data.source import open_table

RANK_SAMPLE_ROWS = 1 << 16  # of a column, by which the neighbourhood of a rank is guessed
RANK_WINDOW_ROWS = 512  # of that sample, on either side of the rank
ColumnReader = Callable[[list[str]], Iterable[pd.DataFrame]]  # some columns of a table, block by block
HoldoutRule = Callable[[pd.DataFrame], np.ndarray]  # True for each row of the next block that is held out


def build_random_rule(data: DataParams, share: float, seed: int) -> HoldoutRule:
    """Return a rule that holds out `share` of the rows of each class, drawn with the seed."""
    random = np.random.default_rng(seed)
    seen = Counter[Any]()
    taken = Counter[Any]()

    def choose(block: pd.DataFrame) -> np.ndarray:
        classes = block[data.target].to_numpy() if data.task == "classification" else np.zeros(len(block))
        rank = pd.Series(random.random(len(block))).groupby(classes).rank(method="first").to_numpy()
        seen.update(pd.Series(classes).value_counts().to_dict())
        due = {name: max(1, round(count * share)) - taken[name] for name, count in seen.items()}
        taken.update(due)
        return np.asarray(rank <= pd.Series(classes).map(due).to_numpy())

    return choose


def pick_by_rank(counts: "pd.Series[int]", rank: int) -> Any:
    """Return the value at a rank, given how often each value occurs, in order.

    Raises
    ------
    UserError
        Where there are fewer values than the rank, since rows without a value count, too.
    """
    place = int(np.searchsorted(counts.cumsum(), rank, side="right"))
    if place == len(counts):
        raise UserError("too many rows have no time or group to be split by; leave them out, or split otherwise")
    return counts.index[place]


def value_at_rank(read: ColumnReader, name: str, rows: int, rank: int) -> Any:
    """Return the value at a rank of a column in order.

    Parameters
    ----------
    read
        Reads columns of the table, block by block.
    name
        The column.
    rows
        The number of rows of the table.
    rank
        The rank, from 0.

    Notes
    -----
    A sample shows between which values the rank lies; only the values between them are held in memory and counted.
    Where the sample misled, all values are.
    """
    step = -(-rows // RANK_SAMPLE_ROWS)
    parts = [block[name].iloc[::step].copy() for block in read([name])]  # a view would hold its whole block
    sample = pd.concat(parts).sort_values(ignore_index=True)
    middle = rank * len(sample) // rows
    for width in (RANK_WINDOW_ROWS, rows):
        low = sample[middle - width] if middle > width else None
        high = sample[middle + width] if middle + width < len(sample) else None
        below, counts = count_between(read, name, low, high)
        if below <= rank < below + counts.sum():
            break
    return pick_by_rank(counts, rank - below)


def count_between(read: ColumnReader, name: str, low: Any, high: Any) -> "tuple[int, pd.Series[int]]":
    """Return how many values of a column are below `low`, and how often each from `low` to `high` occurs."""
    below = 0
    parts = []
    for block in read([name]):
        values = block[name]
        if low is not None:
            below += int((values < low).sum())
            values = values[values >= low]
        if high is not None:
            values = values[values <= high]
        parts.append(values.value_counts())
    return below, pd.concat(parts).groupby(level=0).sum()


def find_group_starts(read: ColumnReader, group: str, time: str) -> pd.DataFrame:
    """Return the first moment (`min`) and the number of rows (`size`) of each group."""
    groups = pd.DataFrame()
    for block in read([group, time]):
        both = pd.concat([groups, block.groupby(group)[time].agg(["min", "size"])])
        groups = both.groupby(level=0).agg({"min": "min", "size": "sum"})
    return groups


def find_window_start(read: ColumnReader, time: str, window: str) -> pd.Timestamp:
    """Return the first moment of the holdout that `split.window` names.

    Parameters
    ----------
    read
        Reads columns of the table, block by block.
    time
        The column of the rows' time.
    window
        A period such as `90d` that ends with the newest row, or a time that the holdout begins with.

    Raises
    ------
    SettingError
        The window is neither, or the column holds no times.
    """
    newest = pd.Series([block[time].max() for block in read([time])]).max()
    if not isinstance(newest, pd.Timestamp):
        raise SettingError("split.window", f"is {window!r}, but {time} holds no times", "set it to null")
    if re.fullmatch(r"\d+[dh]", window):
        return newest - parse_duration(window)
    try:
        start = pd.Timestamp(window)
    except ValueError:
        raise SettingError("split.window", f"is {window!r}", 'write 90d, 12h or a time such as "2026-03-01"') from None
    return start if bool(start.tz) == bool(newest.tz) else start.tz_localize(newest.tz)


def build_holdout_rule(
    read: ColumnReader, rows: int, data: DataParams, key: list[str], split: SplitParams
) -> HoldoutRule:
    """Return the rule that says which rows are held out.

    Parameters
    ----------
    read
        Reads columns of the table, block by block.
    rows
        The number of rows of the table.
    data
        With a group and a time, groups are held out by their first moment; with a time alone the latest rows; with a
        group alone, or a key, a share of the hashes; else a share of each class at random.
    key
        The columns that name a row.
    split
        The share of rows to hold out, the seed of the draw, and the window of a split by time.

    Raises
    ------
    SettingError
        The share is not between 0 and 1, or the window does not fit the rows.
    """
    share = split.holdout
    if not 0 < share < 1:
        raise SettingError("split.holdout", f"is {share}", "give a share between 0 and 1, such as 0.2")
    if data.time:
        return build_time_rule(read, rows, data, split)
    if split.window:
        raise SettingError("split.window", f"is {split.window!r}, but data.time is null", "set it to null")
    names = [data.group] if data.group else key
    if names:
        return lambda block: select_by_hash(block[names], share, split.seed)
    return build_random_rule(data, share, split.seed)


def build_time_rule(read: ColumnReader, rows: int, data: DataParams, split: SplitParams) -> HoldoutRule:
    """Return the rule that holds out the latest rows, or the groups that began last; see `build_holdout_rule`."""
    rank = int(rows * (1 - split.holdout))
    group, time = data.group, str(data.time)
    start = find_window_start(read, time, split.window) if split.window else None
    if group:
        groups = find_group_starts(read, group, time)
        border = start or pick_by_rank(groups.groupby("min")["size"].sum(), rank)
        return lambda block: (block[group].map(groups["min"]) >= border).to_numpy()
    border = start or value_at_rank(read, time, rows, rank)
    return lambda block: (block[time] >= border).to_numpy()


def reject_empty_split(*sides: int, split: SplitParams) -> None:
    """Raise a `SettingError` where a side has no rows."""
    if all(sides):
        return
    name = "split.window" if split.window else "split.holdout"
    extent = split.window or f"{split.holdout:.0%}"
    raise SettingError(name, f"of {extent} leaves one side without rows", "change it, or bring more rows")


def split_table(
    table: pd.DataFrame, data: DataParams, key: list[str], split: SplitParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training rows and the holdout of a table in memory, each in the table's order.

    Parameters
    ----------
    table
        Raw rows.
    data, key, split
        As in `build_holdout_rule`.

    Raises
    ------
    SettingError
        Where a side has no rows.
    """
    rule = build_holdout_rule(lambda _: [table], len(table), data, key, split)
    is_held_out = rule(table)
    reject_empty_split(is_held_out.sum(), (~is_held_out).sum(), split=split)
    return table[~is_held_out], table[is_held_out]


def count_held_out(read: ColumnReader, rows: int, data: DataParams, rule: HoldoutRule, split: SplitParams) -> float:
    """Return how many of a table's rows are held out: the share of `split.holdout`, or a window's rows, counted."""
    if not split.window:
        return split.holdout * rows
    names = [name for name in (data.time, data.group) if name]
    return float(sum(rule(block).sum() for block in read(names)))


def split_blocks(path: Path, params: Params, key: list[str]) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield the training rows and the held-out rows of each block of a table, in the table's order.

    Parameters
    ----------
    path
        The Parquet table.
    params
        The project's parameters. Of a holdout larger than `split.rows` a sample stays; the rest is on neither side.
    key
        The columns that name a row; empty where none do.
    """
    rows = count_rows(path)
    recipe = params.split

    def read_columns(names: list[str]) -> Iterable[pd.DataFrame]:
        return read_blocks(path, names)

    rule = build_holdout_rule(read_columns, rows, params.data, key, recipe)
    kept_share = recipe.rows / max(count_held_out(read_columns, rows, params.data, rule, recipe), 1)
    for block in read_blocks(path):
        is_held_out = rule(block)
        holdout = block[is_held_out]
        if kept_share < 1:
            holdout = holdout[select_by_hash(holdout[key or sorted(holdout.columns)], kept_share, seed=2)]
        yield block[~is_held_out], holdout


def split_file(path: Path, params: Params, key: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what `write_split` writes, training rows and holdout; for the parameters see `split_blocks`.

    Raises
    ------
    SettingError
        Where a side has no rows.
    """
    blocks = list(split_blocks(path, params, key))
    train = pd.concat([block for block, _ in blocks])
    holdout = pd.concat([block for _, block in blocks])
    reject_empty_split(len(train), len(holdout), split=params.split)
    return train, holdout


def write_split(path: Path, params: Params) -> tuple[int, int, int]:
    """Write both sides of a table of any size, block by block; for the parameters see `split_blocks`.

    Returns
    -------
    tuple of int
        The rows for training, those held out, and those on neither side.
    """
    train_rows = 0
    holdout_rows = 0
    with open_writer(TRAIN_PARQUET) as write_train, open_writer(HOLDOUT_PARQUET) as write_holdout:
        for train, holdout in split_blocks(path, params, schema.read_key()):
            write_train(train)
            write_holdout(holdout)
            train_rows += len(train)
            holdout_rows += len(holdout)
        reject_empty_split(train_rows, holdout_rows, split=params.split)
    return train_rows, holdout_rows, count_rows(path) - train_rows - holdout_rows


def main() -> int:
    """Write data/train.parquet and data/holdout.parquet."""
    project = Project.load()
    table = open_table(project)
    with report_stage("split", count_rows(table)) as notes:
        notes["train"], notes["holdout"], on_neither_side = write_split(table, project.params)
        if on_neither_side:
            notes["held out beyond split.rows"] = on_neither_side
    return 0
