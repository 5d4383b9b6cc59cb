"""Margins by skill, and the guards where there are too few rows."""

import numpy as np
import pytest

from modelyard.statistics.chance import compute_chance_level
from modelyard.statistics.comparison import (
    Difference,
    compare_slices,
    compute_difference,
    compute_interval,
    compute_row_counts,
    decide_verdict,
)
from modelyard.statistics.influence import Array
from modelyard.statistics.margins import compute_margin
from modelyard.statistics.metrics import METRICS, InvalidScoresError, get_metric

COST = [[0.0, 1.0], [5.0, 0.0]]


def draw(rows: int, share: float, lift: float) -> tuple[Array, Array]:
    """Truth, and the calibrated probabilities of a model that lifts the positive class."""
    truth, champion, _ = draw_pair(rows, share, lift)
    return truth, champion


def draw_pair(rows: int, share: float, lift: float) -> tuple[Array, Array, Array]:
    """Truth, and the probabilities of two equally good models with noise of their own."""
    random = np.random.default_rng(0)
    truth = (random.random(rows) < share).astype(int)
    shared = random.normal(size=rows)
    models = []
    for own in random.normal(size=(2, rows)):
        odds = np.log(share / (1 - share)) + lift * (0.8 * shared + 0.6 * own + lift * truth) - lift**2 / 2
        chance = 1 / (1 + np.exp(-odds))
        models.append(np.column_stack([1 - chance, chance]))
    return truth, models[0], models[1]


def judge(metric: str, truth: Array, champion: Array, candidate: Array, groups: Array | None = None) -> str:
    found = compute_difference(metric, truth, champion, candidate, groups=groups, cost=COST)
    return decide_verdict(found, compute_row_counts(metric, truth, champion, groups))


@pytest.mark.parametrize(
    ("metric", "champion", "chance", "margin"),
    [
        ("roc_auc", 0.75, 0.5, 0.01),  # its own margin is the smallest
        ("roc_auc", 0.55, 0.5, 0.005),  # a tenth of the skill
        ("roc_auc", 0.9942, 0.5, 0.00058),  # a tenth of what it lacks
        ("average_precision", 0.0254, 0.01, 0.00154),
        ("log_loss", 0.4, 0.45, 0.005),
        ("log_loss", 0.2, 0.6, 0.004),  # 2 % of its value
        ("rmse", 9.0, 10.0, 0.1),
        ("r2", 0.05, 0.0, 0.005),
        ("roc_auc", 0.5, 0.5, 0.0),
        ("log_loss", 0.7, 0.6, 0.0),  # worse than guessing
        ("roc_auc", 0.55, float("nan"), 0.01),  # chance is not known
    ],
)
def test_margin_is_bounded_by_skill_and_by_what_is_left(
    metric: str, champion: float, chance: float, margin: float
) -> None:
    assert compute_margin(metric, champion, chance=chance) == pytest.approx(margin)


def test_a_chosen_margin_is_taken_as_it_is() -> None:
    assert compute_margin("roc_auc", 0.55, 0.03, chance=0.5) == 0.03
    assert compute_margin("log_loss", 0.4, 0.1, chance=0.41) == pytest.approx(0.04)


def test_losing_most_of_the_skill_is_no_longer_not_worse() -> None:
    truth, champion = draw(60_000, share=0.01, lift=0.8)
    blurred = champion[:, 1] * np.exp(np.random.default_rng(5).normal(size=len(truth)))
    candidate = np.column_stack([1 / (1 + blurred), blurred / (1 + blurred)])
    found = compute_difference("average_precision", truth, champion, candidate)
    assert -0.02 < found.difference < -0.005  # within two points
    assert judge("average_precision", truth, champion, candidate) in ("worse", "inconclusive")


def test_a_nearly_perfect_model_may_not_double_its_errors() -> None:
    truth, champion = draw(20_000, share=0.2, lift=3.6)
    candidate = champion.copy()
    swapped = np.random.default_rng(1).random(len(truth)) < 0.005
    candidate[swapped] = candidate[swapped][:, ::-1]
    found = compute_difference("roc_auc", truth, champion, candidate)
    assert found.champion > 0.99 and found.difference > -0.01
    assert judge("roc_auc", truth, champion, candidate) == "worse"


@pytest.mark.parametrize("metric", METRICS)
def test_low_with_margin_knows_that_the_margin_is_an_estimate(metric: str) -> None:
    """The error of d + δ is that of the bootstrap, which computes the margin anew for every draw."""
    random = np.random.default_rng(2)
    if get_metric(metric).task == "classification":
        truth, champion, candidate = draw_pair(2000, share=0.3, lift=1.0)
    else:
        truth = random.normal(size=2000)
        champion, candidate = truth + random.normal(size=(2, 2000)) / 2
    found = compute_difference(metric, truth, champion, candidate, cost=COST)
    margins, contrasts = [], []
    for _ in range(200):
        rows = random.integers(2000, size=2000)
        drawn = compute_difference(metric, truth[rows], champion[rows], candidate[rows], cost=COST)
        margins.append(drawn.margin)
        contrasts.append(drawn.difference + drawn.margin)
    quantile = (found.difference - found.low) / found.error
    error = (found.difference + found.margin - found.low_with_margin) / quantile
    assert error == pytest.approx(np.std(contrasts), rel=0.2)
    chance = compute_chance_level(metric, truth, COST)
    assert found.margin == pytest.approx(compute_margin(metric, found.champion, chance=chance))


def test_a_relative_margin_has_the_error_of_the_contrast() -> None:
    truth, champion, candidate = draw_pair(3000, share=0.3, lift=1.0)
    found = compute_difference("log_loss", truth, champion, candidate, margin=0.1)
    losses = [-np.log(scores[np.arange(3000), truth]) for scores in (champion, candidate)]
    contrast = 1.1 * losses[0] - losses[1]
    expected = contrast.mean() - 1.96 * contrast.std(ddof=1) / np.sqrt(3000)
    assert found.low_with_margin == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("metric", ["log_loss", "brier", "accuracy", "cost"])
def test_few_rows_of_a_class_do_not_switch_blocking_off(metric: str) -> None:
    truth, champion = draw(400, share=0.05, lift=2.0)
    assert truth.sum() < 50
    assert judge(metric, truth, champion, champion[:, ::-1]) == "worse"


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_below_the_guard_a_loss_beyond_doubt_is_worse(metric: str) -> None:
    truth, champion = draw(400, share=0.1, lift=2.5)
    assert truth.sum() < 50
    assert judge(metric, truth, champion, champion[:, ::-1]) == "worse"
    assert judge(metric, truth, champion[:, ::-1], champion) == "inconclusive"  # never better
    slightly = champion + 0.02 * np.random.default_rng(0).normal(size=(400, 1)) * [[1, -1]]
    assert judge(metric, truth, champion, slightly) == "inconclusive"


def test_with_few_groups_a_loss_beyond_doubt_is_worse() -> None:
    truth, champion = draw(2000, share=0.3, lift=2.0)
    groups = np.arange(2000) % 20
    assert judge("log_loss", truth, champion, champion[:, ::-1], groups) == "worse"
    assert judge("log_loss", truth, champion[:, ::-1], champion, groups) == "inconclusive"


def test_a_slice_of_few_clusters_blocks_only_beyond_doubt() -> None:
    truth, champion = draw(2000, share=0.3, lift=2.0)
    days = np.arange(2000) // 100
    where = {"where": np.where(days < 10, "few", "other")}
    useless = np.where((days < 10)[:, None], champion[:, ::-1], champion)
    found = compare_slices("log_loss", truth, champion, useless, where, groups=days)
    assert {part.value: part.blocks for part in found} == {"few": True, "other": False}


@pytest.mark.parametrize("metric", METRICS)
def test_one_row_and_one_cluster_have_no_finite_interval(metric: str) -> None:
    truth, scores = draw(40, share=0.5, lift=1.0)
    if get_metric(metric).task != "classification":
        scores = scores[:, 1]
    found = compute_difference(metric, truth, scores, scores[::-1], groups=np.zeros(40), cost=COST)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.p_value == 0.5
    assert judge(metric, truth, scores, scores[::-1], np.zeros(40)) == "inconclusive"


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "mae"])
def test_one_row_says_nothing(metric: str) -> None:
    scores = np.array([0.3]) if metric == "mae" else np.array([[0.7, 0.3]])
    interval = compute_interval(metric, np.array([1]), scores)
    assert interval.low < interval.value < interval.high or interval.low == 0
    assert interval.high - interval.low >= 1


def find_zero_width(found: Difference) -> bool:
    return not found.low < found.difference < found.high


@pytest.mark.parametrize("metric", METRICS)
def test_no_interval_has_zero_width(metric: str) -> None:
    truth = np.arange(500) % 2
    perfect, constant = np.eye(2)[truth], np.full((500, 2), 0.5)
    if get_metric(metric).task != "classification":
        perfect, constant = truth.astype(float), np.full(500, 0.5)
    for champion in (perfect, constant):
        for candidate in (perfect, constant):
            found = compute_difference(metric, truth, champion, candidate, cost=COST)
            assert not find_zero_width(found), (found.low, found.difference, found.high)
            one = compute_interval(metric, truth, candidate, cost=COST)
            assert one.high > one.low


def test_from_a_constant_to_a_perfect_ranking() -> None:
    truth = np.arange(500) % 2
    found = compute_difference("roc_auc", truth, np.full((500, 2), 0.5), np.eye(2)[truth])
    assert (found.champion, found.candidate) == (0.5, 1.0)
    assert 0.001 < found.error < 0.005 and found.low < 0.5 < found.high


def test_same_predictions_are_not_worse() -> None:
    truth, scores = draw(2000, share=0.3, lift=1.0)
    assert {judge(metric, truth, scores, scores) for metric in ("roc_auc", "log_loss", "accuracy")} == {"not worse"}


def test_log_loss_refuses_probabilities_that_do_not_sum_to_one() -> None:
    truth = np.arange(100) % 2
    with pytest.raises(InvalidScoresError, match="100 rows do not sum to 1"):
        get_metric("log_loss").compute_value(truth, np.ones((100, 2)))
    single = np.eye(2)[truth].astype(np.float32) * np.float32(0.9999999)
    assert get_metric("log_loss").compute_value(truth, single) < 1e-6
