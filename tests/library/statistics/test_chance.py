import numpy as np
import pytest

from modelyard.statistics.chance import compute_chance, compute_chance_level
from modelyard.statistics.metrics import METRICS, get_metric

COST = [[0.0, 1.0], [5.0, 0.0]]
TRUTH = np.array([0] * 80 + [1] * 20)
NUMBERS = np.array([0.0, 0.0, 1.0, 7.0])
ENTROPY = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))


@pytest.mark.parametrize(
    ("metric", "level"),
    [
        ("roc_auc", 0.5),
        ("average_precision", 0.2),
        ("log_loss", ENTROPY),
        ("brier", 0.8 * 0.2),
        ("accuracy", 0.8),
        ("balanced_accuracy", 0.5),
        ("f1", 2 * 0.2 / 1.2),  # the rare class, for every row
        ("cost", 0.8),  # a false alarm in 80 % of the rows; the other label costs 5 in 20 %
    ],
)
def test_chance_level_of_two_classes(metric: str, level: float) -> None:
    assert compute_chance_level(metric, TRUTH, COST) == pytest.approx(level)


@pytest.mark.parametrize(("metric", "level"), [("rmse", np.std(NUMBERS)), ("mae", 2.0), ("r2", 0.0)])
def test_chance_level_of_numbers(metric: str, level: float) -> None:
    assert compute_chance_level(metric, NUMBERS) == pytest.approx(level)


def test_chance_level_of_three_classes() -> None:
    truth = np.array([0] * 50 + [1] * 30 + [2] * 20)
    assert compute_chance_level("roc_auc", truth) == pytest.approx(0.5)
    assert compute_chance_level("average_precision", truth) == pytest.approx(1 / 3)
    assert compute_chance_level("balanced_accuracy", truth) == pytest.approx(1 / 3)
    assert compute_chance_level("brier", truth) == pytest.approx(1 - 0.25 - 0.09 - 0.04)


def test_chance_level_of_one_class_is_not_defined_for_a_ranking() -> None:
    assert np.isnan(compute_chance_level("roc_auc", np.zeros(10, int)))
    assert compute_chance_level("accuracy", np.zeros(10, int)) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_chance_has_the_influence_of_a_row_that_comes_twice(metric: str) -> None:
    found = get_metric(metric)
    truth = TRUTH if found.task == "classification" else np.random.default_rng(0).normal(size=101)
    classes = 2 if found.task == "classification" else 0
    chance = compute_chance(found, truth, classes, COST)
    rows = len(truth)
    for row in (0, rows - 1):
        with_twin = compute_chance(found, np.append(np.repeat(truth, 100), truth[row]), classes, COST)
        assert (with_twin.value - chance.value) * (100 * rows) == pytest.approx(chance.influence[row], abs=0.02)
