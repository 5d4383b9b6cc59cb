"""Signals about the service itself: its traffic, its errors and its latency."""

from collections.abc import Sequence

import numpy as np

from modelyard.core.histogram import compute_p99
from modelyard.core.params import MonitorParams
from modelyard.monitoring.signals import Signal, WindowValues, threshold_check
from modelyard.monitoring.windows import Window


def traffic_drop(rules: MonitorParams, windows: Sequence[Window]) -> Signal:
    """Return the share of the usual number of predictions that is missing in each window.

    Usual is the median of the earlier windows that had predictions; a window with fewer than two of them is not judged.
    """
    rows = [window.rows for window in windows]
    values: WindowValues = []
    for number, current in enumerate(rows):
        earlier = [count for count in rows[:number] if count]
        values.append(1 - current / float(np.median(earlier)) if len(earlier) > 1 else None)
    sentence = f"{rows[-1]:,} predictions in the last window, {values[-1] or 0:.0%} fewer than usual"
    state = "notice" if rows[-1] else "critical"
    return threshold_check("traffic", "predictions", values, rules.volume, state, sentence)


def service_health(rules: MonitorParams, metrics: str) -> list[Signal]:
    """Return the share of failed requests, the p99 latency and the lost log lines since the service started.

    Parameters
    ----------
    rules
        The thresholds.
    metrics
        The text of the service's /metrics, in Prometheus' format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    requests = [sample for sample in samples if sample.name == "requests_total"]
    failed = sum(sample.value for sample in requests if sample.labels["status"].startswith("5"))
    error_share = failed / max(sum(sample.value for sample in requests), 1)
    latency = [sample for sample in samples if sample.name == "request_seconds_bucket"]
    buckets = [(float(one.labels["le"]), one.value) for one in latency if one.labels["path"] == "/predict"]
    p99 = 1000 * compute_p99(buckets)
    lost = sum(sample.value for sample in samples if sample.name == "log_lines_lost_total")
    p99_sentence = f"the p99 latency is up to {p99:g} ms"
    lost_sentence = f"{lost:,.0f} log lines are lost to monitoring"
    error_sentence = f"{error_share:.1%} of the requests failed"
    return [
        threshold_check("service", "errors", [error_share], rules.errors, "critical", error_sentence),
        threshold_check("service", "p99 in ms", [p99], rules.milliseconds, "warning", p99_sentence),
        threshold_check("service", "lost log lines", [lost], 0.0, "notice", lost_sentence),
    ]
