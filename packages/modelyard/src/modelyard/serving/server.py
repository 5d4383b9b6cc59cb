"""TODO doc."""

import asyncio
import gc
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.params import load_params
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.serving.app import Service


class CoalescingTransport:
    """A transport that writes at the end of the event loop's round what was written in it: never half an answer."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport, self.parts = transport, list[bytes]()
        self.schedule_soon = asyncio.get_running_loop().call_soon

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Take a part; the first of a round has it written at the round's end."""
        if not self.parts:
            self.schedule_soon(self.flush)
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


class CoalescingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with head and body of an answer in one write: half the system calls."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(CoalescingTransport(transport))  # type: ignore[arg-type]


class LazyModule(types.ModuleType):
    """A module that is imported when something of it is first used: with a compiled model that may be never."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def main(bind: str = "127.0.0.1:8000", logs: str = "logs", check: bool = False) -> int:
    """Answer on BIND (host:port), log to the folder LOGS; with --check only prove that it could."""
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"BIND is {bind}; write host:port, such as 127.0.0.1:8000")
    sys.modules.setdefault("pandas", LazyModule("pandas"))  # 40 MB, half of the start
    params = load_params()
    passport = load_or_build_bundle(params)
    service = Service(params, passport, Path(logs))
    service.self_test()
    if check:
        return 0
    gc.collect()
    gc.freeze()  # what start-up made stays: the collector need not look at it again
    gc.set_threshold(700)  # a short look often: nobody waits for a long one
    print_result("serve", f"{passport.model[:12]} by {passport.engine} on http://{bind} (see /docs)")
    options: dict[str, Any] = {"http": CoalescingProtocol, "access_log": False, "log_level": "warning"}
    uvicorn.run(service, host=host, port=int(port), timeout_graceful_shutdown=20, **options)
    return 0
