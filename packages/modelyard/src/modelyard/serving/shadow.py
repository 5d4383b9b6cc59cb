"""TODO doc."""

import http.client
import queue
import threading
from datetime import UTC, datetime

import msgspec

from modelyard.serving.prediction_log import PREDICTION_DECODER, LogWriter, Reading
from modelyard.serving.telemetry import ServiceMetrics

MAX_QUEUED_REQUESTS = 1000  # requests that may wait for the shadow
TIMEOUT_SECONDS = 1.0  # seconds that the shadow may take


class ShadowMirror:
    """A bounded queue of copies of answered requests, and a thread that asks the shadow, compares and logs."""

    def __init__(self, address: str, log: LogWriter, counters: ServiceMetrics) -> None:
        self.address, self.log, self.counters = address, log, counters
        self.waiting: queue.Queue[tuple[bytes, list[Reading], bytes]] = queue.Queue(MAX_QUEUED_REQUESTS)
        if address:
            threading.Thread(target=self.run, name="shadow", daemon=True).start()

    def send(self, body: bytes, readings: list[Reading], key: bytes = b"") -> None:
        """Queue a copy; where the queue is full, or there is no shadow, it is counted as lost."""
        if self.address and not self.waiting.full():
            self.waiting.put_nowait((body, readings, key))
        else:
            self.counters.shadow.labels("lost").inc(len(readings))

    def run(self) -> None:
        """Ask the shadow for each copy; its failures are counted."""
        connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT_SECONDS)
        while True:
            body, readings, key = self.waiting.get()
            head = {"Content-Type": "application/json", "X-Shadow": "1", "Authorization": key.decode("latin-1")}
            try:
                connection.request("POST", "/predict", body, head)
                found = PREDICTION_DECODER.decode(connection.getresponse().read())
                self.compare(readings, found if isinstance(found, list) else [found])
            except (OSError, http.client.HTTPException, msgspec.MsgspecError, ValueError, TypeError):
                connection.close()
                self.counters.shadow.labels("failed").inc(len(readings))

    def compare(self, readings: list[Reading], found: list[Reading]) -> None:
        """Count and log how far the shadow's answers are from ours."""
        now = datetime.now(UTC)
        for mine, theirs in zip(readings, found, strict=True):
            self.counters.distance.observe(abs(mine.score - theirs.score))
            changed = mine.probabilities and mine.prediction != theirs.prediction
            self.counters.shadow.labels("changed" if changed else "answered").inc()
            about = {"id": mine.id, "time": now, "model": mine.model, "shadow": theirs.model}
            about |= {"prediction": mine.prediction, "shadow_prediction": theirs.prediction}
            self.log.append(about | {"score": mine.score, "shadow_score": theirs.score})
