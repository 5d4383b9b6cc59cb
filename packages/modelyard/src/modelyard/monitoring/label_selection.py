"""Whether labels came at random: where those of one class come first, a metric can fall although no model got worse."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from modelyard.core.params import Params
from modelyard.core.predictions import Predictions
from modelyard.monitoring.signals import Signal, WindowValues, threshold_check
from modelyard.monitoring.windows import Window
from modelyard.statistics.drift import Array

SELECTION_CHANCE = 0.01  # that labels which came at random are taken for selected ones
ENOUGH_LABELS = 0.95  # of a window's rows: what the others could change is small
SIGN_OF_SELECTION = 1.0  # standard errors that are enough in a window, where all windows together show a selection


def compute_rank_difference(scores: Array, is_labelled: Array) -> float:
    """Return by how many standard errors the ranks of labelled rows are above those of the others.

    Parameters
    ----------
    scores, is_labelled
        The score of each row, and whether it is labelled; shape (n,). Rows without a finite score are left out.

    Notes
    -----
    This is the rank sum test of Wilcoxon (1945), with the variance over all permutations, which counts ties.
    """
    is_known = np.isfinite(scores)
    is_labelled = is_labelled[is_known]
    ranks = pd.Series(scores[is_known]).rank().to_numpy()
    labelled = int(is_labelled.sum())
    rest = len(ranks) - labelled
    if not labelled or not rest or np.ptp(ranks) == 0:
        return 0.0
    variance = labelled * rest / len(ranks) * ranks.var(ddof=1)
    return float((ranks[is_labelled].sum() - labelled * ranks.mean()) / np.sqrt(variance))


def get_score_columns(window: Window) -> pd.DataFrame:
    """Return the scores of a window's sample: the probability of each class, of the second of two, or the number."""
    predictions = Predictions.from_frame(window.sample)
    if predictions.probabilities is None:
        return pd.DataFrame({"prediction": predictions.values.astype(float)})
    scores = pd.DataFrame(predictions.probabilities, columns=[f"p_{name}" for name in predictions.classes])
    return scores.iloc[:, 1:] if len(predictions.classes) == 2 else scores


def compare_labelled_to_rest(window: Window, minimum: int) -> pd.Series | None:
    """Return for each score by how many standard errors labelled rows are above the others.

    None where so few are labelled that the window is not judged, or so many that the others do not matter.
    """
    if window.is_labelled.sum() < minimum or window.is_labelled.mean() >= ENOUGH_LABELS:
        return None
    return get_score_columns(window).apply(
        lambda scores: compute_rank_difference(scores.to_numpy(), window.is_labelled)
    )


def compute_excess(differences: pd.DataFrame) -> pd.Series:
    """Return for each window how far its labels are from those that came at random; above 1 they did not.

    Parameters
    ----------
    differences
        What `compare_labelled_to_rest` returns, a row for each window, a column for each score.

    Notes
    -----
    A window is judged by its largest difference. Labels come in the same way in all windows, so all together show a
    selection of which a window of few rows shows no more than a sign (Stouffer 1949: the sum over the root of the
    number).
    """
    limit = NormalDist().inv_cdf(1 - SELECTION_CHANCE / 2 / differences.shape[1])
    excess = differences.abs().max(axis=1) / limit
    together = differences.sum() / len(differences) ** 0.5
    column = together.abs().idxmax()
    if abs(together[column]) <= limit:
        return excess
    return np.maximum(excess, differences[column] * np.sign(together[column]) / SIGN_OF_SELECTION)


def label_selection(params: Params, windows: Sequence[Window]) -> Signal:
    """Return a notice where the latest labels did not come at random; its values are those of `compute_excess`.

    The performance of a window above the limit of 1 is not judged.
    """
    found = [compare_labelled_to_rest(window, params.monitor.minimum) for window in windows]
    known = {number: one for number, one in enumerate(found) if one is not None}
    values: WindowValues = [None] * len(windows)
    sentence = ""
    if known:
        for number, excess in compute_excess(pd.DataFrame(known).T).items():
            values[int(str(number))] = float(excess)
        latest = max(known)
        sentence = describe_selection(params.evaluate.metric, windows[latest], str(known[latest].abs().idxmax()))
    return threshold_check("labels", "labelled rows", values, 1.0, "notice", sentence)


def describe_selection(metric: str, window: Window, column: str) -> str:
    """Return a sentence that says how many labels have come, how one score differs, and that nothing is judged."""
    scores = get_score_columns(window)[column]
    with_label, without_label = (scores[rows].mean() for rows in (window.is_labelled, ~window.is_labelled))
    return (
        f"labels have come for {window.is_labelled.mean():.0%} of the rows from {window.start:%Y-%m-%d} on, and not at "
        f"random: the mean {column} is {with_label:.3f} with a label and {without_label:.3f} without; "
        f"{metric} is not judged there until the other labels come"
    )
