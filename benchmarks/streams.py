"""Streams that change with time although nothing is wrong, and labels that come late: what monitoring makes of them.

The tables are printed by `python -m benchmarks.monitoring season short spread labels clock`. The streams are drawn from
normal distributions; what judges them is the library's own. "Before" is the library at commit 57d943e.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec.structs import replace

from modelyard.automation.retrain import RetrainInputs, decide_retrain
from modelyard.core.params import MonitorParams, Params, RetrainParams, load_params
from modelyard.monitoring.label_selection import label_selection
from modelyard.monitoring.performance import HoldoutMetric, measure_holdout, measure_metric, performance_drop
from modelyard.monitoring.windows import ReferenceData, Window, sample_periods, sample_reference_rows
from modelyard.statistics import drift
from modelyard.statistics.comparison import ConfidenceInterval
from modelyard.statistics.drift import NO_PERIODS, Periods

from .support import ROOT, settle

Array = npt.NDArray[Any]
RULES = MonitorParams()
WINDOWS = 52
COLUMNS = 17  # as many as the sample project has, with score and class
CHANCE = drift.compute_alarm_chance(RULES.false_alarms / 2, COLUMNS, WINDOWS, *RULES.persist)
WEEK_ROWS = 2000
LATE_SHARE = 0.16
POWER = 0.78  # by how many deviations late rows score higher: AUC 0.71
AUC = 0.71
WEEK_ERROR = 0.011  # of this AUC on 5,000 rows, 16 % of them late
MONDAY = pd.Timestamp("2024-01-01")
RUNS = int(os.environ.get("RUNS", "400"))


def count_alarms(flags: Sequence[bool | None]) -> int:
    """Return after how many windows an alarm stands."""
    return sum(drift.k_of_n(flags[:end], *RULES.persist) for end in range(1, len(flags) + 1))


def compute_flags(distribution: drift.ReferenceDistribution, windows: Iterable[Array]) -> list[bool]:
    """Return for each window whether its drift exceeds the limit."""
    parts = [pd.Series(values) for values in windows]
    limit = distribution.compute_limit(len(parts[0]), CHANCE, RULES.floor)
    return [distribution.compute_distance(part) > limit for part in parts]


def make_times(rows_of_weeks: int, rows: int = WEEK_ROWS) -> pd.Series:
    """Return the times of the rows of so many weeks."""
    return pd.Series(MONDAY + pd.to_timedelta(np.arange(rows_of_weeks * rows) * 7 / rows, unit="D"))


# (a) A season that the history shows


def draw_season(random: np.random.Generator, weeks: range, rows: int) -> Array:
    """Return rows of a number whose mean follows the year, with noise of half its height, shape (weeks * rows,)."""
    day = 7 * weeks.start + np.arange(len(weeks) * rows) * 7 / rows
    return np.sin(2 * np.pi * day / 365.25) + random.normal(0, 0.5, len(day))


def watch_season(seed: int, weeks: int) -> list[int]:
    """Return the weeks with an alarm in a year like the history: before, now, and now where 4 is added."""
    random = np.random.default_rng([seed, weeks])
    times = make_times(weeks)
    history = pd.Series(draw_season(random, range(weeks), WEEK_ROWS))
    rows = sample_reference_rows(len(history))
    reference = history.iloc[rows].reset_index(drop=True)
    sampled = [own for own in find_sampled_weeks(rows) if len(own) >= RULES.minimum]
    before = Periods(sampled, sampled) if len(sampled) >= drift.MIN_PERIODS else NO_PERIODS
    year = [draw_season(random, range(weeks + week, weeks + week + 1), RULES.sample) for week in range(WINDOWS)]
    old = drift.ReferenceDistribution(reference, RULES.measure, before)
    new = drift.ReferenceDistribution(reference, RULES.measure, sample_periods(times, rows, RULES), history)
    moved = [values + 4 for values in year]
    return [count_alarms(compute_flags(*pair)) for pair in ((old, year), (new, year), (new, moved))]


def find_sampled_weeks(rows: Array) -> list[Array]:
    """Return the positions of a sample's rows in each week."""
    week = rows // WEEK_ROWS
    return [np.flatnonzero(week == number) for number in np.unique(week)]


# (b) A holdout of less than eight weeks


def draw_restless(random: np.random.Generator, weeks: int, rows: int) -> Array:
    """Return scores whose mean moves by 0.3 deviations from week to week, and as much from day to day."""
    week = np.repeat(random.normal(0, 0.3, weeks), rows)
    day = np.repeat(random.normal(0, 0.3, weeks * 7), -(-rows // 7))[: weeks * rows]
    return week + day + random.normal(0, 1, weeks * rows)


def watch_short_holdout(seed: int, weeks: int) -> list[bool]:
    """Return whether a year like the holdout has an alarm, before and now, and whether 1 deviation is found in two."""
    random = np.random.default_rng([seed, weeks])
    holdout = pd.Series(draw_restless(random, weeks, WEEK_ROWS))
    periods = sample_periods(make_times(weeks), np.arange(len(holdout)), RULES)
    before = periods if weeks >= drift.MIN_PERIODS else NO_PERIODS
    year = np.split(draw_restless(random, WINDOWS, WEEK_ROWS), WINDOWS)
    distributions = [drift.ReferenceDistribution(holdout, RULES.measure, found) for found in (before, periods)]
    quiet = [count_alarms(compute_flags(one, year)) > 0 for one in distributions]
    moved = [values + 1 for values in year[:2]]
    return [*quiet, *(count_alarms(compute_flags(one, moved)) > 0 for one in distributions)]


# (c) A metric that varies from week to week, and (d) labels that come class by class


@cache
def get_params(metric: str) -> Params:
    """Return the template's parameters with another primary metric."""
    params = load_params(settle(ROOT / "build/streams") / "params.yaml")
    return replace(params, evaluate=replace(params.evaluate, metric=metric))


def draw_predictions(random: np.random.Generator, rows: int, power: float) -> pd.DataFrame:
    """Return predictions with their truth; scores are calibrated where the power is the usual one."""
    truth = (random.random(rows) < LATE_SHARE).astype(int)
    evidence = random.normal(power * truth, 1)
    odds = LATE_SHARE / (1 - LATE_SHARE) * np.exp(POWER * evidence - POWER**2 / 2)
    late = odds / (1 + odds)
    return pd.DataFrame({"prediction": (late > 0.5).astype(int), "p_0": 1 - late, "p_1": late, "truth": truth})


def make_reference(weeks: Sequence[pd.DataFrame]) -> ReferenceData:
    """Return a reference whose holdout has these weeks."""
    predictions = pd.concat(weeks, ignore_index=True)
    own = np.split(np.arange(len(predictions)), np.cumsum([len(week) for week in weeks])[:-1])
    empty = pd.DataFrame()
    return ReferenceData("", empty, empty, predictions, holdout_periods=Periods(own, own))


def draw_metrics(
    random: np.random.Generator, number: int, spread: float, lost: float = 0.0
) -> list[ConfidenceInterval]:
    """Return the AUC of so many weeks of 5,000 rows, whose true value varies."""
    values = AUC - lost + random.normal(0, spread, number) + random.normal(0, WEEK_ERROR, number)
    return [ConfidenceInterval("roc_auc", value, value, value, WEEK_ERROR, "normal") for value in values.tolist()]


def watch_spread(seed: int, weeks: int, spread: float) -> list[bool]:
    """Return whether a quiet year has an alarm, before and now, and whether a loss of 0.05 is found in two and four."""
    random = np.random.default_rng([seed, weeks, round(1000 * spread)])
    params = get_params("roc_auc")
    values = np.array([week.value for week in draw_metrics(random, weeks, spread)])
    whole = ConfidenceInterval("roc_auc", values.mean(), 0.0, 1.0, WEEK_ERROR / weeks**0.5, "normal")
    found = drift.estimate_spread(values, np.full(weeks, WEEK_ERROR), whole.value)
    now = HoldoutMetric(whole, found, weeks)
    year = draw_metrics(random, WINDOWS, spread)
    worse = draw_metrics(random, 4, spread, lost=0.05)
    quiet = [performance_drop(params, "performance", one, year) for one in (HoldoutMetric(whole), now)]
    lost = [performance_drop(params, "performance", now, worse[:number]) for number in (2, 4)]
    return [count_alarms(signal.exceeds_limit) > 0 for signal in (*quiet, *lost)]


def make_window(random: np.random.Generator, rows: pd.DataFrame, positives: float, negatives: float) -> Window:
    """Return a window in which the truth of a share of the positive and of the negative rows is known."""
    is_labelled = random.random(len(rows)) < np.where(rows["truth"] == 1, positives, negatives)
    start = MONDAY.tz_localize("UTC")
    return Window(start, len(rows), rows.drop(columns="truth"), rows[is_labelled], rows.head(0), {}, is_labelled)


def watch_labels(seed: int, metric: str, rows: int, positives_first: bool) -> list[bool]:
    """Return whether a quiet year has an alarm, before and now, and whether a model that guesses is found in two weeks.

    The truth of a quarter of a week's rows comes in each of four weeks, or that of the positive rows in the first.
    """
    random = np.random.default_rng([seed, rows, positives_first])
    params = get_params(metric)
    reference = make_reference([draw_predictions(random, WEEK_ROWS, POWER) for _ in range(12)])
    holdout = measure_holdout(params, reference)
    assert holdout is not None
    shares = (1.0, 0.75, 0.5, 0.25)

    def judge(weeks: Sequence[pd.DataFrame]) -> list[bool]:
        windows = []
        for week, share in zip(weeks, shares, strict=True):
            windows.append(make_window(random, week, 1.0 if positives_first else share, share))
        found = [measure_metric(params, reference, window.labelled) for window in windows]
        is_selected = label_selection(params, windows).exceeds_limit
        kept = [None if selected else one for one, selected in zip(found, is_selected, strict=True)]
        signals = [performance_drop(params, "performance", holdout, one) for one in (found, kept)]
        return [signal.state == "critical" for signal in signals]

    year = [draw_predictions(random, rows, POWER) for _ in range(WINDOWS + 3)]
    quiet = [judge(year[week : week + 4]) for week in range(WINDOWS)]
    worse = [*year[:2], *(draw_predictions(random, rows, 0.0) for _ in range(2))]
    return [*np.any(quiet, axis=0).tolist(), *judge(worse)]


# (f) A weekly clock


def count_weekly_trainings(seed: int, cooldown: str, budget: int) -> int:
    """Return the trainings in 52 weeks that all have a reason, where the clock is up to half an hour late."""
    random = np.random.default_rng(seed)
    first = datetime(2024, 1, 1, 3, 41, tzinfo=UTC)
    rules = RetrainParams(cooldown=cooldown, budget=budget)
    starts: list[datetime] = []
    for week in range(WINDOWS):
        now = first + timedelta(weeks=week, minutes=random.uniform(0, 30))
        if decide_retrain(rules, RetrainInputs(now, first, list(starts), 1000, {"performance": ""})).should_train:
            starts.append(now)
    return len(starts)
