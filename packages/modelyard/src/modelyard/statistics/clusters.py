"""Which rows are not independent of each other: those of one group, of one day, or both.

A group or a block in time is a cluster. Where rows have both, neither contains the other, and errors are computed both
ways (Cameron, Gelbach & Miller 2011).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from modelyard.core.errors import SettingError
from modelyard.core.params import DataParams
from modelyard.statistics.influence import Array

MIN_CLUSTERS = 50  # with fewer, no interval by one kind of cluster can be trusted
MIN_CROSSED_CLUSTERS = 8  # of each of two kinds
MIN_EFFECTIVE_CLUSTERS = 8  # one cluster with 70 % of the rows and 59 others count as two
PERIODS = {"week": "W", "day": "D", "hour": "h"}  # from coarse to fine, with pandas' names
DEFAULT_PERIOD = "day"


@dataclass(frozen=True)
class Clusters:
    """The clusters of n rows, of one kind or of two that cross.

    Parameters
    ----------
    names
        What each kind is: `week`, `day`, `hour`, or the name of a column.
    codes
        For each kind the number of each row's cluster, from 0, shape (n,).
    """

    names: tuple[str, ...]
    codes: tuple[Array, ...]

    @classmethod
    def of(cls, labels: Mapping[str, Array]) -> "Clusters":
        """Return the clusters that labels make, for each kind an array of any type and of shape (n,).

        Rows without a label make one cluster.
        """
        codes = [pd.factorize(np.asarray(values), use_na_sentinel=False)[0] for values in labels.values()]
        return cls(tuple(labels), tuple(codes))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes[0])

    @property
    def is_crossed(self) -> bool:
        """Whether there are two kinds."""
        return len(self.codes) > 1

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of clusters of each kind that have a row."""
        return tuple(int(np.count_nonzero(np.bincount(codes))) for codes in self.codes)

    @property
    def fewest(self) -> int:
        """The number of clusters of the kind that has fewer."""
        return min(self.counts)

    @property
    def most_uneven(self) -> float:
        """The effective number of clusters of the kind whose sizes are most uneven."""
        return min(count_effective(np.bincount(codes)) for codes in self.codes)

    @property
    def min_clusters(self) -> int:
        """The number of clusters with which intervals can be trusted: 50, or 8 of each of two kinds."""
        return MIN_CROSSED_CLUSTERS if self.is_crossed else MIN_CLUSTERS

    @cached_property
    def cells(self) -> Array:
        """The number of each row's combination of both kinds, from 0, shape (n,)."""
        first, second = self.codes
        return pd.factorize(first * (int(second.max()) + 1) + second)[0]

    def select_rows(self, rows: Array) -> "Clusters":
        """Return the clusters of some rows."""
        return replace(self, codes=tuple(codes[rows] for codes in self.codes))


def count_effective(sizes: Array) -> float:
    """Return the effective number of clusters, 1 / Σ h² of their shares h of the rows: a large one counts for few.

    References
    ----------
    Kish (1965), Survey Sampling, for the effective size of a sample with unequal weights.
    """
    shares = sizes / max(sizes.sum(), 1)
    return float(1 / max((shares**2).sum(), np.finfo(float).tiny))


def build_clusters(data: DataParams, rows: pd.DataFrame) -> Clusters | None:
    """Return the clusters of a table's rows: by `data.group`, by a block in time, or by both.

    Parameters
    ----------
    data
        `data.block` names the block; null takes the day, where rows have a time.
    rows
        Raw rows.

    Returns
    -------
    Clusters or None
        None where each row stands for itself.

    Raises
    ------
    SettingError
        `data.block` is neither a period nor a column, or it is a period and the rows have no time.
    """
    labels = {}
    if data.group:
        labels[data.group] = rows[data.group].to_numpy()
    block = choose_block(data, rows)
    if block:
        labels[block] = label_blocks(data, rows, block)
    return Clusters.of(labels) if labels else None


def choose_block(data: DataParams, rows: pd.DataFrame) -> str | None:
    """Return the block in time: the period asked for, or the next finer one that has enough blocks.

    50 blocks are enough, or 8 beside groups. None where no period has so many.
    """
    periods = list_periods(data)
    if periods is None:
        return data.block
    enough = MIN_CROSSED_CLUSTERS if data.group else MIN_CLUSTERS
    for period in periods:
        if len(np.unique(label_blocks(data, rows, period))) >= enough:
            return period
    return None


def list_periods(data: DataParams) -> Sequence[str] | None:
    """Return the periods that may be a block, the coarsest first; None where `data.block` is a column."""
    if data.block and data.block not in PERIODS:
        return None
    if not data.time:
        if data.block:
            raise SettingError("data.block", f"is {data.block}, but data.time is null", "name the column with the time")
        return ()
    names = list(PERIODS)
    return names[names.index(data.block or DEFAULT_PERIOD) :]


def label_blocks(data: DataParams, rows: pd.DataFrame, block: str) -> Array:
    """Return the block of each row, shape (n,): the start of its period, or the value of a column."""
    if block not in PERIODS:
        if block not in rows:
            cure = f"choose one of {', '.join(PERIODS)}, or name a column"
            raise SettingError("data.block", f"is {block}, which the data does not have", cure)
        return rows[block].to_numpy()
    times = rows[data.time]
    if not pd.api.types.is_datetime64_any_dtype(times):
        return times.to_numpy()  # a number that counts periods
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        times = times.dt.tz_localize(None)
    return times.dt.to_period(PERIODS[block]).dt.start_time.to_numpy()
