"""The predictions of champion and candidate on the same rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.params import Params
from modelyard.core.predictions import Predictions, encode_aligned
from modelyard.statistics.clusters import Clusters, build_clusters
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
    def of_selected(
        cls, params: Params, rows: pd.DataFrame, champion: Predictions, candidate: Predictions, selected: np.ndarray
    ) -> "PairedPredictions":
        """Pair the predictions of some of the rows; `selected` are booleans, one for each row."""
        kept = rows[selected].reset_index(drop=True)
        return cls.of(params, kept, champion.select_rows(selected), candidate.select_rows(selected))

    @classmethod
    def of(
        cls, params: Params, rows: pd.DataFrame, champion: Predictions, candidate: Predictions
    ) -> "PairedPredictions":
        """Pair the predictions of two models, with a column for every class that a model or the truth knows."""
        truth = rows[params.data.target]
        codes, (candidate_scores, champion_scores) = encode_aligned(truth, candidate, champion)
        return cls(params, rows, codes, champion_scores, candidate_scores)

    @cached_property
    def clusters(self) -> Clusters | None:
        """The rows that are not independent of each other, by group and by block in time; None where all are."""
        return build_clusters(self.params.data, self.rows)

    @property
    def options(self) -> dict[str, Any]:
        """The options of every comparison: clusters, costs and confidence."""
        return {
            "groups": self.clusters,
            "cost": self.params.evaluate.cost,
            "confidence": self.params.gate.confidence,
        }

    def compare_metric(self, metric: str) -> Difference:
        """Return the paired difference in one metric; `gate.margin` is that of the primary one."""
        margin = self.params.gate.margin if metric == self.params.evaluate.metric else None
        return compute_difference(metric, self.truth, self.champion, self.candidate, margin=margin, **self.options)

    def compute_widening(self, found: Difference) -> float:
        """Return how many times the error of a difference is that of rows which are independent of each other."""
        options = {**self.options, "groups": None}
        by_row = compute_difference(found.metric, self.truth, self.champion, self.candidate, **options)
        return found.error / by_row.error

    def compare_slices(self, labels: dict[str, np.ndarray]) -> list[SliceComparison]:
        """Return the paired difference in the primary metric for every slice; labels are one per row and column."""
        metric = self.params.evaluate.metric
        margin = self.params.gate.margin
        return compare_slices(metric, self.truth, self.champion, self.candidate, labels, margin, **self.options)

    def compute_metrics(self, scores: np.ndarray) -> dict[str, float]:
        """Return every metric of one model's scores that these rows define."""
        return compute_all_metrics(self.params.data.task, self.truth, scores, self.params.evaluate.cost)

    def count_rows(self) -> RowCounts:
        """Return the number of rows, of rows of the rarest class and of clusters."""
        return compute_row_counts(self.params.evaluate.metric, self.truth, self.candidate, self.clusters)
