"""HTTP connections: bounded in what a client may send before its request is understood, and fast.

`serve.transport: uvicorn` in params.yaml switches the fast part off, not the bounds.
"""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEADERS = 100
MAX_HEAD_BYTES = 64 << 10  # of the address and all headers
SECONDS = 10.0  # for a head to arrive, and for the rest of a body that was answered already


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds on the number, bytes and time of headers.

    With httptools, uvicorn has none: it collects headers without end before the application, which knows the keys, sees
    the request.
    """

    seconds = SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refusal: tuple[int, str] | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.is_between_messages = True
        self.has_begun_head = False
        self.head_bytes = 0
        self.stalled_bytes = 0  # since the parser last understood something: it keeps these

    def connection_made(self, transport: Any) -> None:
        """Start with a new connection, whose first head must come in time."""
        super().connection_made(transport)
        self.start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection."""
        self.stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse what has no end."""
        self.stalled_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.stalled_bytes > MAX_HEAD_BYTES:
            self.refusal = (431, "the headers are too long")
            self.send_400_response("")
        elif self.is_between_messages and (self.has_begun_head or self.is_answered()):
            self.start_deadline()

    def is_answered(self) -> bool:
        """Return whether no answer is on its way."""
        return self.cycle is None or self.cycle.response_complete

    def start_deadline(self) -> None:
        """Give the client some seconds for what it owes, unless they run already."""
        if self.deadline is None:
            self.deadline = self.loop.call_later(self.seconds, self.end_slow_connection)

    def stop_deadline(self) -> None:
        """The client owes nothing now."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def end_slow_connection(self) -> None:
        """Close the connection; where no answer was sent for this request, say why."""
        self.deadline = None
        if self.transport.is_closing():
            return
        if self.is_between_messages and self.is_answered():
            self.refusal = (408, f"the headers took longer than {self.seconds:g} s")
            self.send_400_response("")
        else:
            self.transport.close()

    def count_head_bytes(self, count: int) -> None:
        """Add to the bytes of the head.

        Raises
        ------
        ValueError
            They are too many; the parser hands this on, and the connection ends.
        """
        self.stalled_bytes = 0
        self.head_bytes += count
        if self.head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self.refusal = (431, f"send at most {MAX_HEADERS} headers of {MAX_HEAD_BYTES >> 10} KB together")
            raise ValueError(self.refusal[1])

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.has_begun_head = True
        self.head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        super().on_url(url)
        self.count_head_bytes(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer behind the body."""
        super().on_header(name, value)
        self.count_head_bytes(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Start the application."""
        self.stop_deadline()
        self.has_begun_head = False
        self.is_between_messages = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; the application bounds its length and time."""
        self.stalled_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The client has sent all of a request."""
        self.stop_deadline()
        self.stalled_bytes = 0
        self.is_between_messages = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is sent; a body that nobody reads must end in time, too."""
        super().on_response_complete()
        if not self.is_between_messages:
            self.start_deadline()

    def send_400_response(self, msg: str) -> None:
        """Send the reason of a refusal, and close the connection."""
        status, sentence = self.refusal or (400, msg)
        body = msgspec.json.encode({"error": sentence})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


class CoalescingTransport:
    """A transport that joins all data written in one round of the event loop and writes it at the round's end."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.chunks: list[bytes] = []
        self.schedule_soon = asyncio.get_running_loop().call_soon

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Keep data until the end of the round."""
        if not self.chunks:
            self.schedule_soon(self.flush)
        self.chunks.append(data)

    def flush(self) -> None:
        """Write all kept data as one."""
        if self.chunks:
            self.transport.write(b"".join(self.chunks))
            self.chunks.clear()

    def close(self) -> None:
        """Write all kept data and close the connection."""
        self.flush()
        self.transport.close()


class CoalescingProtocol(BoundedProtocol):
    """The bounded protocol on a `CoalescingTransport`: half the system calls of uvicorn's own transport."""

    def connection_made(self, transport: Any) -> None:
        """Start with a new connection."""
        super().connection_made(CoalescingTransport(transport))
