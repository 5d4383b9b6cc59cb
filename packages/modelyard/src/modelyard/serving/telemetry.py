"""TODO doc."""

from collections.abc import Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCORE_DISTANCE_BUCKETS = (1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.5, 1)


class ServiceMetrics:
    """Latency, rows, errors by kind, the distribution of the answers, and what a shadow said."""

    def __init__(self, quantiles: Sequence[float]) -> None:
        self.registry = one = CollectorRegistry()
        ProcessCollector(registry=one)
        self.requests = Counter("requests", "Requests by path and status", ["path", "status"], registry=one)
        self.seconds = Histogram(
            "request_seconds", "Time to answer", ["path"], buckets=LATENCY_BUCKETS_SECONDS, registry=one
        )
        self.errors = Counter("errors", "Requests refused or failed, by status", ["kind"], registry=one)
        self.rows = Counter("rows", "Rows answered", registry=one)
        self.flags = Counter("flagged_values", "Values outside schema.yaml", ["column"], registry=one)
        self.lost = Counter("log_lines_lost", "Lines that a log could not take", registry=one)
        self.shadow = Counter("shadow_rows", "Mirrored rows by outcome", ["outcome"], registry=one)
        buckets = quantiles if len(quantiles) > 1 else (0.5,)
        self.scores = Histogram("score", "Probability of the last class, or the number", buckets=buckets, registry=one)
        self.distance = Histogram(
            "shadow_distance", "Shadow's score from ours", buckets=SCORE_DISTANCE_BUCKETS, registry=one
        )
        self.of = cache(lambda path, status: (self.requests.labels(path, status), self.seconds.labels(path)))
