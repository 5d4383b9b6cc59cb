"""What the service keeps of its answers: numbers for Prometheus, lines of JSON, and what a shadow said to the same.

Nothing here makes a prediction wait or fail: queues are bounded, and what does not fit is counted.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.params import LogParams

LINES_PER_SLICE = 50  # lines encoded before others get their turn


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


PREDICTION_DECODER = msgspec.json.Decoder(Reading | list[Reading])


class LogWriter:
    """Appends JSON lines to `<kind>-<time>.jsonl`; what cannot be written waits, what cannot wait is counted."""

    def __init__(self, folder: Path, kind: str, rules: LogParams, lost: Callable[[int], None]) -> None:
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
            draft = draft or self.encode_waiting()
            try:
                self.write(draft)
                draft = b""
            except OSError:
                self.path = None
                if self.stop.is_set():
                    self.lost(draft.count(b"\n") + len(self.waiting))
                    return

    def encode_waiting(self) -> bytes:
        """What waits now, in slices, so that the thread that answers is never held up for long."""
        slices = []
        for left in range(len(self.waiting), 0, -LINES_PER_SLICE):
            lines = (map(msgspec.json.encode, self.waiting.popleft()) for _ in range(min(left, LINES_PER_SLICE)))
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
