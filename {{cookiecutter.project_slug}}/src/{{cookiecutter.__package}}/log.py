"""What the service keeps of its answers: numbers for Prometheus, lines of JSON, and what a shadow said to the same.

Nothing here makes a prediction wait or fail: queues are bounded, and what does not fit is counted.
"""

import http.client
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from .config import Log

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
DISTANCES = (1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.5, 1)
SLICE = 50  # lines encoded before others get their turn
MIRRORED = 1000  # requests that may wait for the shadow
PATIENCE = 1.0  # seconds that the shadow may take


class Reading(msgspec.Struct, omit_defaults=True):
    """The answer to one row."""

    id: str
    prediction: Any
    model: str
    probabilities: dict[str, float] | None = None
    flags: list[str] | None = None

    @property
    def score(self) -> float:
        """The probability of the last class, or the number."""
        return self.probabilities[next(reversed(self.probabilities))] if self.probabilities else self.prediction


READINGS = msgspec.json.Decoder(Reading | list[Reading])


class Counters:
    """Latency, rows, errors by kind, the distribution of the answers, and what a shadow said."""

    def __init__(self, quantiles: Sequence[float]) -> None:
        self.registry = one = CollectorRegistry()
        ProcessCollector(registry=one)
        self.requests = Counter("requests", "Requests by path and status", ["path", "status"], registry=one)
        self.seconds = Histogram("request_seconds", "Time to answer", ["path"], buckets=SECONDS, registry=one)
        self.errors = Counter("errors", "Requests refused or failed, by status", ["kind"], registry=one)
        self.rows = Counter("rows", "Rows answered", registry=one)
        self.flags = Counter("flagged_values", "Values outside schema.yaml", ["column"], registry=one)
        self.lost = Counter("log_lines_lost", "Lines that a log could not take", registry=one)
        self.shadow = Counter("shadow_rows", "Mirrored rows by outcome", ["outcome"], registry=one)
        buckets = quantiles if len(quantiles) > 1 else (0.5,)
        self.scores = Histogram("score", "Probability of the last class, or the number", buckets=buckets, registry=one)
        self.distance = Histogram("shadow_distance", "Shadow's score from ours", buckets=DISTANCES, registry=one)
        self.of = cache(lambda path, status: (self.requests.labels(path, status), self.seconds.labels(path)))


class Writer:
    """Appends JSON lines to `<kind>-<time>.jsonl`; what cannot be written waits, what cannot wait is counted."""

    def __init__(self, folder: Path, kind: str, rules: Log, lost: Callable[[int], None]) -> None:
        self.folder, self.kind, self.rules, self.lost = folder, kind, rules, lost
        self.waiting: deque[tuple[Any, ...]] = deque()
        self.path: Path | None = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, name=f"log {kind}", daemon=True)
        self.thread.start()

    def append(self, *parts: Any) -> None:
        """Take a line, in parts whose fields become one object; when the queue is full it is lost, and counted."""
        if len(self.waiting) < self.rules.queue:
            self.waiting.append(parts)
        else:
            self.lost(1)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self.stop.set()
        self.thread.join(timeout=10)

    def run(self) -> None:
        """Write what came in, again and again; trouble with the disk is tried again later."""
        draft = b""
        while draft or self.waiting or not self.stop.is_set():
            self.stop.wait(self.rules.seconds)
            draft = draft or self.encoded()
            try:
                self.write(draft)
                draft = b""
            except OSError:
                self.path = None
                if self.stop.is_set():
                    self.lost(draft.count(b"\n") + len(self.waiting))
                    return

    def encoded(self) -> bytes:
        """What waits now, in slices, so that the thread that answers is never held up for long."""
        slices = []
        for left in range(len(self.waiting), 0, -SLICE):
            lines = (map(msgspec.json.encode, self.waiting.popleft()) for _ in range(min(left, SLICE)))
            slices.append(b"".join(b"{" + b",".join(part[1:-1] for part in line) + b"}\n" for line in lines))
            time.sleep(0)
        return b"".join(slices)

    def write(self, draft: bytes) -> None:
        """Append whole lines or nothing, to a file that is there and not too large; a new one ends the oldest."""
        if not draft:
            return
        if not self.path or not self.path.exists() or self.path.stat().st_size > self.rules.megabytes << 20:
            self.folder.mkdir(parents=True, exist_ok=True)
            old = sorted(self.folder.glob(f"{self.kind}-*.jsonl"))
            for path in old[: max(0, len(old) + 1 - self.rules.files)]:
                path.unlink(missing_ok=True)
            self.path = self.folder / f"{self.kind}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}.jsonl"
        with self.path.open("ab", buffering=0) as file:
            start = os.fstat(file.fileno()).st_size
            if file.write(draft) != len(draft):
                file.truncate(start)
                raise OSError("the disk is full")


class Shadow:
    """A bounded queue of copies of answered requests, and a thread that asks the shadow, compares and logs."""

    def __init__(self, address: str, log: Writer, counters: Counters) -> None:
        self.address, self.log, self.counters = address, log, counters
        self.waiting: queue.Queue[tuple[bytes, list[Reading], bytes]] = queue.Queue(MIRRORED)
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
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        while True:
            body, readings, key = self.waiting.get()
            head = {"Content-Type": "application/json", "X-Shadow": "1", "Authorization": key.decode("latin-1")}
            try:
                connection.request("POST", "/predict", body, head)
                found = READINGS.decode(connection.getresponse().read())
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
