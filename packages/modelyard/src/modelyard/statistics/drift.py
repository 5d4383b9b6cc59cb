"""How far rows have moved from a reference, and how far they move when nothing happened: pure statistics.

Effect sizes, not p-values: their size does not grow with the number of rows. A limit is the largest of
a floor, what random splits of the reference reach, and what its own stretches of time reach.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from math import comb
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]
N_BINS, MAX_CATEGORIES = 10, 20  # deciles of a number; values of a category that stand alone
N_DRAWS = 400  # splits of the reference
MIN_PERIODS = 8  # fewer of them say nothing about the natural changes of a column
WASSERSTEIN = "wasserstein"  # of numbers; categories have no distances
MISSING_LABEL, OTHER_LABEL, NEW_LABEL = "missing", "other known values", "values never seen"


def to_floats(column: pd.Series) -> Array:
    """A column as floats, with NaN for what is missing."""
    return column.to_numpy(dtype=float, na_value=np.nan)


def compute_bin_edges(values: Array) -> Array:
    """What parts numbers into cells: their deciles, or the values themselves where they are few."""
    found = values[np.isfinite(values)]
    distinct = np.unique(found)
    if len(distinct) <= 1:
        only = distinct[0] if len(distinct) else 0.0
        return np.array([np.nextafter(only, -np.inf), only])
    return distinct[:-1] if len(distinct) <= N_BINS else np.unique(np.quantile(found, np.arange(1, N_BINS) / N_BINS))


def smooth_shares(counts: Array) -> Array:
    """Counts as shares; half a row in each cell, so that an empty one is rare and not impossible."""
    counts = counts + 0.5
    return counts / counts.sum(axis=-1, keepdims=True)


def psi(reference: Array, current: Array) -> Array:
    """The population stability index of counts: 0.1 is commonly called moderate, 0.25 large."""
    p, q = smooth_shares(reference), smooth_shares(current)
    return ((q - p) * np.log(q / p)).sum(axis=-1)


def jensen_shannon(reference: Array, current: Array) -> Array:
    """The Jensen-Shannon distance of counts (base 2): 0 is equal, 1 has nothing in common."""
    p, q = smooth_shares(reference), smooth_shares(current)
    m = (p + q) / 2
    return np.sqrt(((p * np.log2(p / m) + q * np.log2(q / m)) / 2).sum(axis=-1).clip(0))


def wasserstein(reference: Array, current: Array) -> float:
    """The mean way that values moved, in standard deviations of the reference; gaps are left out."""
    a, b = (np.sort(x[np.isfinite(x)]) for x in (reference, current))
    if not a.size or not b.size:
        return float("nan")
    both = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(x, both[:-1], "right") / len(x) for x in (a, b)]
    way = float((np.abs(below[0] - below[1]) * np.diff(both)).sum())
    spread = float(a.std())
    return way / spread if spread else (0.0 if way == 0 else float("inf"))


BINNED_MEASURES: dict[str, Callable[[Array, Array], Array]] = {"psi": psi, "jensen_shannon": jensen_shannon}


def estimate_upper_quantile(values: Array, chance: float) -> float:
    """What such values exceed with that chance; their cube root is taken for normal (Wilson-Hilferty)."""
    roots = np.cbrt(values)
    return float(max(roots.mean() + NormalDist().inv_cdf(1 - chance) * roots.std(ddof=1), 0.0) ** 3)


def group_rows_by_period(times: Array, width: int, least: int) -> list[Array]:
    """Which rows lie in each stretch of time that has enough of them; nothing where the stretches are too few."""
    place = (times - times.min()) // width
    found = [rows for i in np.unique(place) if len(rows := np.flatnonzero(place == i)) >= least]
    return found if len(found) >= MIN_PERIODS else []


class ReferenceDistribution:
    """A column of the reference: how far other values are from it, and how far is too far.

    They are counted in cells, parts of a number's range or frequent values of a category, the last one for gaps.
    """

    def __init__(self, reference: pd.Series, measure: str) -> None:
        self.values: Array | None = None
        if pd.api.types.is_numeric_dtype(reference) and not pd.api.types.is_bool_dtype(reference):
            self.values = to_floats(reference)
            self.edges = compute_bin_edges(self.values)
            ends = [f"{edge:.4g}" for edge in self.edges]
            between = [f"{low} to {high}" for low, high in pairwise(ends)]
            self.names = [f"up to {ends[0]}", *between, f"above {ends[-1]}", MISSING_LABEL]
        else:  # truth values, too
            known = reference.astype(str)[reference.notna()].value_counts().index
            self.bin_by_value = {value: min(i, MAX_CATEGORIES) for i, value in enumerate(known)}
            self.names = [*known[:MAX_CATEGORIES], OTHER_LABEL, NEW_LABEL, MISSING_LABEL]
        self.codes = self.assign_bins(reference)
        self.counts = self.count(self.codes)
        self.measure = "psi" if measure == WASSERSTEIN and self.values is None else measure

    def assign_bins(self, column: pd.Series) -> Array:
        """The cell of each value."""
        missing = len(self.names) - 1
        if self.values is not None:
            values = to_floats(column)
            return np.where(np.isnan(values), missing, np.searchsorted(self.edges, values))
        found, distinct = pd.factorize(column)
        return np.asarray([*(self.bin_by_value.get(str(value), missing - 1) for value in distinct), missing])[found]

    def count(self, codes: Array) -> Array:
        """How many values lie in each cell."""
        return np.bincount(codes, minlength=len(self.names))

    def value(self, current: pd.Series, measure: str = "") -> float:
        """How far other values are from the reference."""
        if (measure or self.measure) == WASSERSTEIN:
            return wasserstein(np.asarray(self.values), to_floats(current))
        return float(BINNED_MEASURES[measure or self.measure](self.counts, self.count(self.assign_bins(current))))

    def sizes(self, current: pd.Series) -> dict[str, float]:
        """The change in every measure that the column has."""
        some = [*BINNED_MEASURES] if self.values is None else [*BINNED_MEASURES, WASSERSTEIN]
        return {measure: self.value(current, measure) for measure in some}

    def parts(self, rows: Sequence[Array]) -> Array:
        """How far each of these parts of the reference is from the rest of it."""
        if self.measure == WASSERSTEIN:
            whole = np.asarray(self.values)
            return np.array([wasserstein(np.delete(whole, part), whole[part]) for part in rows])
        counts = np.array([self.count(self.codes[part]) for part in rows])
        return BINNED_MEASURES[self.measure](self.counts - counts, counts)

    def sample_distances(self, rows: int) -> Array:
        """How far so many rows of the reference, drawn at random, are from the rest of it; many times."""
        rng = np.random.default_rng(0)
        if self.measure == WASSERSTEIN:
            return self.parts([rng.permutation(len(self.codes))[:rows] for _ in range(N_DRAWS // 4)])
        part = rng.multivariate_hypergeometric(self.counts, rows, size=N_DRAWS, method="marginals")
        return BINNED_MEASURES[self.measure](self.counts - part, part)

    def compute_limit(self, rows: int, chance: float, floor: float, stretches: Sequence[Array] = ()) -> float:
        """What is exceeded with that chance when nothing happened, and never less than the floor."""
        found = [self.sample_distances(rows), *([self.parts(stretches)] if stretches else [])]
        return max([floor, *(estimate_upper_quantile(values, chance) for values in found if np.isfinite(values).all())])

    def moved(self, current: pd.Series) -> list[dict[str, Any]]:
        """The cells that carry most of the change, with their shares before and now."""
        counts = [self.counts, self.count(self.assign_bins(current))]
        p, q = map(smooth_shares, counts)
        before, now = (found / max(found.sum(), 1) for found in counts)
        order = np.argsort(-(q - p) * np.log(q / p))[:3]
        return [{"value": self.names[i], "reference": float(before[i]), "current": float(now[i])} for i in order]


def compute_alarm_chance(rate: float, columns: int, windows: float, k: int, of: int) -> float:
    """The chance a column and window that leaves a rate for all columns and a year, k of n windows being needed."""
    ways = max(windows, 1.0) * comb(of - 1, k - 1)
    return float(min((rate / (max(columns, 1) * ways)) ** (1 / k), 0.5))


def k_of_n(flags: Sequence[bool | None], k: int, of: int) -> bool:
    """Whether the latest judged window was flagged, and at least k of the last n."""
    recent = [flag for flag in flags if flag is not None][-of:]
    return sum(recent) >= k and recent[-1]


def compute_loss_limit(reference: float, window: float, windows: float, k: int, of: int, rate: float) -> float:
    """The loss that k of n windows exceed in a share of years in which nothing was lost.

    From the standard errors of the reference, whose error all windows share, and of a window.
    """
    if not window > 0:
        return float("inf")
    return window * simulate_loss_limit(round(min(reference / window, 20.0), 1), max(round(windows), of), k, of, rate)


@cache
def simulate_loss_limit(ratio: float, windows: int, k: int, of: int, rate: float) -> float:
    """The same in errors of a window, by simulation of 4,000 years."""
    rng = np.random.default_rng(0)
    years = rng.normal(0, 1, (4000, windows)) + rng.normal(0, ratio, (4000, 1))
    recent = np.lib.stride_tricks.sliding_window_view(years, of, axis=1)
    kth = np.partition(recent, of - k, axis=2)[:, :, of - k]
    return float(np.quantile(kth.max(axis=1), 1 - rate))


def reweight_to_scores(reference: Array, current: Array) -> Array:
    """Row numbers of the reference, drawn so that its scores are distributed as the current ones; none if none are."""
    edges = np.unique(np.quantile(reference, np.arange(1, MAX_CATEGORIES) / MAX_CATEGORIES))
    had, now = np.searchsorted(edges, reference), np.searchsorted(edges, current)
    size = np.bincount(had, minlength=len(edges) + 1)
    weight = np.bincount(now, minlength=len(size)) / np.maximum(size, 1)
    most = min(len(reference), 20_000) if weight[had].any() else 0
    return np.random.default_rng(0).choice(len(reference), most, p=weight[had] / weight[had].sum() if most else None)
