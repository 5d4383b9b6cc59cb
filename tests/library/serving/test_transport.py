import asyncio
from typing import Any

from modelyard.serving.transport import CoalescingTransport


class FakeTransport:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.name = "fake"

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("close")


def write_parts(*, close: bool) -> list[Any]:
    """Write two parts in one round of the event loop; return what the real transport was asked."""

    async def write() -> list[Any]:
        real = FakeTransport()
        transport = CoalescingTransport(real)  # type: ignore[arg-type]
        transport.write(b"head")
        transport.write(b"body")
        if close:
            transport.close()
        else:
            await asyncio.sleep(0)
        return real.calls

    return asyncio.run(write())


def test_parts_of_one_round_are_one_write() -> None:
    assert write_parts(close=False) == [b"headbody"]


def test_closing_writes_first() -> None:
    assert write_parts(close=True) == [b"headbody", "close"]


def test_other_attributes_are_the_real_transports() -> None:
    async def read_name() -> str:
        return CoalescingTransport(FakeTransport()).name  # type: ignore[arg-type]

    assert asyncio.run(read_name()) == "fake"
