"""uvicorn's HTTP with head and body of an answer in one write: half the system calls, and never half an answer."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Joined:
    """A transport that writes once, at the end of the event loop's round, what was written in it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport, self.parts = transport, list[bytes]()
        self.later = asyncio.get_running_loop().call_soon

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Take a part; the first of a round has it written at the round's end."""
        if not self.parts:
            self.later(self.flush)
        self.parts.append(data)

    def flush(self) -> None:
        """Write the parts as one."""
        if self.parts:
            self.transport.write(b"".join(self.parts))
            self.parts.clear()

    def close(self) -> None:
        """Close once everything is written."""
        self.flush()
        self.transport.close()


class Wire(HttpToolsProtocol):
    """uvicorn's protocol on a joined transport."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Joined(transport))  # type: ignore[arg-type]
