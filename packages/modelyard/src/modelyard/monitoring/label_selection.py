"""Whether labels came at random: where those of one class come first, a metric can fall although no model got worse."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from modelyard.core.params import Params
from modelyard.core.predictions import Predictions
from modelyard.monitoring.signals import Signal, threshold_check
from modelyard.monitoring.windows import Window
from modelyard.statistics.drift import Array

SELECTION_CHANCE = 0.01  # that labels which came at random are taken for selected ones, in one window


@dataclass(frozen=True)
class LabelSelection:
    """How the scores of a window's labelled rows differ from those of the rows that wait for their label.

    Parameters
    ----------
    excess
        How many standard errors the scores differ by, divided by what chance exceeds in 1 % of windows: above 1, the
        labels did not come at random.
    share
        The share of the rows that are labelled.
    column
        The score that differs most: `p_<class>`, or `prediction` of a regression.
    with_label, without_label
        The mean of that score.
    """

    excess: float
    share: float
    column: str
    with_label: float
    without_label: float


def compute_rank_difference(scores: Array, is_labelled: Array) -> float:
    """Return by how many standard errors the ranks of labelled rows differ from those of the others.

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
    return float(abs(ranks[is_labelled].sum() - labelled * ranks.mean()) / np.sqrt(variance))


def compare_labelled_to_rest(window: Window, minimum: int) -> LabelSelection | None:
    """Return how the scores of labelled rows differ from the others'; None where either are too few to tell.

    Parameters
    ----------
    window
        The window.
    minimum
        The fewest labelled rows.
    """
    is_labelled = window.is_labelled
    if is_labelled.sum() < minimum or is_labelled.all():
        return None
    predictions = Predictions.from_frame(window.sample)
    if predictions.probabilities is None:
        scores = {"prediction": predictions.values.astype(float)}
    else:
        columns = [f"p_{name}" for name in predictions.classes]
        scores = dict(zip(columns, predictions.probabilities.T, strict=True))
        if len(columns) == 2:
            del scores[columns[0]]  # the two add up to 1
    found = {column: compute_rank_difference(values, is_labelled) for column, values in scores.items()}
    column = max(found, key=lambda name: found[name])
    limit = NormalDist().inv_cdf(1 - SELECTION_CHANCE / 2 / len(found))
    means = [float(np.nanmean(scores[column][rows])) for rows in (is_labelled, ~is_labelled)]
    return LabelSelection(found[column] / limit, float(is_labelled.mean()), column, *means)


def label_selection(params: Params, windows: Sequence[Window]) -> Signal:
    """Return a notice where the latest labels did not come at random; see `LabelSelection.excess`.

    The performance of a window above the limit is not judged.
    """
    found = [compare_labelled_to_rest(window, params.monitor.minimum) for window in windows]
    values = [one.excess if one else None for one in found]
    known = [(window, one) for window, one in zip(windows, found, strict=True) if one]
    sentence = describe_selection(params.evaluate.metric, *known[-1]) if known else ""
    return threshold_check("labels", "labelled rows", values, 1.0, "notice", sentence)


def describe_selection(metric: str, window: Window, found: LabelSelection) -> str:
    """Return a sentence that says which labels have come, and that the metric is not judged."""
    return (
        f"labels have come for {found.share:.0%} of the rows from {window.start:%Y-%m-%d} on, and not at random: "
        f"the mean {found.column} is {found.with_label:.3f} with a label and {found.without_label:.3f} without; "
        f"{metric} is not judged there until the other labels come"
    )
