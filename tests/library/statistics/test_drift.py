from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.statistics import drift

RNG = np.random.default_rng(0)
NORMAL = pd.Series(RNG.normal(size=20_000), name="x")
LETTERS = pd.Series(RNG.choice(list("abcd"), 20_000, p=[0.4, 0.3, 0.2, 0.1]), name="letter")


def sample(column: pd.Series, rows: int = 2000) -> pd.Series:
    return column.sample(rows, random_state=1)


@pytest.mark.parametrize("measure", ["psi", "jensen_shannon", "wasserstein"])
@pytest.mark.parametrize("column", [NORMAL, LETTERS], ids=["number", "category"])
def test_rows_of_the_reference_itself_stay_below_the_limit(column: pd.Series, measure: str) -> None:
    distribution = drift.ReferenceDistribution(column, measure)
    assert distribution.compute_distance(sample(column)) < distribution.compute_limit(2000, 0.001, 0.0)


@pytest.mark.parametrize("measure", ["psi", "jensen_shannon", "wasserstein"])
def test_a_shift_passes_the_limit_and_grows(measure: str) -> None:
    distribution = drift.ReferenceDistribution(NORMAL, measure)
    near, far = distribution.compute_distance(sample(NORMAL + 0.5)), distribution.compute_distance(sample(NORMAL + 1))
    assert distribution.compute_limit(2000, 0.001, 0.0) < near < far


@pytest.mark.parametrize(
    ("changed", "cell"),
    [
        pytest.param(sample(LETTERS).where(RNG.random(2000) > 0.05, "z"), drift.NEW_LABEL, id="new value"),
        pytest.param(sample(LETTERS).where(RNG.random(2000) > 0.05), drift.MISSING_LABEL, id="gaps"),
        pytest.param(sample(LETTERS).where(RNG.random(2000) > 0.3, "d"), "d", id="known value"),
    ],
)
def test_moved_bins_name_the_value(changed: pd.Series, cell: str) -> None:
    distribution = drift.ReferenceDistribution(LETTERS, "psi")
    assert distribution.compute_distance(changed) > 0.1
    assert distribution.rank_moved_bins(changed)[0]["value"] == cell


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pd.Series([1.0] * 50), id="constant"),
        pytest.param(pd.Series([np.nan] * 50), id="empty"),
        pytest.param(pd.Series([0, 1] * 25), id="two values"),
        pytest.param(pd.Series([True, False] * 25), id="truth values"),
        pytest.param(pd.Series([np.inf, -np.inf, 1.0, 2.0] * 10), id="infinite"),
        pytest.param(pd.Series(["only"] * 50), id="one category"),
        pytest.param(pd.Series([f"id{i}" for i in range(200)]), id="identifier"),
        pytest.param(pd.Series([1, 2, None] * 20, dtype="Int64"), id="nullable"),
    ],
)
@pytest.mark.parametrize("measure", ["psi", "jensen_shannon", "wasserstein"])
def test_any_column_has_a_value_and_a_limit(column: pd.Series, measure: str) -> None:
    distribution = drift.ReferenceDistribution(column, measure)
    assert distribution.compute_distance(column) == pytest.approx(0, abs=1e-9) or measure == "wasserstein"
    assert distribution.compute_limit(20, 0.01, 0.1) >= 0.1
    assert len(distribution.rank_moved_bins(column)) <= 3


def test_a_constant_that_changes_is_seen() -> None:
    assert drift.ReferenceDistribution(pd.Series([1.0] * 500), "psi").compute_distance(pd.Series([2.0] * 500)) > 1


def test_psi_of_known_shares() -> None:
    assert drift.compute_psi(np.array([5e6, 5e6]), np.array([6e6, 4e6])) == pytest.approx(0.04055, abs=1e-4)


def test_jensen_shannon_lies_between_0_and_1() -> None:
    assert drift.compute_jensen_shannon(np.array([1e9, 0]), np.array([0, 1e9])) == pytest.approx(1, abs=1e-3)
    assert drift.compute_jensen_shannon(np.array([7, 3]), np.array([70, 30])) == pytest.approx(0, abs=0.05)


def test_wasserstein_is_the_shift_in_deviations() -> None:
    assert drift.compute_wasserstein(NORMAL.to_numpy(), NORMAL.to_numpy() + 0.5) == pytest.approx(0.5, abs=0.01)


def test_limit_does_not_depend_on_traffic_but_on_the_sample() -> None:
    distribution = drift.ReferenceDistribution(NORMAL, "psi")
    assert distribution.compute_limit(500, 0.01, 0.0) > distribution.compute_limit(5000, 0.01, 0.0)
    assert distribution.compute_limit(5000, 0.01, 0.1) == 0.1


def test_limit_knows_the_reference_changes_by_itself() -> None:
    times = np.arange(20_000) * 10
    seasonal = pd.Series(np.sin(times / 30_000) + RNG.normal(0, 0.2, 20_000))
    rows = drift.group_rows_by_period(times, 10_000, 200, day=10_000)
    without = drift.ReferenceDistribution(seasonal, "psi").compute_limit(2000, 0.01, 0.1)
    limit = drift.ReferenceDistribution(seasonal, "psi", drift.Periods(rows, rows)).compute_limit(2000, 0.01, 0.1)
    assert limit > 3 * without


@pytest.mark.parametrize("measure", ["psi", "jensen_shannon", "wasserstein"])
def test_period_is_compared_with_the_reference_outside_of_it(measure: str) -> None:
    halves = pd.Series(np.repeat([0.0, 1.0], 500))
    own = np.arange(500)
    whole = drift.ReferenceDistribution(halves, measure, drift.Periods([own], [own])).compare_periods_to_rest(500)
    sample = drift.Periods([np.arange(300)], [own])
    part = drift.ReferenceDistribution(halves, measure, sample, halves.head(300)).compare_periods_to_rest(300)
    assert whole[0] == pytest.approx(part[0], rel=0.1) or np.isinf([*whole, *part]).all()
    assert whole[0] > 0.9


def count_periods(length: int, width: int, day: int, minimum: int = 10) -> list[int]:
    """Return the rows of each period of a reference with ten rows a unit of time."""
    return [len(rows) for rows in drift.group_rows_by_period(np.arange(10 * length) / 10, width, minimum, day)]


def test_periods_are_as_long_as_a_window_where_eight_fit() -> None:
    assert count_periods(60, width=7, day=1) == [70] * 8


def test_periods_of_a_short_reference_are_fewer_whole_days() -> None:
    assert count_periods(31, width=7, day=1) == [30] * 10
    assert count_periods(9, width=7, day=1) == [10] * 9


@pytest.mark.parametrize(("length", "width", "day"), [(7, 7, 1), (20, 3, 24)], ids=["of days", "of hours"])
def test_periods_are_never_parts_of_a_day(length: int, width: int, day: int) -> None:
    assert count_periods(length, width, day) == []


def test_periods_with_too_few_rows_are_not_used() -> None:
    assert count_periods(100, width=7, day=1, minimum=100) == []


@pytest.mark.parametrize(("k", "of"), [(1, 1), (2, 3), (3, 3)])
def test_chance_keeps_the_rate_of_a_year(k: int, of: int) -> None:
    chance = drift.compute_alarm_chance(0.05, 10, 52, k, of)
    flags = np.random.default_rng(3).random((2000, 10, 52)) < chance
    windows = np.lib.stride_tricks.sliding_window_view(flags, of, axis=2).sum(axis=3) >= k
    assert 0.02 < windows.any(axis=(1, 2)).mean() <= 0.065


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([True, True, False], False),
        ([True, False, True], True),
        ([False, False, True], False),
        ([True, None, None, True], True),
        ([True, False, False, True], False),
        ([], False),
    ],
)
def test_k_of_n_counts_judged_windows(flags: list[bool | None], expected: bool) -> None:
    assert drift.k_of_n(flags, 2, 3) == expected


def test_loss_limit_grows_with_both_errors() -> None:
    def limit(reference: float, window: float) -> float:
        return drift.compute_loss_limit(reference, window, 52, 2, 3, 0.025)

    assert limit(0.0, 0.01) < limit(0.01, 0.01) < limit(0.01, 0.02)
    assert limit(0.01, 0.0) == float("inf")


def test_spread_is_what_sampling_does_not_explain() -> None:
    values = np.random.default_rng(1).normal(0.7, np.hypot(0.02, 0.01), 2000)
    errors = np.full(2000, 0.01)
    assert drift.estimate_spread(values, errors, 0.7) == pytest.approx(0.02, rel=0.05)
    assert drift.estimate_spread(values, errors * 3, 0.7) == 0


def test_spread_of_few_periods_is_rarely_too_small() -> None:
    draws = np.random.default_rng(2).normal(0.0, 1.0, (4000, 8))
    found = [drift.estimate_spread(values, np.zeros(8), values.mean()) for values in draws]
    assert np.mean(np.array(found) < 1) == pytest.approx(1 - drift.SPREAD_CONFIDENCE, abs=0.02)


def test_reweighting_draws_the_scores_that_are_asked_for() -> None:
    reference, current = RNG.random(5000), RNG.random(5000) ** 2
    assert reference[drift.reweight_to_scores(reference, current)].mean() == pytest.approx(current.mean(), abs=0.02)


def test_reweighting_draws_nothing_where_no_score_is_near_the_current_ones() -> None:
    assert len(drift.reweight_to_scores(np.repeat([0.1, 0.5], 50), np.full(100, 0.9))) == 0


@pytest.mark.parametrize("column", [pd.Series(dtype=float), pd.Series([np.nan, np.nan])], ids=["empty", "gaps"])
def test_nothing_to_compare_is_no_error(column: Any) -> None:
    assert np.isfinite(drift.ReferenceDistribution(NORMAL, "psi").compute_distance(column))
