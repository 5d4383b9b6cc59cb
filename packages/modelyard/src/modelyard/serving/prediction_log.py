"""The service's logs: JSON lines for predictions, their outcomes, and the shadow's predictions.

A log never delays or fails a prediction: its queue is bounded, a thread writes it, and lost lines are counted.
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

LINES_PER_SLICE = 50  # lines that are encoded before other threads get their turn
CLOSE_SECONDS = 10


class PredictionRecord(msgspec.Struct, omit_defaults=True):
    """The prediction for one row, as the service sends it."""

    id: str
    prediction: Any
    model: str
    probabilities: dict[str, float] | None = None
    flags: list[str] | None = None

    @property
    def score(self) -> float:
        """The probability of the last class, or the predicted number."""
        if not self.probabilities:
            return self.prediction
        last_class = next(reversed(self.probabilities))
        return self.probabilities[last_class]


PREDICTION_DECODER = msgspec.json.Decoder(PredictionRecord | list[PredictionRecord])


class LogWriter:
    """Appends lines to `<kind>-<time>-<process>.jsonl` in a thread; while the disk fails, lines wait in memory.

    Parameters
    ----------
    folder
        The folder of the log; it is made when the first line is written.
    kind
        `predictions`, `feedback` or `shadow`.
    rules
        The sizes of queue and files.
    count_lost_lines
        Called with a number of lines when they are lost.
    """

    def __init__(self, folder: Path, kind: str, rules: LogParams, count_lost_lines: Callable[[int], None]) -> None:
        self.folder = folder.absolute()  # also when the current folder changes
        self.kind = kind
        self.rules = rules
        self.count_lost_lines = count_lost_lines
        self.queue: deque[tuple[Any, ...]] = deque()
        self.path: Path | None = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.write_until_closed, name=f"log {kind}", daemon=True)
        self.thread.start()

    def append(self, *parts: Any) -> None:
        """Queue a line: an object with the fields of all parts. With a full queue the line is lost and counted."""
        if len(self.queue) < self.rules.queue:
            self.queue.append(parts)
        else:
            self.count_lost_lines(1)

    def close(self) -> None:
        """Write the queued lines and end the thread."""
        self.stop.set()
        self.thread.join(timeout=CLOSE_SECONDS)

    def write_until_closed(self) -> None:
        """Write queued lines again and again; what the disk refuses is tried again until the log is closed."""
        draft = b""
        while draft or self.queue or not self.stop.is_set():
            self.stop.wait(self.rules.seconds)
            draft = draft or self.encode_queue()
            try:
                self.write(draft)
                draft = b""
            except OSError:
                self.path = None
                if self.stop.is_set():
                    self.count_lost_lines(draft.count(b"\n") + len(self.queue))
                    return

    def encode_queue(self) -> bytes:
        """Return the queued lines as text, encoded in slices so that the event loop is never held up for long."""
        slices = []
        for left in range(len(self.queue), 0, -LINES_PER_SLICE):
            lines = [encode_line(self.queue.popleft()) for _ in range(min(left, LINES_PER_SLICE))]
            slices.append(b"".join(lines))
            time.sleep(0)
        return b"".join(slices)

    def write(self, draft: bytes) -> None:
        """Append all lines to the current file, or none of them.

        Raises
        ------
        OSError
            The disk takes no more.
        """
        if not draft:
            return
        path = self.open_path()
        with path.open("ab", buffering=0) as file:
            start = os.fstat(file.fileno()).st_size
            if file.write(draft) != len(draft):
                file.truncate(start)
                raise OSError("the disk is full")

    def open_path(self) -> Path:
        """Return the current file, or a new one if that is gone or full; then the oldest files are deleted."""
        if self.path and self.path.exists() and self.path.stat().st_size <= self.rules.megabytes << 20:
            return self.path
        self.folder.mkdir(parents=True, exist_ok=True)
        files = sorted(self.folder.glob(f"{self.kind}-*.jsonl"))
        surplus = len(files) + 1 - self.rules.files
        for path in files[: max(0, surplus)]:
            path.unlink(missing_ok=True)
        self.path = self.folder / f"{self.kind}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}.jsonl"
        return self.path


def encode_line(parts: tuple[Any, ...]) -> bytes:
    """Return a line of JSON: one object with the fields of all parts."""
    fields = b",".join(msgspec.json.encode(part)[1:-1] for part in parts)
    return b"{" + fields + b"}\n"
