"""TODO doc."""

from collections.abc import Sequence

import numpy as np

from modelyard.core.params import MonitorParams
from modelyard.monitoring.signals import Signal, WindowValues, threshold_check
from modelyard.monitoring.windows import Window


def traffic_drop(rules: MonitorParams, windows: Sequence[Window]) -> Signal:
    """Which share of the usual number of predictions is lacking."""
    rows, values = [w.rows for w in windows], WindowValues()
    for i, now in enumerate(rows):
        before = [n for n in rows[:i] if n]
        values.append(1 - now / float(np.median(before)) if len(before) > 1 else None)
    sentence = f"{rows[-1]:,} predictions in the last window, {values[-1] or 0:.0%} fewer than usual"
    return threshold_check(
        "traffic", "predictions", values, rules.volume, "notice" if rows[-1] else "critical", sentence
    )


def service_health(rules: MonitorParams, text: str) -> list[Signal]:
    """What a service's /metrics say since its start: failed requests, the slowest answers, lost log lines."""
    from prometheus_client.parser import text_string_to_metric_families

    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    status = [(s.labels["status"], s.value) for s in samples if s.name == "requests_total"]
    failed = sum(n for code, n in status if code[:1] == "5") / max(sum(n for _, n in status), 1)
    buckets = [s for s in samples if s.name == "request_seconds_bucket" and s.labels["path"] == "/predict"]
    asked = max((s.value for s in buckets), default=0.0)
    slow = 1000 * min((float(s.labels["le"]) for s in buckets if s.value >= 0.99 * asked), default=0.0)
    lost = sum(s.value for s in samples if s.name == "log_lines_lost_total")
    return [
        threshold_check(
            "service", "errors", [failed], rules.errors, "critical", f"{failed:.1%} of the requests failed"
        ),
        threshold_check("service", "p99 in ms", [slow], rules.milliseconds, "warning", f"p99 is {slow:g} ms or more"),
        threshold_check(
            "service", "lost log lines", [lost], 0.0, "notice", f"{lost:,.0f} log lines are lost to monitoring"
        ),
    ]
