"""TODO doc."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.params import Params
from modelyard.core.predictions import encode_predictions, list_class_names
from modelyard.statistics.comparison import Difference, RowCounts, compute_difference, compute_row_counts
from modelyard.statistics.metrics import compute_all_metrics


@dataclass(frozen=True)
class PairedPredictions:
    """What is compared: truth, the scores of both models, and the rows, all in one order."""

    params: Params
    rows: pd.DataFrame
    truth: np.ndarray
    champion: np.ndarray
    candidate: np.ndarray

    @classmethod
    def of(
        cls, params: Params, rows: pd.DataFrame, champion: pd.DataFrame, candidate: pd.DataFrame
    ) -> "PairedPredictions":
        """What two models say of the same rows, with a column for every class that one of them or the truth knows."""
        truth = rows[params.data.target]
        classes = list_class_names(truth, candidate, champion)
        (codes, old), (_, new) = (encode_predictions(truth, said, classes) for said in (champion, candidate))
        return cls(params, rows, codes, old, new)

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each row, where the project names one."""
        name = self.params.data.group
        return self.rows[name].to_numpy() if name else None

    def apply_comparison(self, judge: Callable[..., Any], metric: str, *more: Any) -> Any:
        """What a comparison of `compare` finds in a metric, by the rules of params.yaml."""
        cost, confidence = self.params.evaluate.cost, self.params.gate.confidence
        options = {"groups": self.groups, "cost": cost, "confidence": confidence}
        return judge(metric, self.truth, self.champion, self.candidate, *more, **options)

    def compare_metric(self, metric: str) -> Difference:
        """The paired difference in one metric."""
        return self.apply_comparison(compute_difference, metric)

    def metrics(self, scores: np.ndarray) -> dict[str, float]:
        """Every metric of a side's scores that these rows define."""
        return compute_all_metrics(self.params.data.task, self.truth, scores, self.params.evaluate.cost)

    def size(self) -> RowCounts:
        """How many rows, rows of the rarest class and groups are compared."""
        return compute_row_counts(self.params.evaluate.metric, self.truth, self.candidate, self.groups)
