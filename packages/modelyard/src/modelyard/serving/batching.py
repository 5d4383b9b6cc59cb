"""Predict the rows of requests that arrive together as one batch: 16 rows cost hardly more than one."""

import asyncio
import itertools
from collections.abc import Callable

from modelyard.inference.bundle import PredictionDict
from modelyard.inference.request import Row


class MicroBatcher:
    """Collects the rows of one round of the event loop and predicts them in the next.

    Parameters
    ----------
    predict_rows
        Returns one prediction for each row.
    """

    def __init__(self, predict_rows: Callable[[list[Row]], list[PredictionDict]]) -> None:
        self.predict_rows = predict_rows
        self.pending: list[tuple[list[Row], asyncio.Future[list[PredictionDict]]]] = []

    def submit(self, rows: list[Row]) -> "asyncio.Future[list[PredictionDict]]":
        """Return the future predictions of these rows."""
        loop = asyncio.get_running_loop()
        if not self.pending:
            loop.call_soon(self.flush)
        future: asyncio.Future[list[PredictionDict]] = loop.create_future()
        self.pending.append((rows, future))
        return future

    def flush(self) -> None:
        """Predict all pending rows."""
        pending, self.pending = self.pending, []
        try:
            predictions = iter(self.predict_rows([row for rows, _ in pending for row in rows]))
        except Exception:  # one row spoils the batch: each request is predicted alone, and only that one fails
            self.predict_each(pending)
            return
        for rows, future in pending:
            part = list(itertools.islice(predictions, len(rows)))
            if not future.done():
                future.set_result(part)

    def predict_each(self, pending: "list[tuple[list[Row], asyncio.Future[list[PredictionDict]]]]") -> None:
        """Predict the rows of each request by themselves."""
        for rows, future in pending:
            try:
                predictions = self.predict_rows(rows)
            except Exception as problem:  # raised again where the request waits for it
                if not future.done():
                    future.set_exception(problem)
                continue
            if not future.done():
                future.set_result(predictions)
