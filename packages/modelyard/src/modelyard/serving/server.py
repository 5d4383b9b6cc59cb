"""Run the service with uvicorn."""

import gc
from pathlib import Path
from typing import Any

import uvicorn

from modelyard.core.console import print_result
from modelyard.core.errors import OptionError
from modelyard.core.params import load_params
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.serving.app import Service
from modelyard.serving.lazy_module import import_lazily
from modelyard.serving.transport import BoundedProtocol, CoalescingProtocol

SHUTDOWN_SECONDS = 20


def parse_bind(bind: str) -> tuple[str, int]:
    """Return the host and the port of `host:port`; anything else is an `OptionError`."""
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise OptionError("BIND", f"is {bind}", "write host:port, such as 127.0.0.1:8000")
    return host, int(port)


def keep_startup_objects() -> None:
    """Exclude what the start made from garbage collection, and let each later collection be short."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700)


def main(
    bind: str = "127.0.0.1:8000", logs: str = "logs", shadow: str = "", check: bool = False, internal: bool = False
) -> int:
    """Serve on BIND (host:port), log to the folder LOGS and mirror to SHADOW; with --check only test the model.

    INTERNAL=1 obeys X-Mirror and X-Shadow, which only a proxy may send: it must remove them from clients' requests.
    """
    host, port = parse_bind(bind)
    params = load_params()
    if params.serve.lazy_pandas:
        import_lazily("pandas")
    bundle = load_or_build_bundle(params)
    service = Service(params, bundle, Path(logs), shadow, internal)
    service.self_test()
    if check:
        return 0
    keep_startup_objects()
    print_result("serve", f"{bundle.model[:12]} by {bundle.engine} on http://{bind} (see /docs)")
    options: dict[str, Any] = {"access_log": False, "log_level": "warning", "ws": "none"}
    options["http"] = CoalescingProtocol if params.serve.transport == "fast" else BoundedProtocol
    uvicorn.run(service, host=host, port=port, timeout_graceful_shutdown=SHUTDOWN_SECONDS, **options)
    return 0
