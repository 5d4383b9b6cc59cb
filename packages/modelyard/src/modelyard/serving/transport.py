"""Write the head and the body of a response at once: half the system calls of uvicorn's own transport.

`serve.transport: uvicorn` in params.yaml switches this off.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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


class CoalescingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on a `CoalescingTransport`."""

    def connection_made(self, transport: Any) -> None:
        """Start with a new connection."""
        super().connection_made(CoalescingTransport(transport))  # type: ignore[arg-type]
