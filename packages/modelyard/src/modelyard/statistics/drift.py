"""The drift of a column: how far its values are from a reference, and how far is too far.

Drift is measured by effect sizes, not by p-values, because an effect size does not grow with the number of rows. The
limit of a column is the largest of a floor, what random splits of the reference reach, and what the reference's own
periods reach. docs/monitoring.md shows what the limits were measured to do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import comb
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]
N_BINS = 10  # of a number: its deciles
MAX_CATEGORIES = 20  # values of a category that have a bin of their own
N_DRAWS = 400  # random splits of the reference
MIN_PERIODS = 8  # with fewer periods the natural changes of a column are unknown
N_YEARS = 4000  # simulated for the limit of a loss
MAX_ERROR_RATIO = 20.0
SPREAD_CONFIDENCE = 0.85  # that a metric's spread between periods is not larger than it is taken to be
MAX_REWEIGHTED_ROWS = 20_000
WASSERSTEIN = "wasserstein"  # for numbers only: categories have no distances
MISSING_LABEL = "missing"
OTHER_LABEL = "other known values"
NEW_LABEL = "values never seen"


def convert_to_floats(column: pd.Series) -> Array:
    """Return a column as floats, shape (n,), with NaN for missing values."""
    return column.to_numpy(dtype=float, na_value=np.nan)


def compute_bin_edges(values: Array) -> Array:
    """Return the edges between the bins of numbers: the deciles, or the values themselves where they are few."""
    finite = values[np.isfinite(values)]
    distinct = np.unique(finite)
    if len(distinct) <= 1:
        only = distinct[0] if len(distinct) else 0.0
        return np.array([np.nextafter(only, -np.inf), only])
    if len(distinct) <= N_BINS:
        return distinct[:-1]
    return np.unique(np.quantile(finite, np.arange(1, N_BINS) / N_BINS))


def smooth_shares(counts: Array) -> Array:
    """Return counts (…, bins) as shares, with half a row added to each bin, so that no share is 0."""
    counts = counts + 0.5
    return counts / counts.sum(axis=-1, keepdims=True)


def compute_psi(reference: Array, current: Array) -> Array:
    """Return the population stability index of counts (…, bins), shape (…).

    By convention 0.1 is a moderate drift and 0.25 a large one.
    """
    reference_shares = smooth_shares(reference)
    current_shares = smooth_shares(current)
    return ((current_shares - reference_shares) * np.log(current_shares / reference_shares)).sum(axis=-1)


def compute_jensen_shannon(reference: Array, current: Array) -> Array:
    """Return the Jensen-Shannon distance (base 2) of counts (…, bins), shape (…): 0 if equal, 1 if disjoint."""
    reference_shares = smooth_shares(reference)
    current_shares = smooth_shares(current)
    middle = (reference_shares + current_shares) / 2
    from_reference = reference_shares * np.log2(reference_shares / middle)
    from_current = current_shares * np.log2(current_shares / middle)
    return np.sqrt(((from_reference + from_current) / 2).sum(axis=-1).clip(0))


def compute_wasserstein(reference: Array, current: Array) -> float:
    """Return the mean distance that values (n,) and (m,) moved, in standard deviations of the reference.

    Missing and infinite values are left out; the distance is NaN where a side has no other values.
    """
    reference = np.sort(reference[np.isfinite(reference)])
    current = np.sort(current[np.isfinite(current)])
    if not reference.size or not current.size:
        return float("nan")
    both = np.sort(np.concatenate([reference, current]))
    reference_cdf = np.searchsorted(reference, both[:-1], "right") / len(reference)
    current_cdf = np.searchsorted(current, both[:-1], "right") / len(current)
    distance = float((np.abs(reference_cdf - current_cdf) * np.diff(both)).sum())
    deviation = float(reference.std())
    if deviation:
        return distance / deviation
    return 0.0 if distance == 0 else float("inf")


BINNED_MEASURES: dict[str, Callable[[Array, Array], Array]] = {
    "psi": compute_psi,
    "jensen_shannon": compute_jensen_shannon,
}


def estimate_upper_quantile(values: Array, chance: float) -> float:
    """Return what such values, shape (n,), exceed with a probability.

    Their cube roots are taken as normal (Wilson & Hilferty 1931).
    """
    roots = np.cbrt(values)
    quantile = roots.mean() + NormalDist().inv_cdf(1 - chance) * roots.std(ddof=1)
    return float(max(quantile, 0.0) ** 3)


def group_rows_by_period(times: Array, width: int, minimum: int, day: int) -> list[Array]:
    """Return the row numbers of each whole period that has enough rows; nothing where such periods are too few.

    Parameters
    ----------
    times
        The time of each row, as integers of any unit, shape (n,).
    width
        The length of a period, in the same unit. Where eight such periods do not fit, they are shorter, but whole days:
        a part of a day is no example of a longer window.
    minimum
        The fewest rows that a period needs.
    day
        The length of a day, in the same unit.
    """
    unit = min(width, day)
    start = times.min() // unit * unit
    length = (times.max() // unit + 1) * unit - start
    width = min(width, max(length // MIN_PERIODS // unit, 1) * unit)
    period = (times - start) // width
    rows_by_period = [np.flatnonzero(period == number) for number in np.unique(period[period < length // width])]
    large = [rows for rows in rows_by_period if len(rows) >= minimum]
    return large if len(large) >= MIN_PERIODS else []


@dataclass(frozen=True)
class Periods:
    """Periods of the reference, which show how its columns change by themselves.

    Parameters
    ----------
    rows
        For each period, the row numbers of a random sample in a table of rows of the periods.
    reference_rows
        For each period, the row numbers of the reference that lie in it, with which its sample is not compared.
    """

    rows: Sequence[Array] = ()
    reference_rows: Sequence[Array] = ()


NO_PERIODS = Periods()


class ReferenceDistribution:
    """A column of the reference, which measures the drift of other values of that column.

    Values are counted in bins: ranges of a number, or frequent values of a category; the last bin holds missing
    values.

    Parameters
    ----------
    reference
        The column, shape (n,).
    measure
        `psi`, `jensen_shannon` or `wasserstein`; a category is measured by `psi` instead of the last.
    periods
        The periods of the reference.
    period_values
        The column in the table to which `periods.rows` belongs; the reference itself if None.
    """

    def __init__(
        self,
        reference: pd.Series,
        measure: str,
        periods: Periods = NO_PERIODS,
        period_values: pd.Series | None = None,
    ) -> None:
        self.values: Array | None = None
        self.edges = np.array([])
        self.bin_by_value: dict[str, int] = {}
        if pd.api.types.is_numeric_dtype(reference) and not pd.api.types.is_bool_dtype(reference):
            self.values = convert_to_floats(reference)
            self.edges = compute_bin_edges(self.values)
            self.bin_names = [*_name_ranges(self.edges), MISSING_LABEL]
        else:
            known = reference.astype(str)[reference.notna()].value_counts().index
            self.bin_by_value = {value: min(place, MAX_CATEGORIES) for place, value in enumerate(known)}
            self.bin_names = [*known[:MAX_CATEGORIES], OTHER_LABEL, NEW_LABEL, MISSING_LABEL]
        self.bin_codes = self.assign_bins(reference)
        self.bin_counts = self.count_bins(self.bin_codes)
        self.measure = "psi" if measure == WASSERSTEIN and self.values is None else measure
        self.periods = periods
        self.period_values = reference if period_values is None else period_values
        self.period_codes = self.bin_codes if period_values is None else self.assign_bins(period_values)

    def assign_bins(self, column: pd.Series) -> Array:
        """Return the number of each value's bin, shape (n,)."""
        missing = len(self.bin_names) - 1
        if self.values is not None:
            values = convert_to_floats(column)
            return np.where(np.isnan(values), missing, np.searchsorted(self.edges, values))
        codes, distinct = pd.factorize(column)
        new = missing - 1
        bins = [self.bin_by_value.get(str(value), new) for value in distinct]
        return np.asarray([*bins, missing])[codes]  # a missing value has the code -1

    def count_bins(self, codes: Array) -> Array:
        """Return the number of values in each bin, shape (bins,)."""
        return np.bincount(codes, minlength=len(self.bin_names))

    def compute_distance(self, current: pd.Series, measure: str = "") -> float:
        """Return how far other values of the column are from the reference, by the column's or another measure."""
        measure = measure or self.measure
        if measure == WASSERSTEIN:
            return compute_wasserstein(np.asarray(self.values), convert_to_floats(current))
        current_counts = self.count_bins(self.assign_bins(current))
        return float(BINNED_MEASURES[measure](self.bin_counts, current_counts))

    def compute_distances(self, current: pd.Series) -> dict[str, float]:
        """Return how far other values are from the reference, by every measure that the column has."""
        measures = [*BINNED_MEASURES] if self.values is None else [*BINNED_MEASURES, WASSERSTEIN]
        return {measure: self.compute_distance(current, measure) for measure in measures}

    def compare_periods_to_rest(self, rows: int) -> Array:
        """Return how far so many rows of each period are from the reference outside of it; shape (periods,)."""
        pairs = zip(self.periods.rows, self.periods.reference_rows, strict=True)
        if self.measure == WASSERSTEIN:
            whole = np.asarray(self.values)
            values = convert_to_floats(self.period_values)
            return np.array([compute_wasserstein(np.delete(whole, own), values[part[:rows]]) for part, own in pairs])
        counts = np.array([self.count_bins(self.period_codes[part[:rows]]) for part in self.periods.rows])
        own_counts = np.array([self.count_bins(self.bin_codes[own]) for own in self.periods.reference_rows])
        return BINNED_MEASURES[self.measure](self.bin_counts - own_counts, counts)

    def sample_distances(self, rows: int) -> Array:
        """Return how far so many random rows of the reference are from the rest, in many draws; shape (draws,)."""
        random = np.random.default_rng(0)
        if self.measure == WASSERSTEIN:
            whole = np.asarray(self.values)
            draws = [random.permutation(whole) for _ in range(N_DRAWS // 4)]
            return np.array([compute_wasserstein(drawn[rows:], drawn[:rows]) for drawn in draws])
        counts = random.multivariate_hypergeometric(self.bin_counts, rows, size=N_DRAWS, method="marginals")
        return BINNED_MEASURES[self.measure](self.bin_counts - counts, counts)

    def compute_limit(self, rows: int, chance: float, floor: float) -> float:
        """Return the distance that a sample exceeds with a probability although nothing has changed.

        Parameters
        ----------
        rows
            The size of the sample.
        chance
            The probability of a false alarm.
        floor
            The smallest limit.
        """
        distances = [self.sample_distances(rows)]
        if self.periods.rows:
            distances.append(self.compare_periods_to_rest(rows))
        finite = [values for values in distances if np.isfinite(values).all()]
        return max([floor, *(estimate_upper_quantile(values, chance) for values in finite)])

    def rank_moved_bins(self, current: pd.Series) -> list[dict[str, Any]]:
        """Return the three bins that carry most of the drift: `value`, and its share in `reference` and `current`."""
        current_counts = self.count_bins(self.assign_bins(current))
        reference_shares = smooth_shares(self.bin_counts)
        current_shares = smooth_shares(current_counts)
        drift = (current_shares - reference_shares) * np.log(current_shares / reference_shares)
        before = self.bin_counts / max(self.bin_counts.sum(), 1)
        now = current_counts / max(current_counts.sum(), 1)
        return [
            {"value": self.bin_names[place], "reference": float(before[place]), "current": float(now[place])}
            for place in np.argsort(-drift)[:3]
        ]


def _name_ranges(edges: Array) -> list[str]:
    """Return the names of the ranges between edges."""
    ends = [f"{edge:.4g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(ends)]
    return [f"up to {ends[0]}", *between, f"above {ends[-1]}"]


def compute_alarm_chance(rate: float, columns: int, windows: float, k: int, of: int) -> float:
    """Return the probability of a false flag of one column in one window that keeps the false alarms of a year.

    Parameters
    ----------
    rate
        The probability of a false alarm of any column in a year.
    columns
        The number of columns.
    windows
        The number of windows in a year.
    k, of
        An alarm needs k flags in the latest `of` windows.
    """
    ways = max(windows, 1.0) * comb(of - 1, k - 1)
    return float(min((rate / (max(columns, 1) * ways)) ** (1 / k), 0.5))


def k_of_n(flags: Sequence[bool | None], k: int, of: int) -> bool:
    """Whether the latest judged window was flagged, and at least k of the latest `of`; None is not judged."""
    judged = [flag for flag in flags if flag is not None]
    recent = judged[-of:]
    return sum(recent) >= k and recent[-1]


def compute_loss_limit(
    reference_error: float, window_error: float, windows: float, k: int, of: int, rate: float
) -> float:
    """Return the loss of a metric that k of `of` windows exceed in a share of the years although nothing was lost.

    Parameters
    ----------
    reference_error
        The metric's standard error on the holdout, which all windows share.
    window_error
        Its standard error in a window.
    windows
        The number of windows in a year.
    k, of
        An alarm needs k flags in the latest `of` windows.
    rate
        The share of years with a false alarm.
    """
    if not window_error > 0:
        return float("inf")
    ratio = round(min(reference_error / window_error, MAX_ERROR_RATIO), 1)
    return window_error * simulate_loss_limit(ratio, max(round(windows), of), k, of, rate)


@cache
def simulate_loss_limit(ratio: float, windows: int, k: int, of: int, rate: float) -> float:
    """Return the limit of `compute_loss_limit` in standard errors of a window, by simulation of 4,000 years.

    `ratio` is the standard error of the holdout divided by that of a window.
    """
    random = np.random.default_rng(0)
    of_windows = random.normal(0, 1, (N_YEARS, windows))
    of_holdout = random.normal(0, ratio, (N_YEARS, 1))
    recent = np.lib.stride_tricks.sliding_window_view(of_windows + of_holdout, of, axis=1)
    kth_largest = np.partition(recent, of - k, axis=2)[:, :, of - k]
    return float(np.quantile(kth_largest.max(axis=1), 1 - rate))


def estimate_spread(values: Array, errors: Array, whole: float) -> float:
    """Return how much a metric varies between periods beyond its sampling error, as a standard deviation.

    Parameters
    ----------
    values, errors
        The metric in each period, and its standard error there; shape (periods,).
    whole
        The metric on all periods together.

    Returns
    -------
    float
        The square root of an upper limit of the variance around `whole`, less the mean squared error. The limit of a
        variance follows from the chi-squared distribution; with few periods the variance itself is often too small.
    """
    freedom = len(values) - 1
    part = 2 / (9 * freedom)
    quantile = (1 - part + NormalDist().inv_cdf(1 - SPREAD_CONFIDENCE) * part**0.5) ** 3  # Wilson & Hilferty (1931)
    variance = ((values - whole) ** 2).sum() / freedom / quantile
    return float(np.sqrt(max(variance - (errors**2).mean(), 0.0)))


def reweight_to_scores(reference: Array, current: Array) -> Array:
    """Draw rows of the reference so that their scores are distributed as the current ones.

    Parameters
    ----------
    reference, current
        One score per row, shapes (n,) and (m,).

    Returns
    -------
    numpy.ndarray
        At most 20,000 row numbers of the reference; none where no reference score lies near a current one.
    """
    edges = np.unique(np.quantile(reference, np.arange(1, MAX_CATEGORIES) / MAX_CATEGORIES))
    reference_bin = np.searchsorted(edges, reference)
    current_bin = np.searchsorted(edges, current)
    bin_sizes = np.bincount(reference_bin, minlength=len(edges) + 1)
    weight_by_bin = np.bincount(current_bin, minlength=len(bin_sizes)) / np.maximum(bin_sizes, 1)
    weights = weight_by_bin[reference_bin]
    if not weights.any():
        return np.array([], dtype=np.intp)
    rows = min(len(reference), MAX_REWEIGHTED_ROWS)
    return np.random.default_rng(0).choice(len(reference), rows, p=weights / weights.sum())
