"""TODO doc."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from modelyard.core.params import Params, span
from modelyard.core.predictions import encode, names, score
from modelyard.monitoring.signals import GRAVE, YEAR, Signal
from modelyard.monitoring.windows import Reference, Window
from modelyard.statistics import drift
from modelyard.statistics.comparison import Interval, count, margin_of, spread
from modelyard.statistics.drift import Array
from modelyard.statistics.metrics import find


def codes(ref: Reference, frame: pd.DataFrame) -> tuple[Array, Array]:
    """Truth and scores of labelled rows as the metrics take them; truth that the model cannot say is left out."""
    classes = [str(column).removeprefix("p_") for column in ref.predictions if str(column).startswith("p_")]
    if classes:
        said = names(frame["truth"])
        truth, scores = encode(said[said.isin(classes)], frame[said.isin(classes)], classes)
        good = np.isfinite(scores).all(axis=1)
    else:
        truth, scores = encode(pd.to_numeric(frame["truth"], errors="coerce"), frame[["prediction"]])
        good = np.isfinite(truth) & np.isfinite(scores)
    return truth[good], scores[good]


def measured(params: Params, ref: Reference, frame: pd.DataFrame) -> Interval | None:
    """The primary metric on rows with truth, or None where they are too few."""
    metric, least = find(params.evaluate.metric), params.monitor.minimum
    if len(frame) < least:
        return None
    truth, scores = codes(ref, frame)
    if len(truth) < least or not count(metric.name, truth, scores).enough:
        return None
    one = metric.influence(truth, scores, params.evaluate.cost)
    error = spread(metric, truth, one)[0]  # Student's quantile would cost the import of SciPy
    return Interval(metric.name, one.value, one.value - 1.96 * error, one.value + 1.96 * error, error, "normal")


def estimate(params: Params, ref: Reference, window: Window) -> Interval | None:
    """The metric if each score still meant what it meant on the holdout: this sees other rows, not another world."""
    if len(window.sample) < params.monitor.minimum:
        return None
    rows = drift.like(score(ref.predictions, ref.predictions), score(window.sample, ref.predictions))
    return measured(params, ref, ref.predictions.iloc[rows])


def of_loss(params: Params, kind: str, base: Interval, found: Sequence[Interval | None]) -> Signal:
    """How much worse than on the holdout the metric is, in each window that has it."""
    rules, metric = params.monitor, find(params.evaluate.metric)
    margin, sign = margin_of(metric.name, base.value, rules.margin), 1 if metric.higher_is_better else -1
    year, rate = YEAR / span(rules.window), rules.false_alarms / 2
    limits = [
        max(margin, drift.loss_limit(base.error, one.error, year, *rules.persist, rate)) if one else None
        for one in found
    ]
    signal = Signal(kind, metric.name, [sign * (base.value - one.value) if one else None for one in found], limits)
    signal.shown = [[one.value, one.low, one.high] if one else None for one in found]
    signal.base = base.value
    return signal.settle(GRAVE[kind], *rules.persist)


def of_performance(params: Params, ref: Reference, windows: Sequence[Window]) -> list[Signal]:
    """The loss since the holdout: measured where labels have come, estimated elsewhere."""
    if not (base := measured(params, ref, ref.predictions)):
        return []
    told = [measured(params, ref, w.labelled) for w in windows]
    guessed = [None if one else estimate(params, ref, w) for w, one in zip(windows, told, strict=True)]
    return [of_loss(params, "performance", base, told), of_loss(params, "estimate", base, guessed)]
