"""Sends a copy of answered requests to another model, from a thread of its own: no user waits or fails for it."""

import http.client
import json
import queue
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .counters import Counters
from .log import Writer

if TYPE_CHECKING:
    from .serve import Reading

WAITING = 1000  # requests; more are not mirrored
SECONDS = 1.0  # that the shadow may take


class Shadow:
    """A bounded queue of copies, and a thread that asks the shadow, compares and logs."""

    def __init__(self, address: str, log: Writer, counters: Counters) -> None:
        self.address, self.log, self.counters = address, log, counters
        self.waiting: queue.Queue[tuple[bytes, list[Any]]] = queue.Queue(WAITING)
        if address:
            threading.Thread(target=self.run, name="shadow", daemon=True).start()

    def send(self, body: bytes, readings: "list[Reading]") -> None:
        """Queue a copy; where the queue is full, or there is no shadow, it is counted as lost."""
        try:
            if not self.address:
                raise queue.Full
            self.waiting.put_nowait((body, readings))
        except queue.Full:
            self.counters.shadow.labels("lost").inc(len(readings))

    def run(self) -> None:
        """Ask the shadow for each copy; its failures are counted."""
        connection = http.client.HTTPConnection(self.address, timeout=SECONDS)
        while True:
            body, readings = self.waiting.get()
            try:
                connection.request("POST", "/predict", body, {"Content-Type": "application/json", "X-Shadow": "1"})
                reply = connection.getresponse()
                found = json.loads(reply.read())
                if reply.status != 200:
                    raise ValueError(found)
                self.compare(readings, found if isinstance(found, list) else [found])
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                connection.close()
                self.counters.shadow.labels("failed").inc(len(readings))

    def compare(self, readings: "list[Reading]", found: list[dict[str, Any]]) -> None:
        """Count and log how far the shadow's answers are from ours."""
        now = datetime.now(UTC)
        for mine, theirs in zip(readings, found, strict=True):
            last = next(reversed(mine.probabilities)) if mine.probabilities else None
            ours = mine.probabilities[last] if mine.probabilities and last else mine.prediction
            other = theirs["probabilities"][last] if last else theirs["prediction"]
            self.counters.distance.observe(abs(other - ours))
            changed = mine.prediction != theirs["prediction"]
            self.counters.shadow.labels("changed" if last and changed else "answered").inc()
            about = {"id": mine.id, "time": now, "model": mine.model, "shadow": theirs["model"]}
            about |= {"prediction": mine.prediction, "shadow_prediction": theirs["prediction"]}
            self.log.append(about | {"score": ours, "shadow_score": other})
