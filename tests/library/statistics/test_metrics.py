import numpy as np
import pytest
from sklearn import metrics as reference

from modelyard.core.errors import SettingError
from modelyard.statistics.influence import Array
from modelyard.statistics.metrics import (
    METRICS,
    InvalidScoresError,
    UnknownMetricError,
    compute_all_metrics,
    get_metric,
)

COST = [[0.0, 1.0], [5.0, 0.0]]


def draw(classes: int = 2, rows: int = 400, digits: int = 2) -> tuple[Array, Array]:
    """Truth and probabilities; few digits make ties."""
    rng = np.random.default_rng(classes)
    truth = rng.choice(classes, rows, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    odds = np.exp(rng.normal(size=(rows, classes)) + np.eye(classes)[truth])
    scores = np.floor(odds / odds.sum(axis=1, keepdims=True) * 10**digits) / 10**digits
    scores[:, 0] += 1 - scores.sum(axis=1)
    return truth, scores


def numbers(rows: int = 400) -> tuple[Array, Array]:
    rng = np.random.default_rng(7)
    truth = rng.normal(size=rows)
    return truth, truth + rng.normal(size=rows)


@pytest.mark.parametrize("digits", [1, 15], ids=["ties", "no ties"])
def test_binary_metrics_agree_with_scikit_learn(digits: int) -> None:
    truth, scores = draw(digits=digits)
    chance, label = scores[:, 1], scores.argmax(axis=1)
    assert compute_all_metrics("classification", truth, scores) == pytest.approx(
        {
            "roc_auc": reference.roc_auc_score(truth, chance),
            "average_precision": reference.average_precision_score(truth, chance),
            "log_loss": reference.log_loss(truth, scores),
            "brier": reference.brier_score_loss(truth, chance),
            "accuracy": reference.accuracy_score(truth, label),
            "balanced_accuracy": reference.balanced_accuracy_score(truth, label),
            "f1": reference.f1_score(truth, label),
        }
    )


@pytest.mark.parametrize("digits", [1, 15], ids=["ties", "no ties"])
def test_metrics_of_four_classes_agree_with_scikit_learn(digits: int) -> None:
    truth, scores = draw(4, digits=digits)
    label, rest = scores.argmax(axis=1), np.eye(4)[truth]
    assert compute_all_metrics("classification", truth, scores) == pytest.approx(
        {
            "roc_auc": reference.roc_auc_score(rest, scores, average="macro"),
            "average_precision": reference.average_precision_score(rest, scores, average="macro"),
            "log_loss": reference.log_loss(truth, scores),
            "brier": ((scores - rest) ** 2).sum(axis=1).mean(),
            "accuracy": reference.accuracy_score(truth, label),
            "balanced_accuracy": reference.balanced_accuracy_score(truth, label),
            "f1": reference.f1_score(truth, label, average="macro"),
        }
    )


def test_regression_metrics_agree_with_scikit_learn() -> None:
    truth, scores = numbers()
    assert compute_all_metrics("regression", truth, scores) == pytest.approx(
        {
            "rmse": reference.root_mean_squared_error(truth, scores),
            "mae": reference.mean_absolute_error(truth, scores),
            "r2": reference.r2_score(truth, scores),
        }
    )


def test_cost_takes_the_label_of_least_expected_cost() -> None:
    # A miss costs five times a false alarm: a row is called positive from 1/6 on.
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    assert get_metric("cost").compute_value(np.array([0, 0, 1]), scores, COST) == pytest.approx(1 / 3)
    assert get_metric("cost").compute_value(np.array([1, 1, 1]), scores, COST) == pytest.approx(5 / 3)


@pytest.mark.parametrize("name", METRICS)
def test_pull_is_the_derivative_by_the_weight_of_a_row(name: str) -> None:
    truth, scores = draw(3) if METRICS[name].task == "classification" else numbers()
    cost = np.array([[0, 1, 2], [1, 0, 1], [4, 2, 0]]) if name == "cost" else None
    one, copies = get_metric(name).compute_influence(truth, scores, cost), 200
    assert one.influence.sum() == pytest.approx(0, abs=1e-8)
    for row in (0, 7, 50):
        # Every row 200 times and one of them once more: a weight that is larger by 1 in 200.
        rows = np.append(np.tile(np.arange(len(truth)), copies), row)
        moved = get_metric(name).compute_value(truth[rows], scores[rows], cost) - one.value
        assert moved * len(rows) == pytest.approx(one.influence[row], rel=0.03, abs=1e-3)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "balanced_accuracy"])
def test_one_class_defines_no_ranking(name: str) -> None:
    scores = draw()[1]
    assert name not in compute_all_metrics("classification", np.zeros(len(scores), int), scores)


def test_a_constant_truth_has_no_r2() -> None:
    assert set(compute_all_metrics("regression", np.ones(5), np.arange(5.0))) == {"rmse", "mae"}


def test_a_class_without_rows_is_left_out_of_the_mean() -> None:
    truth, scores = draw()
    wider = np.column_stack([scores, np.zeros(len(truth))])
    both = [reference.roc_auc_score(truth == c, scores[:, c]) for c in (0, 1)]
    assert get_metric("roc_auc").compute_value(truth, wider) == pytest.approx(np.mean(both))


def test_a_vector_is_the_probability_of_the_last_class() -> None:
    truth, scores = draw()
    assert compute_all_metrics("classification", truth, scores[:, 1]) == pytest.approx(
        compute_all_metrics("classification", truth, scores)
    )


def test_a_perfect_and_a_reversed_ranking() -> None:
    truth, chance = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    assert get_metric("roc_auc").compute_value(truth, chance) == 1
    assert get_metric("roc_auc").compute_value(truth, 1 - chance) == 0
    assert get_metric("roc_auc").compute_value(truth, np.full(4, 0.5)) == 0.5


@pytest.mark.parametrize(
    ("task", "truth", "scores", "words"),
    [
        pytest.param("classification", [0, 1], [[0.5, 0.5]], "score the same rows", id="lengths"),
        pytest.param("regression", [], [], "at least one", id="no rows"),
        pytest.param("regression", [1.0], [np.nan], "missing or infinite", id="nan predicted"),
        pytest.param("regression", [np.inf], [1.0], "leave those rows out", id="infinite truth"),
        pytest.param("regression", [1.0], [[1.0, 2.0]], "one number per row", id="matrix"),
        pytest.param("classification", [0, 2], [[1, 0], [0, 1]], "every class", id="no column"),
        pytest.param("classification", ["a"], [[1, 0]], "must be numbers", id="words"),
        pytest.param("classification", [-1, 1], [[1, 0], [0, 1]], "run from -1", id="unknown"),
        pytest.param("classification", [0.5, 1], [[1, 0], [0, 1]], "codes 0, 1, 2", id="no codes"),
    ],
)
def test_refuses(task: str, truth: list[object], scores: list[object], words: str) -> None:
    with pytest.raises(InvalidScoresError, match=words):
        compute_all_metrics(task, np.array(truth), np.array(scores))


@pytest.mark.parametrize("cost", [None, [[0, 1]], [[0, np.nan], [1, 0]]])
def test_refuses_a_cost_that_is_no_square_of_numbers(cost: list[list[float]] | None) -> None:
    with pytest.raises(SettingError) as refusal:
        get_metric("cost").compute_value(*draw(), cost)
    assert refusal.value.setting == "evaluate.cost"


def test_an_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(UnknownMetricError) as refusal:
        get_metric("auc")
    assert refusal.value.known[:2] == ["roc_auc", "average_precision"]
