import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@pytest.fixture
def other_service() -> Iterator[dict[str, Any]]:
    """Another service: its address, what it replies (`status`, `answers`), and what it was asked (`asked`)."""
    state: dict[str, Any] = {"status": 200, "answers": [], "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # pylint: disable=invalid-name
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            state["asked"].append((self.headers["X-Shadow"], asked))
            body = json.dumps(state["answers"]).encode()
            self.send_response(state["status"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:  # pylint: disable=arguments-differ
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state["address"] = f"127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
