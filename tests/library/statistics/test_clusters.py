"""Clusters of rows, and errors by them against brute force."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import SettingError
from modelyard.core.params import DataParams
from modelyard.statistics.clusters import Clusters, build_clusters
from modelyard.statistics.comparison import compute_difference, compute_interval, compute_row_counts
from modelyard.statistics.influence import Array, average_rows
from modelyard.statistics.metrics import METRICS, get_metric
from modelyard.statistics.standard_error import compute_standard_error

DATA = DataParams(path="t.parquet", target="y", task="classification", features=["x"])
MAE = get_metric("mae")


def make_rows(days: int, rows_a_day: int = 4) -> pd.DataFrame:
    """Rows of some days, every six hours, with a carrier each."""
    times = pd.date_range("2024-01-01", periods=days * rows_a_day, freq=f"{24 // rows_a_day}h")
    return pd.DataFrame({"time": times, "carrier": np.arange(len(times)) % 60})


def make_panel(series: int, periods: int, seed: int = 0) -> tuple[Array, Clusters]:
    """One number for each series and period, with an effect of each, and a few holes."""
    random = np.random.default_rng(seed)
    of_series = random.normal(size=series)
    of_period = random.normal(size=periods)
    first, second = (part.ravel() for part in np.indices((series, periods)))
    values = of_series[first] + of_period[second] + random.normal(size=len(first))
    kept = random.random(len(first)) < 0.9
    return values[kept], Clusters.of({"series": first[kept], "period": second[kept]})


def settings(**changes: str | None) -> DataParams:
    return msgspec.structs.replace(DATA, **changes)


@pytest.mark.parametrize(
    ("changes", "days", "counts"),
    [
        ({}, 60, None),
        ({"time": "time"}, 60, {"day": 60}),
        ({"time": "time", "block": "hour"}, 60, {"hour": 240}),
        ({"time": "time", "block": "week"}, 400, {"week": 58}),
        ({"time": "time", "block": "week"}, 60, {"day": 60}),  # only 9 weeks
        ({"time": "time"}, 20, {"hour": 80}),  # only 20 days
        ({"time": "time"}, 10, None),  # only 40 hours
        ({"block": "carrier"}, 60, {"carrier": 60}),
        ({"group": "carrier"}, 60, {"carrier": 60}),
        ({"group": "carrier", "time": "time"}, 15, {"carrier": 60, "day": 15}),
        ({"group": "carrier", "time": "time", "block": "week"}, 15, {"carrier": 60, "day": 15}),  # only 3 weeks
    ],
)
def test_rows_are_clustered_by_group_and_by_the_coarsest_block_with_enough(
    changes: dict[str, str], days: int, counts: dict[str, int] | None
) -> None:
    found = build_clusters(settings(**changes), make_rows(days))
    assert (found and dict(zip(found.names, found.counts, strict=True))) == counts


def test_a_week_is_seven_days_from_monday() -> None:
    rows = make_rows(days=400)
    found = build_clusters(settings(time="time", block="week"), rows)
    assert found is not None
    starts = rows.groupby(found.codes[0])["time"].agg(["min", "size"])
    assert set(starts["size"][:-1]) == {28} and set(starts["min"].dt.day_of_week) == {0}


def test_moments_with_a_time_zone_and_missing_ones_have_blocks() -> None:
    rows = make_rows(days=60)
    rows["time"] = rows["time"].dt.tz_localize("UTC")
    rows.loc[:9, "time"] = pd.NaT
    found = build_clusters(settings(time="time"), rows)
    assert found is not None
    assert len(set(found.codes[0][:10])) == 1 and found.counts == (59,)


def test_a_block_that_does_not_exist_is_refused() -> None:
    for changes in ({"block": "day"}, {"time": "time", "block": "month"}):
        with pytest.raises(SettingError) as refusal:
            build_clusters(settings(**changes), make_rows(60))
        assert refusal.value.setting == "data.block"


def test_error_of_one_kind_is_the_jackknife_over_clusters() -> None:
    random = np.random.default_rng(1)
    codes = np.repeat(np.arange(200), random.integers(1, 12, 200))
    values = random.normal(size=200)[codes] + random.normal(size=len(codes))
    without = np.array([values[codes != code].mean() for code in range(200)])
    jackknife = np.sqrt(199 / 200 * ((without - without.mean()) ** 2).sum())
    error, freedom = compute_standard_error(MAE, values, average_rows(values), codes)
    assert error == pytest.approx(jackknife, rel=0.03)
    assert freedom == 199


def test_error_of_two_kinds_is_cameron_gelbach_and_millers() -> None:
    values, clusters = make_panel(40, 30)
    deviations = values - values.mean()

    def one_way(codes: Array) -> float:
        sums = pd.Series(deviations).groupby(codes).sum()
        return float((sums**2).sum()) / len(values) ** 2 * len(sums) / (len(sums) - 1)

    series, period = clusters.codes
    expected = one_way(series) + one_way(period) - one_way(1000 * series + period)
    error, freedom = compute_standard_error(MAE, values, average_rows(values), clusters)
    assert error**2 == pytest.approx(expected, rel=0.1)  # one more cluster is added
    assert freedom == 29


def test_error_of_two_kinds_is_that_of_the_population() -> None:
    means = [make_panel(30, 25, seed)[0].mean() for seed in range(300)]
    errors = []
    for seed in range(50):
        values, clusters = make_panel(30, 25, seed)
        errors.append(compute_standard_error(MAE, values, average_rows(values), clusters)[0])
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)


def test_a_kind_inside_the_other_adds_nothing() -> None:
    random = np.random.default_rng(2)
    outer = np.repeat(np.arange(60), 20)
    inner = np.repeat(np.arange(240), 5)
    values = random.normal(size=60)[outer] + random.normal(size=1200)
    both = compute_standard_error(MAE, values, average_rows(values), Clusters.of({"a": outer, "b": inner}))
    assert both == pytest.approx(compute_standard_error(MAE, values, average_rows(values), outer), rel=0.05)


def test_error_of_two_kinds_is_not_below_either() -> None:
    values, clusters = make_panel(12, 12, seed=5)
    found = average_rows(np.random.default_rng(3).permutation(values))  # no effects left
    errors = [compute_standard_error(MAE, values, found, codes)[0] for codes in clusters.codes]
    assert compute_standard_error(MAE, values, found, clusters)[0] == pytest.approx(max(errors), rel=0.15)


def test_a_cluster_with_most_rows_leaves_too_few_to_tell() -> None:
    """One of 60 groups has 70 % of the rows: all together tell as much as two of one size."""
    groups = np.concatenate([np.zeros(1400), np.repeat(np.arange(1, 61), 10)])
    scores = np.random.default_rng(0).random(2000)
    counts = compute_row_counts("mae", scores, scores, groups)
    assert counts.clusters == 61 and 2 < counts.effective_clusters < 2.1
    assert not counts.is_sufficient
    assert compute_row_counts("mae", scores[1400:], scores[1400:], groups[1400:]).is_sufficient


def test_one_cluster_shows_nothing() -> None:
    values = np.arange(10.0)
    error, freedom = compute_standard_error(MAE, values, average_rows(values), np.zeros(10))
    assert (error, freedom) == (np.inf, 1)


@pytest.mark.parametrize("name", ["mae", "rmse", "r2"])
def test_bootstrap_of_two_kinds_agrees_with_the_closed_form(name: str) -> None:
    noise, clusters = make_panel(40, 30)
    other, _ = make_panel(40, 30, seed=1)
    truth = np.random.default_rng(4).normal(size=len(noise)) * 3
    rows = (truth, truth + noise, truth + (noise + other[: len(noise)]) / np.sqrt(2))
    rows = tuple(part[: len(other)] for part in rows)  # type: ignore[assignment]
    clusters = clusters.select_rows(np.arange(len(rows[0])))
    closed = compute_difference(name, *rows, groups=clusters)
    drawn = compute_difference(name, *rows, groups=clusters, resamples=300)
    assert closed.method.endswith("by series and period")
    assert closed.error == pytest.approx(drawn.error, rel=0.2)


@pytest.mark.parametrize("name", METRICS)
def test_day_effects_widen_the_interval_of_one_model(name: str) -> None:
    random = np.random.default_rng(6)
    days = np.repeat(np.arange(60), 30)
    quality = 1 + 1.5 * random.normal(size=60)[days]  # there are good days and bad ones
    truth: Array = random.normal(size=len(days))
    scores = truth + (2 - quality) + random.normal(size=len(days))
    if get_metric(name).task == "classification":
        truth = random.integers(2, size=len(days))
        chance = 1 / (1 + np.exp(-(2 * truth - 1) * quality + random.normal(size=len(days))))
        scores = np.column_stack([1 - chance, chance])
    cost = [[0.0, 1.0], [5.0, 0.0]]
    by_row = compute_interval(name, truth, scores, cost=cost)
    by_day = compute_interval(name, truth, scores, cost=cost, groups=Clusters.of({"day": days}))
    assert by_day.error > 1.2 * by_row.error
