import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.params import Params
from modelyard.monitoring.label_selection import (
    compare_labelled_to_rest,
    compute_excess,
    compute_rank_difference,
    label_selection,
)
from modelyard.monitoring.performance import model_performance
from modelyard.monitoring.windows import Window
from tests.library.monitoring.examples import MONDAY, REFERENCE, make_predictions, make_rows
from tests.library.statistics.test_drift import RNG


def make_partly_labelled_window(positives: float, negatives: float, seed: int = 1, rows: int = 3000) -> Window:
    """Return a window in which labels have come for a share of the positive and of the negative rows."""
    predictions = make_predictions(rows, seed)
    share = np.where(predictions["truth"] == 1, positives, negatives)
    is_labelled = np.random.default_rng(seed).random(rows) < share
    raw = make_rows(rows, seed)
    sample = predictions.drop(columns="truth")
    return Window(MONDAY, rows, sample, predictions[is_labelled], raw, {}, is_labelled)


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc"])
def test_labels_of_positives_first_are_a_notice_and_no_loss(small: Params, metric: str) -> None:
    params = replace(small, evaluate=replace(small.evaluate, metric=metric))
    windows = [make_partly_labelled_window(1.0, 0.3, seed) for seed in (1, 2)]
    measured, estimated, selection = model_performance(params, REFERENCE, windows)
    assert (measured.state, estimated.state, selection.state) == ("unjudged", "ok", "notice")
    assert "not at random: the mean p_1 is" in selection.sentence


def test_labels_of_positives_first_would_look_like_a_loss(small: Params) -> None:
    params = replace(small, evaluate=replace(small.evaluate, metric="log_loss"))
    windows = [make_partly_labelled_window(1.0, 0.3, seed) for seed in (1, 2)]
    hidden = [replace_labelled(window) for window in windows]
    assert model_performance(params, REFERENCE, hidden)[0].state == "critical"


def replace_labelled(window: Window) -> Window:
    """Return a window that does not know which of its rows are labelled."""
    everything = np.ones(len(window.sample), dtype=bool)
    return Window(window.start, window.rows, window.sample, window.labelled, window.raw, {}, everything)


def test_labels_at_random_are_judged(small: Params) -> None:
    windows = [make_partly_labelled_window(0.4, 0.4, seed) for seed in (1, 2)]
    measured, _, selection = model_performance(small, REFERENCE, windows)
    assert (measured.state, selection.state) == ("ok", "ok")


def test_labels_that_are_complete_are_judged_once_they_are_there(small: Params) -> None:
    windows = [make_partly_labelled_window(1.0, 1.0, 1), make_partly_labelled_window(1.0, 0.3, 2)]
    measured, _, _ = model_performance(small, REFERENCE, windows)
    assert [value is None for value in measured.values] == [False, True]


def test_label_selection_names_the_share_and_the_window(small: Params) -> None:
    sentence = label_selection(small, [make_partly_labelled_window(1.0, 0.0)]).sentence
    assert sentence.startswith("labels have come for 3")
    assert "from 2024-06-03 on" in sentence


@pytest.mark.parametrize(("positives", "negatives"), [(0.0, 0.0), (0.05, 0.01), (1.0, 0.96), (1.0, 1.0)])
def test_compare_labelled_to_rest_nothing_to_compare_is_none(positives: float, negatives: float) -> None:
    assert compare_labelled_to_rest(make_partly_labelled_window(positives, negatives), 200) is None


def test_compute_excess_takes_random_labels_for_selected_ones_in_one_percent() -> None:
    differences = pd.DataFrame({"p_1": RNG.normal(size=20_000)})
    found = pd.concat([compute_excess(differences.iloc[[row]]) for row in range(5000)])
    assert (found > 1).mean() == pytest.approx(0.01, abs=0.005)
    together = [compute_excess(differences.iloc[row : row + 4]).max() > 1 for row in range(0, 20_000, 4)]
    assert np.mean(together) == pytest.approx(0.05, abs=0.02)


def test_compute_excess_all_windows_show_what_one_cannot() -> None:
    differences = pd.DataFrame({"p_1": [2.0, 2.0, 2.0, 0.5]})
    assert (compute_excess(differences.iloc[[0]]) > 1).tolist() == [False]
    assert (compute_excess(differences) > 1).tolist() == [True, True, True, False]


def find_first(window: Window) -> tuple[str, float]:
    """Return the score that differs most, and by how many standard errors."""
    found = compare_labelled_to_rest(window, 200)
    assert found is not None
    return str(found.abs().idxmax()), float(found.abs().max())


def test_compare_labelled_to_rest_any_class_first_is_seen() -> None:
    truth = RNG.integers(0, 3, 3000)
    probabilities = RNG.dirichlet(np.ones(3), 3000) + 0.3 * np.eye(3)[truth]
    sample = pd.DataFrame(probabilities / probabilities.sum(axis=1, keepdims=True), columns=["p_a", "p_b", "p_c"])
    sample["prediction"] = sample.idxmax(axis=1).str[2:]
    window = Window(MONDAY, 3000, sample, sample, sample, {}, (truth == 1) | (RNG.random(3000) < 0.5))
    column, difference = find_first(window)
    assert column == "p_b"
    assert difference > 4


def test_compare_labelled_to_rest_large_numbers_first_are_seen() -> None:
    sample = pd.DataFrame({"prediction": RNG.normal(size=3000)})
    is_labelled = RNG.random(3000) < 0.3 + 0.2 * (sample["prediction"] > 0).to_numpy()
    assert find_first(Window(MONDAY, 3000, sample, sample, sample, {}, is_labelled))[1] > 4


def test_compute_rank_difference_counts_ties_and_leaves_gaps_out() -> None:
    scores = np.array([0.0, 0.0, 1.0, 1.0, np.nan, np.inf])
    is_labelled = np.array([False, False, True, True, True, False])
    assert compute_rank_difference(scores, is_labelled) == pytest.approx(3**0.5)
    assert compute_rank_difference(scores, ~is_labelled) == pytest.approx(-(3**0.5))
    assert compute_rank_difference(np.zeros(4), np.array([True, False, True, False])) == 0
