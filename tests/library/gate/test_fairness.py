import numpy as np
import pytest

from modelyard.gate import fairness
from modelyard.gate.fairness import FairnessGap
from modelyard.statistics.clusters import Clusters

CODES = np.repeat([0, 1], 100)
GROUPS = np.array(["a", "b"])[CODES]


def get_gap(measure: str, gaps: list[FairnessGap]) -> FairnessGap:
    return next(gap for gap in gaps if gap.measure == measure)


def draw_labels(rows: int, groups: int, gap: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth, scores and groups, of which the first is told yes more often by `gap`."""
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=rows)
    truth = (rng.random(rows) < 0.3).astype(int)
    rate = np.where(truth == 1, 0.5, 0.2) + gap * (group == 0)
    return truth, np.eye(2)[(rng.random(rows) < rate).astype(int)], group


def find_largest_low(rows: int, groups: int, gap: float, seed: int) -> float:
    return max(found.low for found in fairness.compute_fairness_gaps(*draw_labels(rows, groups, gap, seed)))


def test_measures_of_classes_are_the_differences_of_their_rates() -> None:
    truth = np.tile([1, 0], 100)
    predicted = np.concatenate([np.tile([1, 0], 50), np.tile([1, 1, 0, 0], 25)])  # b: half of either class
    gaps = fairness.compute_fairness_gaps(truth, np.eye(2)[predicted], GROUPS)
    assert {gap.measure: gap.gap for gap in gaps} == {
        "demographic parity": 0.0,
        "equal opportunity": 0.5,
        "equalised odds": 0.5,
        "calibration": 0.0,
    }


def test_equalised_odds_is_the_larger_of_both_gaps() -> None:
    truth = np.tile([1, 0], 100)
    predicted = np.concatenate([np.tile([1, 0], 50), np.ones(100, int)])  # b: every row
    gaps = fairness.compute_fairness_gaps(truth, np.eye(2)[predicted], GROUPS)
    assert get_gap("equal opportunity", gaps).gap == 0.0
    odds = get_gap("equalised odds", gaps)
    assert (odds.gap, odds.groups) == (1.0, ("b", "a")) and odds.low > 0.8


def test_calibration_is_the_mean_probability_minus_the_share() -> None:
    truth = np.tile([1, 0], 100)
    chance = np.repeat([0.5, 0.8], 100)
    gaps = fairness.compute_fairness_gaps(truth, np.column_stack([1 - chance, chance]), GROUPS)
    assert get_gap("calibration", gaps).gap == pytest.approx(0.3)


def test_measures_of_numbers_are_mean_prediction_and_mean_error() -> None:
    gaps = fairness.compute_fairness_gaps(np.repeat([0.0, 1.0], 100), np.repeat([1.0, 3.0], 100), GROUPS)
    assert {gap.measure: gap.gap for gap in gaps} == {"mean prediction": 2.0, "mean error": 1.0}


def test_groups_with_few_rows_are_left_out() -> None:
    groups = np.repeat(["few", "many", "more"], [49, 80, 71])
    gap = fairness.compute_fairness_gaps(np.zeros(200), np.repeat([9.0, 1.0, 2.0], [49, 80, 71]), groups)[0]
    assert (gap.gap, gap.groups) == (1.0, ("more", "many"))


def test_rows_without_a_group_are_left_out() -> None:
    group = np.repeat(np.array(["a", "b", None], dtype=object), [60, 60, 80])
    scores = np.repeat([0.0, 1.0, 50.0], [60, 60, 80])
    days = Clusters.of({"day": np.arange(200) // 5})
    gap = fairness.compute_fairness_gaps(np.zeros(200), scores, group, days)[0]
    assert gap.gap == 1.0 and gap.groups == ("b", "a")


def test_groups_of_few_clusters_are_left_out() -> None:
    clusters = Clusters.of({"day": np.repeat([0, 1, 2], [100, 50, 50])})
    assert fairness.compute_fairness_gaps(np.zeros(200), np.arange(200.0), GROUPS, clusters)[0].groups == ()


@pytest.mark.parametrize("groups", [5, 20])
def test_fair_groups_have_no_gap_beyond_a_limit_of_a_tenth(groups: int) -> None:
    assert max(find_largest_low(50 * 4 * groups, groups, 0.0, seed) for seed in range(20)) <= 0.1


def test_unfair_groups_have_a_gap_beyond_the_limit() -> None:
    assert min(find_largest_low(5000, 5, 0.2, seed) for seed in range(20)) > 0.1


def test_a_gap_at_the_limit_is_rarely_beyond_it() -> None:
    beyond = [find_largest_low(1000, 5, 0.1, seed) > 0.1 for seed in range(200)]
    assert sum(beyond) <= 8


def test_intervals_cover_the_true_gap_with_all_groups_at_once() -> None:
    def covers(seed: int) -> bool:
        gaps = fairness.compute_fairness_gaps(*draw_labels(1000, 5, 0.15, seed))
        return all(gap.low <= 0.15 <= gap.high for gap in gaps)

    assert sum(covers(seed) for seed in range(200)) >= 186


def test_error_of_lone_rows_is_that_of_a_difference_of_means() -> None:
    values = np.random.default_rng(0).normal(size=200)
    found = fairness.estimate_mean_errors(values, CODES, np.arange(200), 0.0)
    expected = [values[:100].var(ddof=1) / 100, values[100:].var(ddof=1) / 100]
    assert np.diag(found.covariance) == pytest.approx(expected, rel=0.05)  # and one more row
    assert found.covariance[0, 1] == 0.0


def test_rows_of_one_cluster_count_once() -> None:
    values = np.random.default_rng(0).normal(size=20)
    alone = fairness.estimate_mean_errors(values, np.repeat([0, 1], 10), np.arange(20), 0.0)
    ten_times = fairness.estimate_mean_errors(np.repeat(values, 10), CODES, np.repeat(np.arange(20), 10), 0.0)
    assert ten_times.covariance == pytest.approx(alone.covariance)
    assert ten_times.clusters.tolist() == [10, 10]


def test_clusters_that_cross_the_groups_make_their_means_move_together() -> None:
    day = np.random.default_rng(0).normal(size=100)
    found = fairness.estimate_mean_errors(np.tile(day, 2), CODES, np.tile(np.arange(100), 2), 0.0)
    assert found.covariance[0, 1] == pytest.approx(day.var(ddof=1) / 100)


def test_clusters_of_two_kinds_are_counted_both_ways() -> None:
    rng = np.random.default_rng(0)
    customer = np.arange(4000) // 40  # each of one group
    day = np.arange(4000) % 40
    group = customer % 2
    scores = rng.normal(size=100)[customer] + (rng.normal(size=(40, 2))[day, group]) + rng.normal(size=4000)
    kinds = {"customer": customer, "day": day}
    widths = []
    for names in (["customer"], ["day"], ["customer", "day"]):
        clusters = Clusters.of({name: kinds[name] for name in names})
        gap = fairness.compute_fairness_gaps(np.zeros(4000), scores, group, clusters)[0]
        widths.append(gap.high - gap.gap)
    assert widths[2] > 1.1 * max(widths[:2])


def test_constant_predictions_have_no_gap_and_no_width() -> None:
    gap = fairness.compute_fairness_gaps(np.zeros(200), np.ones(200), GROUPS)[0]
    assert (gap.gap, gap.low, gap.high) == (0.0, 0.0, 0.0)
