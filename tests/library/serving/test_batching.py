import asyncio
from typing import Any

from modelyard.serving.batching import MicroBatcher

Batches = list[list[Any]]


def submit_all(requests: Batches, calls: Batches) -> list[Any]:
    """Submit the rows of several requests in one round of the event loop; a row 0 fails."""

    def predict_rows(rows: list[Any]) -> list[Any]:
        calls.append(rows)
        return [{"prediction": 1 / row} for row in rows]

    async def submit() -> list[Any]:
        batcher = MicroBatcher(predict_rows)
        return await asyncio.gather(*map(batcher.submit, requests), return_exceptions=True)

    return asyncio.run(submit())


def test_requests_of_one_round_are_one_batch() -> None:
    calls: Batches = []
    found = submit_all([[1, 2], [4]], calls)
    assert calls == [[1, 2, 4]]
    assert found == [[{"prediction": 1.0}, {"prediction": 0.5}], [{"prediction": 0.25}]]


def test_a_bad_row_fails_alone() -> None:
    first, second = submit_all([[0], [4]], [])
    assert isinstance(first, ZeroDivisionError)
    assert second == [{"prediction": 0.25}]
