"""Stage: the rows are parted into training and holdout; no group and no moment is on both sides."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.console import report_stage
from modelyard.core.errors import UserError
from modelyard.core.params import DataParams, Params, load_params
from modelyard.core.paths import HOLDOUT_PARQUET, TRAIN_PARQUET
from modelyard.data import schema
from modelyard.data.hashing import row_key, select_by_hash
from modelyard.data.parquet import count_rows, open_writer, read_blocks

RANK_SAMPLE_ROWS, RANK_WINDOW_ROWS = (
    1 << 16,
    512,
)  # of a column's values, and of its places around the one that is looked for
ColumnReader = Callable[[list[str]], Iterable[pd.DataFrame]]  # some columns of a table, block by block
HoldoutRule = Callable[[pd.DataFrame], np.ndarray]  # which rows of the next block are held out


def build_random_rule(data: DataParams, share: float, seed: int) -> HoldoutRule:
    """True for `share` of the rows of each class so far, drawn with the seed."""
    draw, seen, taken = np.random.default_rng(seed), Counter[Any](), Counter[Any]()

    def side(part: pd.DataFrame) -> np.ndarray:
        classes = part[data.target].to_numpy() if data.task == "classification" else np.zeros(len(part))
        rank = pd.Series(draw.random(len(part))).groupby(classes).rank(method="first").to_numpy()
        seen.update(pd.Series(classes).value_counts().to_dict())
        due = {name: max(1, round(count * share)) - taken[name] for name, count in seen.items()}
        taken.update(due)
        return np.asarray(rank <= pd.Series(classes).map(due).to_numpy())

    return side


def pick_by_rank(counts: "pd.Series[int]", rank: int) -> Any:
    """The value at a rank among values that come so often, or a `UserError` where the column has gaps there."""
    place = int(np.searchsorted(counts.cumsum(), rank, side="right"))
    if place == len(counts):
        raise UserError("too many rows have no time or group to be split by; leave them out, or split otherwise")
    return counts.index[place]


def value_at_rank(read: ColumnReader, name: str, rows: int, rank: int) -> Any:
    """The value at a rank of a column in order; only those near it, by a sample, are held."""
    step = -(-rows // RANK_SAMPLE_ROWS)  # a slice that is not copied keeps its whole block
    some = pd.concat([part[name].iloc[::step].copy() for part in read([name])]).sort_values(ignore_index=True)
    for wide in (RANK_WINDOW_ROWS, rows):  # all of them where the sample misled
        low, high = rank * len(some) // rows - wide, rank * len(some) // rows + wide
        under, near = 0, []
        for part in read([name]):
            values = part[name]
            if low > 0:
                under += int((values < some[low]).sum())
                values = values[values >= some[low]]
            near.append((values[values <= some[high]] if high < len(some) else values).value_counts())
        counts = pd.concat(near).groupby(level=0).sum()
        if under <= rank < under + counts.sum():
            break
    return pick_by_rank(counts, rank - under)


def build_holdout_rule(
    read: ColumnReader, rows: int, data: DataParams, key: list[str], share: float, seed: int
) -> HoldoutRule:
    """Which rows are held out: by group, else by time, else by key, else stratified or at random."""
    if not 0 < share < 1:
        raise UserError(f"split.holdout is {share}; give a share between 0 and 1, such as 0.2")
    rank, (group, time) = int(rows * (1 - share)), (data.group, data.time)
    if group and time:
        groups = pd.DataFrame()  # each group's first moment, and how many rows it has
        for part in read([group, time]):
            both = pd.concat([groups, part.groupby(group)[time].agg(["min", "size"])])
            groups = both.groupby(level=0).agg({"min": "min", "size": "sum"})
        border = pick_by_rank(groups.groupby("min")["size"].sum(), rank)
        return lambda part: (part[group].map(groups["min"]) >= border).to_numpy()
    if time:
        border = value_at_rank(read, time, rows, rank)
        return lambda part: (part[time] >= border).to_numpy()
    if group or key:
        return lambda part: select_by_hash(part[[group] if group else key], share, seed)
    return build_random_rule(data, share, seed)


def reject_empty_split(*sides: int, share: float) -> None:
    """Raise a `UserError` where a side has no rows."""
    if not all(sides):
        raise UserError(
            f"a holdout of {share:.0%} leaves one side without rows; change split.holdout or bring more rows"
        )


def split_table(
    table: pd.DataFrame, data: DataParams, key: list[str], share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and holdout rows, each in the table's order; a side without rows is a `UserError`."""
    chosen = build_holdout_rule(lambda _: [table], len(table), data, key, share, seed)(table)
    reject_empty_split(chosen.sum(), (~chosen).sum(), share=share)
    return table[~chosen], table[chosen]


def write_split(path: Path, params: Params) -> tuple[int, int, int]:
    """Write both sides of a table of any size, block by block; how many rows each has, and how many are in none."""
    rows, share, recipe = count_rows(path), params.split.holdout, params.split
    side = build_holdout_rule(
        lambda names: read_blocks(path, names), rows, params.data, schema.read_key(), share, recipe.seed
    )
    few, learned, late = recipe.rows / (share * rows), 0, 0
    with open_writer(TRAIN_PARQUET) as train, open_writer(HOLDOUT_PARQUET) as holdout:
        for part in read_blocks(path):
            held = side(part)
            kept = part[held]
            kept = kept[select_by_hash(row_key(kept), few, seed=2)] if few < 1 else kept
            train(part[~held])
            holdout(kept)
            learned, late = learned + int((~held).sum()), late + len(kept)
        reject_empty_split(learned, late, share=share)
    return learned, late, rows - learned - late


def main() -> int:
    """Write data/train.parquet and data/holdout.parquet."""
    params = load_params()
    path = Path(params.data.path)
    with report_stage("split", count_rows(path)) as notes:
        notes["train"], notes["holdout"], left = write_split(path, params)
        if left:
            notes["held out beyond split.rows"] = left
    return 0
