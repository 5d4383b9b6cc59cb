"""Send copies of answered requests to a shadow, a second model whose predictions are only compared and logged."""

import http.client
import queue
import threading
from datetime import UTC, datetime

import msgspec

from modelyard.serving.prediction_log import PREDICTION_DECODER, LogWriter, PredictionRecord
from modelyard.serving.telemetry import ServiceMetrics

MAX_QUEUED_REQUESTS = 1000
TIMEOUT_SECONDS = 1.0


class ShadowMirror:
    """A bounded queue of requests, and a thread that sends them to the shadow.

    Parameters
    ----------
    address
        The shadow's host:port; empty for none.
    log
        The log of the comparisons.
    metrics
        The service's metrics; they count what is lost or fails.
    """

    def __init__(self, address: str, log: LogWriter, metrics: ServiceMetrics) -> None:
        self.address = address
        self.log = log
        self.metrics = metrics
        self.queue: queue.Queue[tuple[bytes, list[PredictionRecord], bytes]] = queue.Queue(MAX_QUEUED_REQUESTS)
        if address:
            threading.Thread(target=self.forward_requests, name="shadow", daemon=True).start()

    def send(self, body: bytes, records: list[PredictionRecord], authorization: bytes = b"") -> None:
        """Queue a request with our own predictions; without a shadow, or with a full queue, it counts as lost."""
        if self.address and not self.queue.full():
            self.queue.put_nowait((body, records, authorization))
        else:
            self.metrics.shadow.labels("lost").inc(len(records))

    def forward_requests(self) -> None:
        """Send queued requests to the shadow, one after the other, forever; failures are counted."""
        connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT_SECONDS)
        while True:
            body, records, authorization = self.queue.get()
            headers = {
                "Content-Type": "application/json",
                "X-Shadow": "1",
                "Authorization": authorization.decode("latin-1"),
            }
            try:
                connection.request("POST", "/predict", body, headers)
                theirs = PREDICTION_DECODER.decode(connection.getresponse().read())
                self.compare(records, theirs if isinstance(theirs, list) else [theirs])
            except (OSError, http.client.HTTPException, msgspec.MsgspecError, ValueError, TypeError):
                connection.close()
                self.metrics.shadow.labels("failed").inc(len(records))

    def compare(self, ours: list[PredictionRecord], theirs: list[PredictionRecord]) -> None:
        """Count and log how far the shadow's predictions are from ours."""
        now = datetime.now(UTC)
        for our, their in zip(ours, theirs, strict=True):
            self.metrics.distance.observe(abs(our.score - their.score))
            changed = our.probabilities and our.prediction != their.prediction
            self.metrics.shadow.labels("changed" if changed else "answered").inc()
            self.log.append(
                {
                    "id": our.id,
                    "time": now,
                    "model": our.model,
                    "shadow": their.model,
                    "prediction": our.prediction,
                    "shadow_prediction": their.prediction,
                    "score": our.score,
                    "shadow_score": their.score,
                }
            )
