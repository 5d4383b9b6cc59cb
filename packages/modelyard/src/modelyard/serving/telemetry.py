"""The service's metrics for Prometheus."""

from collections.abc import Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCORE_DISTANCE_BUCKETS = (1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.5, 1)


class ServiceMetrics:
    """Requests, their latency and errors, rows, the distribution of the scores, and the shadow's differences.

    Parameters
    ----------
    quantiles
        The buckets of the scores, in ascending order.
    """

    def __init__(self, quantiles: Sequence[float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self.make_counter("requests", "Requests by path and status", "path", "status")
        self.errors = self.make_counter("errors", "Requests refused or failed, by status", "kind")
        self.rows = self.make_counter("rows", "Rows answered")
        self.flags = self.make_counter("flagged_values", "Values outside schema.yaml", "column")
        self.lost_lines = self.make_counter("log_lines_lost", "Lines that a log could not take")
        self.pandas_fallbacks = self.make_counter("pandas_fallbacks", "Batches that the light table could not take")
        self.shadow = self.make_counter("shadow_rows", "Mirrored rows by outcome", "outcome")
        self.seconds = self.make_histogram("request_seconds", "Time to answer", LATENCY_BUCKETS_SECONDS, "path")
        score_buckets = quantiles if len(quantiles) > 1 else (0.5,)
        self.scores = self.make_histogram("score", "Probability of the last class, or the number", score_buckets)
        self.distance = self.make_histogram("shadow_distance", "Shadow's score from ours", SCORE_DISTANCE_BUCKETS)
        self.request_metrics = cache(self.find_request_metrics)

    def make_counter(self, name: str, description: str, *labels: str) -> Counter:
        """Return a new counter."""
        return Counter(name, description, labels, registry=self.registry)

    def make_histogram(self, name: str, description: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """Return a new histogram."""
        return Histogram(name, description, labels, registry=self.registry, buckets=buckets)

    def find_request_metrics(self, path: str, status: int) -> tuple[Counter, Histogram]:
        """Return the counter and the latencies of one path and status; `request_metrics` is its cached form."""
        return self.requests.labels(path, status), self.seconds.labels(path)
