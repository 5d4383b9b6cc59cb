"""TODO doc."""

import asyncio
import itertools
from collections.abc import Callable

from modelyard.inference.bundle import PredictionDict
from modelyard.inference.request import Row


class MicroBatcher:
    """Rows of requests that arrive together are answered together: 16 rows cost hardly more than one."""

    def __init__(self, answer: Callable[[list[Row]], list[PredictionDict]]) -> None:
        self.answer = answer
        self.waiting: list[tuple[list[Row], asyncio.Future[list[PredictionDict]]]] = []

    def ask(self, rows: list[Row]) -> "asyncio.Future[list[PredictionDict]]":
        """The answers to these rows, given in the event loop's next round."""
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self.flush)
        self.waiting.append((rows, loop.create_future()))
        return self.waiting[-1][1]

    def flush(self) -> None:
        """Answer all that wait; where that fails, each by itself: nobody fails for another's row."""
        waiting, self.waiting = self.waiting, []
        try:
            found = iter(self.answer([row for rows, _ in waiting for row in rows]))
        except Exception:
            found = None
        for rows, future in waiting:
            try:
                part = list(itertools.islice(found, len(rows))) if found else self.answer(rows)
            except Exception as problem:
                if not future.done():
                    future.set_exception(problem)
                continue
            if not future.done():
                future.set_result(part)
