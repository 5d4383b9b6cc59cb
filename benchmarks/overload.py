"""A service under ten times the load that it takes: what was answered, what was shed, what was lost.

Run by `make bench PART=overload`; SECONDS is how long each load lasts.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .support import copy_demo, free_port

LIMIT, CLIENTS, ROWS = 8, 80, 1000
SECONDS = float(os.environ.get("SECONDS", "10"))
PATIENCE = 60  # seconds until the service answers


async def client(port: int, request: bytes, end: float, seen: Counter[str]) -> None:
    """Ask over one connection again as soon as it was answered, and count the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        seen["sent"] += 1
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            await reader.readexactly(int(fields["content-length"]))
            seen[head.split()[1] + (" with Retry-After" if "retry-after" in fields else "")] += 1
        except (OSError, EOFError, KeyError):
            seen["lost"] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def flood(port: int, body: bytes, clients: int) -> Counter[str]:
    """Count what so many connections were answered."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    seen = Counter[str]()
    end = time.perf_counter() + SECONDS
    request = head.encode() + b"\r\n\r\n" + body
    await asyncio.gather(*(client(port, request, end, seen) for _ in range(clients)))
    return seen


@contextmanager
def running(project: Path, port: int) -> Iterator[None]:
    """Run the project's service, without a log, while the block runs."""
    env = os.environ | {"MODELYARD_BIND": f"127.0.0.1:{port}", "MODELYARD_LOGS": "/dev/null/none"}
    with subprocess.Popen([sys.executable, "-m", "modelyard", "serve"], cwd=project, env=env) as process:
        try:
            wait_until_ready(process, port)
            yield
        finally:
            process.terminate()


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the service is ready; end the benchmark where it ended, or is not ready in a minute."""
    end = time.perf_counter() + PATIENCE
    while process.poll() is None and time.perf_counter() < end:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("error: the service does not get ready; what it said is above")


def main() -> None:
    """Print the table's lines: as many connections as the service takes, ten times as many, and as many again."""
    with tempfile.TemporaryDirectory() as folder:
        project, port = copy_demo(Path(folder, "demo")), free_port()
        params = project / "params.yaml"
        params.write_text(params.read_text().replace("requests: 512", f"requests: {LIMIT}"))
        with running(project, port):
            row = json.loads((project / "models/bundle.json").read_text())["rows"][0]
            body = json.dumps([row] * ROWS).encode()
            for clients in (LIMIT, CLIENTS, LIMIT):
                print(f"{clients} connections: {dict(asyncio.run(flood(port, body, clients)))}", flush=True)


if __name__ == "__main__":
    main()
