"""Metrics of your own: listed in metrics.json, the gate and the report; one may be `evaluate.metric` in params.yaml.

Each takes truth and scores: class codes (n,) and probabilities (n, classes), or numbers (n,) and (n,). A mean over rows
gets its interval from a formula, any other metric from the bootstrap. `margin` is the loss that does not matter.

    mean_metric("sure_and_wrong", lambda truth, scores: (scores[:, 1] > 0.8) & (truth == 0), False, margin=0.01)
    Metric("worst_tenth", "regression", False, 1.0, value_function=worst_tenth)  # takes truth and scores
"""

from collections.abc import Sequence

from modelyard import Metric, defaults

METRICS: Sequence[Metric] = defaults.METRICS
