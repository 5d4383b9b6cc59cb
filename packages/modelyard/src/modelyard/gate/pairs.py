"""The predictions of champion and candidate on the same rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.params import Params
from modelyard.core.predictions import Predictions, encode_aligned
from modelyard.statistics.comparison import (
    Difference,
    SliceComparison,
    compare_slices,
    compute_difference,
    compute_row_counts,
)
from modelyard.statistics.metrics import compute_all_metrics
from modelyard.statistics.paired_scores import RowCounts


@dataclass(frozen=True)
class PairedPredictions:
    """The truth and the scores of both models on the same n rows, in one order.

    Parameters
    ----------
    params
        The parameters whose metric and rules apply.
    rows
        The raw rows.
    truth
        Class codes or numbers, shape (n,).
    champion, candidate
        Probabilities, shape (n, k), or numbers, shape (n,).
    """

    params: Params
    rows: pd.DataFrame
    truth: np.ndarray
    champion: np.ndarray
    candidate: np.ndarray

    @classmethod
    def of(
        cls, params: Params, rows: pd.DataFrame, champion: Predictions, candidate: Predictions
    ) -> "PairedPredictions":
        """Pair the predictions of two models, with a column for every class that a model or the truth knows."""
        truth = rows[params.data.target]
        codes, (candidate_scores, champion_scores) = encode_aligned(truth, candidate, champion)
        return cls(params, rows, codes, champion_scores, candidate_scores)

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each row, shape (n,); None where params.yaml names no group."""
        column = self.params.data.group
        return self.rows[column].to_numpy() if column else None

    @property
    def options(self) -> dict[str, Any]:
        """The options of every comparison: groups, costs and confidence."""
        return {
            "groups": self.groups,
            "cost": self.params.evaluate.cost,
            "confidence": self.params.gate.confidence,
        }

    def compare_metric(self, metric: str) -> Difference:
        """Return the paired difference in one metric."""
        return compute_difference(metric, self.truth, self.champion, self.candidate, **self.options)

    def compare_slices(self, labels: dict[str, np.ndarray]) -> list[SliceComparison]:
        """Return the paired difference in the primary metric for every slice; labels are one per row and column."""
        metric = self.params.evaluate.metric
        margin = self.params.gate.margin
        return compare_slices(metric, self.truth, self.champion, self.candidate, labels, margin, **self.options)

    def compute_metrics(self, scores: np.ndarray) -> dict[str, float]:
        """Return every metric of one model's scores that these rows define."""
        return compute_all_metrics(self.params.data.task, self.truth, scores, self.params.evaluate.cost)

    def count_rows(self) -> RowCounts:
        """Return the number of rows, of rows of the rarest class and of groups."""
        return compute_row_counts(self.params.evaluate.metric, self.truth, self.candidate, self.groups)
