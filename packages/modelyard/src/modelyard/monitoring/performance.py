"""TODO doc."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from modelyard.core.params import Params, parse_duration
from modelyard.core.predictions import Predictions, encode_classes, normalize_class_names, read_class_names
from modelyard.monitoring.signals import SEVERITY_BY_KIND, YEAR, Signal
from modelyard.monitoring.windows import ReferenceData, Window
from modelyard.statistics import drift
from modelyard.statistics.comparison import ConfidenceInterval, compute_margin, compute_row_counts, standard_error
from modelyard.statistics.drift import Array
from modelyard.statistics.metrics import get_metric


def encode_labelled_rows(ref: ReferenceData, frame: pd.DataFrame) -> tuple[Array, Array]:
    """Truth and scores of labelled rows as the metrics take them; truth that the model cannot say is left out."""
    classes = read_class_names(ref.predictions)
    predictions = Predictions.from_frame(frame).align_to(classes)
    if classes:
        codes = encode_classes(normalize_class_names(frame["truth"]), classes)
        truth = codes[codes >= 0]
        scores = np.asarray(predictions.probabilities)[codes >= 0]
        good = np.isfinite(scores).all(axis=1)
    else:
        truth = pd.to_numeric(frame["truth"], errors="coerce").to_numpy(dtype=float)
        scores = predictions.values.astype(float)
        good = np.isfinite(truth) & np.isfinite(scores)
    return truth[good], scores[good]


def measure_metric(params: Params, ref: ReferenceData, frame: pd.DataFrame) -> ConfidenceInterval | None:
    """The primary metric on rows with truth, or None where they are too few."""
    metric, least = get_metric(params.evaluate.metric), params.monitor.minimum
    if len(frame) < least:
        return None
    truth, scores = encode_labelled_rows(ref, frame)
    if len(truth) < least or not compute_row_counts(metric.name, truth, scores).is_sufficient:
        return None
    one = metric.compute_influence(truth, scores, params.evaluate.cost)
    error = standard_error(metric, truth, one)[0]  # Student's quantile would cost the import of SciPy
    return ConfidenceInterval(
        metric.name, one.value, one.value - 1.96 * error, one.value + 1.96 * error, error, "normal"
    )


def estimate_metric(params: Params, ref: ReferenceData, window: Window) -> ConfidenceInterval | None:
    """The metric if each score still meant what it meant on the holdout: this sees other rows, not another world."""
    if len(window.sample) < params.monitor.minimum:
        return None
    reference = Predictions.from_frame(ref.predictions)
    current = Predictions.from_frame(window.sample).align_to(reference.classes, missing=np.nan)
    rows = drift.reweight_to_scores(reference.compute_scores(), current.compute_scores())
    return measure_metric(params, ref, ref.predictions.iloc[rows])


def performance_drop(
    params: Params, kind: str, base: ConfidenceInterval, found: Sequence[ConfidenceInterval | None]
) -> Signal:
    """How much worse than on the holdout the metric is, in each window that has it."""
    rules, metric = params.monitor, get_metric(params.evaluate.metric)
    margin, sign = compute_margin(metric.name, base.value, rules.margin), 1 if metric.higher_is_better else -1
    year, rate = YEAR / parse_duration(rules.window), rules.false_alarms / 2
    limits = [
        max(margin, drift.compute_loss_limit(base.error, one.error, year, *rules.persist, rate)) if one else None
        for one in found
    ]
    signal = Signal(kind, metric.name, [sign * (base.value - one.value) if one else None for one in found], limits)
    signal.shown = [[one.value, one.low, one.high] if one else None for one in found]
    signal.base = base.value
    return signal.settle(SEVERITY_BY_KIND[kind], *rules.persist)


def model_performance(params: Params, ref: ReferenceData, windows: Sequence[Window]) -> list[Signal]:
    """The loss since the holdout: measured where labels have come, estimated elsewhere."""
    if not (base := measure_metric(params, ref, ref.predictions)):
        return []
    told = [measure_metric(params, ref, w.labelled) for w in windows]
    guessed = [None if one else estimate_metric(params, ref, w) for w, one in zip(windows, told, strict=True)]
    return [performance_drop(params, "performance", base, told), performance_drop(params, "estimate", base, guessed)]
