from dataclasses import replace

import numpy as np
import pytest

from modelyard.core.errors import SettingError
from modelyard.statistics.comparison import (
    Difference,
    adjust_p_values,
    compare_slices,
    compute_detectable_difference,
    compute_difference,
    compute_interval,
    compute_margin,
    compute_row_counts,
    decide_verdict,
    is_margin_resolved,
)
from modelyard.statistics.influence import Array
from modelyard.statistics.metrics import METRICS, InvalidScoresError, get_metric
from modelyard.statistics.paired_scores import RowCounts, UndefinedMetricError

COSTS = {2: [[0.0, 1.0], [5.0, 0.0]], 3: [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [4.0, 2.0, 0.0]]}
ENOUGH = RowCounts(100, 50, 50)
FOUND = Difference("roc_auc", 0.8, 0.8, 0.0, -0.01, 0.01, 0.005, "DeLong")


def holdout(
    task: str, rows: int = 500, classes: int = 2, loss: float = 0.0, seed: int = 1
) -> tuple[Array, Array, Array]:
    """Truth, champion and candidate; the candidate is worse if `loss` is above 0."""
    rng = np.random.default_rng(seed)
    shape = (rows,) if task == "regression" else (rows, classes)
    shared, own, other = rng.normal(size=(3, *shape))
    if task == "regression":
        numbers = rng.normal(size=rows)
        return numbers, numbers + shared + own / 2, numbers + shared + (0.5 + loss) * other
    truth = rng.integers(classes, size=rows)
    lift = 1.2 * np.eye(classes)[truth]
    odds = [np.exp(lift + shared + e) for e in (own / 2, (0.5 + loss) * other)]
    champion, candidate = (round_probabilities(o / o.sum(axis=1, keepdims=True)) for o in odds)
    return truth, champion, candidate


def round_probabilities(scores: Array) -> Array:
    """Probabilities with ties, which still sum to 1."""
    rounded = np.round(scores, 2)
    return np.asarray(rounded / rounded.sum(axis=1, keepdims=True))


def cases() -> list[object]:
    return [
        pytest.param(name, classes, id=f"{name}-{classes}")
        for name, metric in METRICS.items()
        for classes in ((2, 3) if metric.task == "classification" else (0,))
    ]


def delong(truth: Array, champion: Array, candidate: Array) -> float:
    """The variance of the difference in AUC, pair by pair, as DeLong wrote it in 1988."""
    placements = []
    for scores in (champion, candidate):
        ones, zeros = scores[truth == 1], scores[truth == 0]
        wins = (ones[:, None] > zeros) + (ones[:, None] == zeros) / 2
        placements.append((wins.mean(axis=1), wins.mean(axis=0)))
    both = zip(*placements, strict=True)  # by class: champion's and candidate's
    return float(sum((new - old).var(ddof=1) / len(old) for old, new in both))


def test_auc_error_is_delongs_with_ties() -> None:
    truth, champion, candidate = holdout("classification", rows=2000)
    found = compute_difference("roc_auc", truth, champion, candidate)
    assert found.method == "DeLong"
    assert found.error**2 == pytest.approx(delong(truth, champion[:, 1], candidate[:, 1]), rel=0.01)


def test_a_mean_has_the_paired_standard_error() -> None:
    truth, champion, candidate = holdout("regression", rows=2000)
    rows = np.abs(truth - champion) - np.abs(truth - candidate)
    found = compute_difference("mae", truth, champion, candidate)
    assert found.difference == pytest.approx(rows.mean())
    assert found.error == pytest.approx(rows.std(ddof=1) / np.sqrt(2000), rel=0.01)


@pytest.mark.parametrize(("name", "classes"), cases())
def test_closed_form_agrees_with_the_bootstrap(name: str, classes: int) -> None:
    rows = holdout(get_metric(name).task, 600, classes)
    cost = COSTS.get(classes)
    closed = compute_difference(name, *rows, cost=cost)
    drawn = compute_difference(name, *rows, cost=cost, resamples=300)
    assert (drawn.method, drawn.resamples) == ("paired bootstrap", 300)
    assert closed.error == pytest.approx(drawn.error, rel=0.2)
    assert [closed.low, closed.high] == pytest.approx([drawn.low, drawn.high], abs=0.8 * closed.error)


@pytest.mark.parametrize(("name", "classes"), cases())
def test_clustered_form_agrees_with_the_bootstrap_of_groups(name: str, classes: int) -> None:
    rows = [np.repeat(part, 4, axis=0) for part in holdout(get_metric(name).task, 300, classes)]
    groups, cost = np.repeat(np.arange(300), 4), COSTS.get(classes)
    closed = compute_difference(name, *rows, groups=groups, cost=cost)
    drawn = compute_difference(name, *rows, groups=groups, cost=cost, resamples=150)
    assert closed.method.endswith("by group")
    assert closed.error == pytest.approx(drawn.error, rel=0.2)


@pytest.mark.parametrize(("name", "classes"), cases())
def test_rows_that_are_copied_in_a_group_prove_nothing_new(name: str, classes: int) -> None:
    once = holdout(get_metric(name).task, 300, classes)
    often = [np.repeat(part, 5, axis=0) for part in once]
    cost = COSTS.get(classes)
    alone = compute_difference(name, *once, cost=cost)
    together = compute_difference(name, *often, groups=np.repeat(np.arange(300), 5), cost=cost)
    assert together.error == pytest.approx(alone.error, rel=0.05)
    assert compute_difference(name, *often, cost=cost).error < 0.6 * alone.error


@pytest.mark.parametrize("name", METRICS)
def test_a_worse_candidate_is_negative_and_the_other_way_round(name: str) -> None:
    truth, champion, candidate = holdout(get_metric(name).task, 3000, loss=1.0)
    found = compute_difference(name, truth, champion, candidate, cost=COSTS[2])
    swapped = compute_difference(name, truth, candidate, champion, cost=COSTS[2])
    assert found.high < 0 < swapped.low
    assert found.difference == pytest.approx(-swapped.difference)
    assert found.p_value < 0.001 < 0.999 < swapped.p_value


@pytest.mark.parametrize("name", METRICS)
def test_a_model_equals_itself(name: str) -> None:
    truth, champion, _ = holdout(get_metric(name).task)
    found = compute_difference(name, truth, champion, champion, cost=COSTS[2])
    assert found.difference == 0
    assert found.low <= 0 <= found.high
    assert decide_verdict(found, ENOUGH) in ("not worse", "inconclusive")


def test_more_confidence_makes_a_wider_interval() -> None:
    rows = holdout("classification")
    wide, narrow = (compute_difference("f1", *rows, confidence=c) for c in (0.99, 0.9))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_seed_decides_the_bootstrap() -> None:
    rows = holdout("regression")
    one, same, other = (compute_difference("r2", *rows, resamples=50, seed=s) for s in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("dtype", [str, float, object], ids=["words", "floats", "objects"])
def test_groups_may_be_anything_and_may_be_missing(dtype: type) -> None:
    rows, groups = holdout("classification"), np.arange(500) % 100
    named: Array = groups.astype(dtype)
    if dtype is object:
        named[groups == 0] = None
    found = compute_difference("log_loss", *rows, groups=named)
    assert found.error == pytest.approx(compute_difference("log_loss", *rows, groups=groups).error)


def test_one_class_only_is_refused() -> None:
    _, champion, candidate = holdout("classification")
    with pytest.raises(UndefinedMetricError) as refusal:
        compute_difference("roc_auc", np.zeros(500, int), champion, candidate)
    assert (refusal.value.metric, refusal.value.rows) == ("roc_auc", 500)


def test_models_with_different_classes_are_refused() -> None:
    truth, champion, candidate = holdout("classification")
    wider = np.column_stack([candidate, np.zeros(500)])
    with pytest.raises(InvalidScoresError, match="a column for every class"):
        compute_difference("accuracy", truth, champion, wider)


def test_groups_and_slices_of_another_length_are_refused() -> None:
    rows = holdout("classification")
    with pytest.raises(InvalidScoresError, match="4 group names for 500 rows"):
        compute_difference("accuracy", *rows, groups=np.arange(4))
    with pytest.raises(InvalidScoresError, match="slice origin"):
        compare_slices("accuracy", *rows, {"origin": np.arange(4)})


@pytest.mark.parametrize("name", METRICS)
def test_one_models_interval_holds_its_value(name: str) -> None:
    truth, champion, _ = holdout(get_metric(name).task)
    found = compute_interval(name, truth, champion, cost=COSTS[2])
    assert found.low < found.value < found.high
    assert get_metric(name).bounded <= (found.low > 0 and found.high < 1)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "accuracy", "f1"])
def test_a_faultless_model_is_not_certain(name: str) -> None:
    truth = np.arange(200) % 2
    found = compute_interval(name, truth, np.eye(2)[truth])
    assert (found.value, found.high) == (1, 1)
    assert 0.9 < found.low < 0.995


@pytest.mark.parametrize(
    ("difference_", "low", "high", "word"),
    [
        (0.03, 0.01, 0.05, "better"),
        (0.0, -0.009, 0.009, "not worse"),
        (-0.005, -0.009, -0.001, "not worse"),
        (-0.03, -0.05, -0.01, "worse"),
        (-0.009, -0.015, -0.003, "inconclusive"),  # certainly worse, but by less than the margin
        (-0.03, -0.07, 0.01, "inconclusive"),
        (0.0, -0.02, 0.02, "inconclusive"),
    ],
)
def test_verdict_table(difference_: float, low: float, high: float, word: str) -> None:
    found = replace(FOUND, difference=difference_, low=low, high=high, low_with_margin=low + 0.01, margin=0.01)
    assert decide_verdict(found, ENOUGH) == word


def test_counts_know_the_rarest_class_and_the_groups() -> None:
    truth, scores = np.array([0, 0, 1, 1, 1]), np.full((5, 3), 1 / 3)
    assert compute_row_counts("accuracy", truth, scores[:, :2]).minority == 2
    assert compute_row_counts("accuracy", truth, scores).minority == 0  # nothing of the third class
    assert compute_row_counts("mae", truth, scores[:, 0], np.array(list("aabbc"))).clusters == 3


def test_margins_are_absolute_or_a_share_of_the_champion() -> None:
    assert compute_margin("roc_auc", 0.8) == 0.01
    assert compute_margin("rmse", 50.0) == pytest.approx(1.0)
    assert compute_margin("rmse", 50.0, 0.1) == pytest.approx(5.0)
    assert compute_margin("cost", -10.0) == pytest.approx(0.5)
    with pytest.raises(SettingError) as refusal:
        compute_margin("rmse", 50.0, -0.1)
    assert refusal.value.setting == "gate.margin"


def test_detectable_difference_is_what_a_z_test_finds() -> None:
    assert compute_detectable_difference(1.0) == pytest.approx(1.96 + 0.8416, abs=1e-3)
    assert compute_detectable_difference(0.5, 0.9, 0.95) == pytest.approx(1.645, abs=1e-3)
    assert is_margin_resolved(1.0, 1.82)
    assert not is_margin_resolved(1.0, 1.8)


def test_holm_corrects_step_by_step() -> None:
    assert adjust_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_p_values([0.5, 0.9]) == [1, 1]
    assert adjust_p_values([]) == []


def test_only_the_bad_slice_blocks() -> None:
    good, bad = holdout("classification", 4000), holdout("classification", 1000, loss=1.5, seed=2)
    rows = [np.concatenate(parts) for parts in zip(good, bad, strict=True)]
    where = np.append(np.array(["north", "south", "east", "west"] * 1000), ["island"] * 1000)
    found = compare_slices("roc_auc", rows[0], rows[1], rows[2], {"where": where})
    assert {one.value: one.blocks for one in found} == {
        "north": False,
        "south": False,
        "east": False,
        "west": False,
        "island": True,
    }


def test_slices_leave_out_what_is_too_small() -> None:
    rows = holdout("classification", 300)
    few = np.array(["few"] * 60 + [None] * 240, dtype=object)
    sizes = {
        name: [part.counts.rows for part in compare_slices(name, *rows, {"size": few})]
        for name in ("accuracy", "roc_auc")
    }
    assert sizes["accuracy"] == [60, 240]
    assert sizes["roc_auc"] == [240]  # about 30 of the 60 rows are of either class


def test_slices_of_very_few_clusters_are_left_out() -> None:
    rows = holdout("regression", 400)
    half = np.arange(400) < 200
    assert len(compare_slices("mae", *rows, {"half": half}, groups=np.arange(400) // 20)) == 2
    assert compare_slices("mae", *rows, {"half": half}, groups=np.arange(400) // 40) == []
