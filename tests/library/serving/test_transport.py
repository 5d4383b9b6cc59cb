import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from modelyard.serving.transport import BoundedProtocol, CoalescingProtocol, CoalescingTransport

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def answer(_: Any, receive: Any, send: Any) -> None:
    """Answer at once with `ok`, whether or not a body has come."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def serve(protocol: type[BoundedProtocol], seconds: float) -> Iterator[int]:
    """Run a server that waits so long for a head; its port."""
    bounded = type("Bounded", (protocol,), {"seconds": seconds})
    config = uvicorn.Config(answer, http=bounded, lifespan="off", log_level="critical", timeout_keep_alive=60)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module", params=[BoundedProtocol, CoalescingProtocol])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a patient server."""
    with serve(request.param, seconds=30) as number:
        yield number


@pytest.fixture(scope="module", params=[BoundedProtocol, CoalescingProtocol])
def impatient_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server that waits 0.3 s for a head."""
    with serve(request.param, seconds=0.3) as number:
        yield number


@contextmanager
def connect(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def read_to_end(connection: socket.socket) -> bytes:
    """Return all that a server sends before it closes the connection."""
    parts = list[bytes]()
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def send_and_read(port: int, data: bytes) -> bytes:
    """Return what the server sends before it closes the connection."""
    with connect(port) as connection:
        connection.sendall(data)
        return read_to_end(connection)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(GET + b"a: b\r\n" * 200 + b"\r\n", id="too many"),
        pytest.param(GET + b"a: " + b"b" * 70_000 + b"\r\n\r\n", id="one long header"),
        pytest.param(GET + (b"a: " + b"b" * 1000 + b"\r\n") * 70, id="long together"),
        pytest.param(b"GET /" + b"a" * 70_000, id="long address"),
    ],
)
def test_a_head_without_end_is_refused(port: int, head: bytes) -> None:
    assert send_and_read(port, head).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(GET + b"a: ", id="header"),
        pytest.param(GET, id="name"),
        pytest.param(GET + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\na: ", id="trailer"),
    ],
)
def test_one_header_without_end_is_refused(port: int, start: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(start)
        for _ in range(3):
            connection.sendall(b"b" * 60_000)
            time.sleep(0.03)
        assert b"HTTP/1.1 431 " in read_to_end(connection)


def test_megabytes_of_headers_are_not_read(port: int) -> None:
    sent = 0
    with connect(port) as connection, pytest.raises(OSError):
        connection.sendall(GET)
        for _ in range(3000):
            connection.sendall(b"a: " + b"b" * 99_990 + b"\r\n")
            sent += 100_000
    assert sent < 50_000_000  # what fits into the kernel's buffers, of 300 MB


def test_many_usual_headers_are_taken(port: int) -> None:
    head = GET + b"a: b\r\n" * 90 + b"cookie: " + b"c" * 8000 + b"\r\nConnection: close\r\n\r\n"
    assert send_and_read(port, head).endswith(b"ok")


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET / HT", GET], ids=["nothing", "newline", "half a line", "half"])
def test_a_head_that_does_not_come_ends_the_connection(impatient_port: int, start: bytes) -> None:
    assert send_and_read(impatient_port, start).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("start", [b"\r\n", b"GET / HT"])
def test_a_later_head_that_does_not_come_ends_the_connection(impatient_port: int, start: bytes) -> None:
    with connect(impatient_port) as connection:
        connection.sendall(GET + b"\r\n")
        assert connection.recv(65_536).endswith(b"ok")
        connection.sendall(start)
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")


def test_a_slow_head_is_not_saved_by_a_byte_now_and_then(impatient_port: int) -> None:
    with connect(impatient_port) as connection, pytest.raises(OSError):
        connection.sendall(GET)
        for _ in range(200):
            connection.sendall(b"a")
            time.sleep(0.05)


def test_a_body_that_nobody_reads_ends_in_time(impatient_port: int) -> None:
    reply = send_and_read(impatient_port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    assert reply.endswith(b"ok")  # and the connection was closed


def test_an_idle_connection_after_an_answer_stays(impatient_port: int) -> None:
    with connect(impatient_port) as connection:
        for _ in range(2):
            connection.sendall(GET + b"\r\n")
            assert connection.recv(65_536).endswith(b"ok")
            time.sleep(0.6)  # longer than a head may take


def test_a_head_in_parts_is_taken(port: int) -> None:
    with connect(port) as connection:
        for part in (GET[:10], GET[10:], b"Connection: close\r\n\r\n"):
            connection.sendall(part)
            time.sleep(0.02)
        assert read_to_end(connection).endswith(b"ok")


def test_what_is_not_http_is_refused(port: int) -> None:
    assert send_and_read(port, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")


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
