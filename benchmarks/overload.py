"""A service under ten times the load that it takes: what was answered, what was shed, what was lost."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

from .pipeline import DEMO
from .template import free_port

LIMIT, CLIENTS, SECONDS, ROWS = 8, 80, 10, 1000


async def client(port: int, request: bytes, end: float, seen: Counter[str]) -> None:
    """One connection that asks again as soon as it was answered."""
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
    """What so many connections were answered."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    seen, end = Counter[str](), time.perf_counter() + SECONDS
    request = head.encode() + b"\r\n\r\n" + body
    await asyncio.gather(*(client(port, request, end, seen) for _ in range(clients)))
    return seen


def main() -> None:
    """Print the table's lines: as many connections as the service takes, ten times as many, and as many again."""
    project = Path(os.environ.get("PROJECT", DEMO))
    port = free_port()
    params = project / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("requests: 512", f"requests: {LIMIT}"))
    command = [sys.executable, "-m", project.name.replace("-", "_"), "serve"]
    env = {**os.environ, "PYTHONPATH": "src", "BIND": f"127.0.0.1:{port}", "LOGS": "/dev/null/none"}
    try:
        with subprocess.Popen(command, cwd=project, env=env) as process:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.2)
            row = json.loads((project / "models/bundle.json").read_text())["rows"][0]
            body = json.dumps([row] * ROWS).encode()
            for clients in (LIMIT, CLIENTS, LIMIT):
                print(f"{clients} connections: {dict(asyncio.run(flood(port, body, clients)))}")
            process.terminate()
    finally:
        params.write_text(before)


if __name__ == "__main__":
    main()
