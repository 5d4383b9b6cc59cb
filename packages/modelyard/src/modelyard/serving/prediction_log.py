"""The service's logs: JSON lines for predictions, their outcomes, and the shadow's predictions.

A log never delays or fails a prediction: its queue is bounded in lines and bytes, a thread writes it, lost lines count.
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

LINE_BYTES = 500  # of a line without the client's own text: ids, time, model, probabilities
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
        `predictions`, `shadow`, or `feedback` with the mark of a key.
    rules
        The sizes of queue and files.
    count_lost_lines
        Called with a number of lines when they are lost.
    quota
        The bytes that all files together may have; then lines are lost. None: the oldest file is deleted for a new one.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        rules: LogParams,
        count_lost_lines: Callable[[int], None],
        quota: int | None = None,
    ) -> None:
        self.folder = folder.absolute()  # also when the current folder changes
        self.kind = kind
        self.rules = rules
        self.count_lost_lines = count_lost_lines
        self.quota = quota
        self.max_bytes = rules.megabytes << 20
        self.queue: deque[tuple[int, tuple[Any, ...]]] = deque()
        self.bytes_queued = 0  # since the start; only the thread that appends changes it
        self.bytes_taken = 0  # of these; only the log's own thread changes it, so that neither needs a lock
        self.held_line = b""  # encoded, and too long for the draft before it
        self.path: Path | None = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.write_until_closed, name=f"log {kind}", daemon=True)
        self.thread.start()

    def append(self, *parts: Any, size: int = LINE_BYTES) -> None:
        """Queue a line: an object with the fields of all parts. With a full queue the line is lost and counted.

        Parameters
        ----------
        *parts
            The parts of the line.
        size
            About how many bytes they have; they are encoded later, in the log's own thread.
        """
        if self.can_queue(1, size):
            self.bytes_queued += size
            self.queue.append((size, parts))
        else:
            self.count_lost_lines(1)

    def can_queue(self, count: int, size: int) -> bool:
        """Return whether so many lines of so many bytes each may wait besides those that do."""
        waiting = self.bytes_queued - self.bytes_taken
        return len(self.queue) + count <= self.rules.queue and waiting + count * size <= self.max_bytes

    def has_room(self, size: int) -> bool:
        """Return whether the files, with what waits to be written, may have so many bytes more."""
        if self.quota is None:
            return True
        stored = sum(path.stat().st_size for path in self.find_files())
        return stored + self.bytes_queued - self.bytes_taken + size <= self.quota

    def find_files(self) -> list[Path]:
        """Return the log's files, the oldest first."""
        return sorted(self.folder.glob(f"{self.kind}-*.jsonl"))

    def close(self) -> None:
        """Write the queued lines and end the thread."""
        self.stop.set()
        self.thread.join(timeout=CLOSE_SECONDS)

    def write_until_closed(self) -> None:
        """Write queued lines again and again; what the disk refuses is tried again until the log is closed."""
        draft = b""
        while draft or self.held_line or self.queue or not self.stop.is_set():
            self.stop.wait(self.rules.seconds)
            draft = draft or self.encode_queue()
            try:
                self.write(draft)
                draft = b""
            except OSError:
                self.path = None
                if self.stop.is_set():
                    self.count_lost_lines((draft + self.held_line).count(b"\n") + len(self.queue))
                    return

    def encode_queue(self) -> bytes:
        """Return queued lines as text: those that now wait, as far as one file can hold them.

        They are encoded in slices, so that the event loop is never held up for long.
        """
        lines = [self.held_line]
        total = len(self.held_line)
        self.held_line = b""
        for number in range(len(self.queue)):
            size, parts = self.queue.popleft()
            line = encode_line(parts)
            self.bytes_taken += size
            total += len(line)
            if total > self.max_bytes:
                self.held_line = line
                break
            lines.append(line)
            if number % LINES_PER_SLICE == LINES_PER_SLICE - 1:
                time.sleep(0)
        return b"".join(lines)

    def write(self, draft: bytes) -> None:
        """Append all lines to the current file, or none of them.

        Raises
        ------
        OSError
            The disk takes no more.
        """
        if not draft:
            return
        path = self.open_path(len(draft))
        with path.open("ab", buffering=0) as file:
            start = os.fstat(file.fileno()).st_size
            if file.write(draft) != len(draft):
                file.truncate(start)
                raise OSError("the disk is full")

    def open_path(self, size: int) -> Path:
        """Return the current file, or a new one if that is gone or has no room for so many bytes.

        Before a new one the oldest files are deleted; with a quota none is.
        """
        if self.path and self.path.exists() and self.path.stat().st_size + size <= self.max_bytes:
            return self.path
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.quota is None:
            files = self.find_files()
            surplus = len(files) + 1 - self.rules.files
            for path in files[: max(0, surplus)]:
                path.unlink(missing_ok=True)
        self.path = self.folder / f"{self.kind}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}.jsonl"
        return self.path


def encode_line(parts: tuple[Any, ...]) -> bytes:
    """Return a line of JSON: one object with the fields of all parts."""
    fields = [msgspec.json.encode(part)[1:-1] for part in parts]
    return b"{" + b",".join(filter(None, fields)) + b"}\n"  # a part is empty where all columns are personal
