"""The prediction log: a bounded queue and a writing thread, so that no prediction waits or fails for it."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from .config import Log

Line = tuple[dict[str, Any], Any, dict[str, float] | None]  # what we say, the row as it came, probabilities
SLICE = 50  # lines encoded before others get their turn


class Writer:
    """Appends JSON lines to `<kind>-<time>.jsonl`; what cannot be written waits, what cannot wait is counted."""

    def __init__(self, folder: Path, kind: str, rules: Log, lost: Callable[[int], None]) -> None:
        self.folder, self.kind, self.rules, self.lost = folder, kind, rules, lost
        self.waiting: deque[Line] = deque()
        self.path: Path | None = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, name=f"log {kind}", daemon=True)
        self.thread.start()

    def append(self, about: dict[str, Any], row: Any = None, chances: dict[str, float] | None = None) -> None:
        """Take a line; when the queue is full it is lost, and counted."""
        if len(self.waiting) < self.rules.queue:
            self.waiting.append((about, row, chances))
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
            if not draft:
                draft = self.encoded()
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
        slices, left = [], len(self.waiting)
        while left > 0:
            slices.append(b"".join(line(*self.waiting.popleft()) for _ in range(min(left, SLICE))))
            left -= SLICE
            time.sleep(0)
        return b"".join(slices)

    def write(self, draft: bytes) -> None:
        """Append whole lines or nothing, to a file that is there and not too large."""
        if not draft:
            return
        if not self.path or not self.path.exists() or self.path.stat().st_size > self.rules.megabytes << 20:
            self.path = self.next()
        with self.path.open("ab", buffering=0) as file:
            start = os.fstat(file.fileno()).st_size
            if file.write(draft) != len(draft):
                file.truncate(start)
                raise OSError("the disk is full")

    def next(self) -> Path:
        """A new file, named by the time; the oldest beyond the limit go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        old = sorted(self.folder.glob(f"{self.kind}-*.jsonl"))
        for path in old[: max(0, len(old) + 1 - self.rules.files)]:
            path.unlink(missing_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        return self.folder / f"{self.kind}-{stamp}-{os.getpid()}.jsonl"


def line(about: dict[str, Any], row: Any, chances: dict[str, float] | None) -> bytes:
    """One line of JSON: what is said of a row, then its columns beside it."""
    head = msgspec.json.encode(about | {f"p_{name}": chance for name, chance in (chances or {}).items()})
    return (head[:-1] + b"," + msgspec.json.encode(row)[1:] if row is not None else head) + b"\n"
