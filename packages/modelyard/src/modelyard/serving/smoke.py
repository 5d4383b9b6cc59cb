"""Asks a service the rows of its image's passport, from beside it: equal answers, then how fast under load."""

import http.client
import json
import os
import threading
import time
from typing import Any

from modelyard.core.console import print_data
from modelyard.inference.bundle import ModelBundle, compute_max_difference


def post_rows(connection: http.client.HTTPConnection, value: Any) -> tuple[int, Any]:
    """Status and value of one POST /predict."""
    head = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('API_KEY', '')}"}
    connection.request("POST", "/predict", json.dumps(value), head)
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def generate_load(address: str, rows: list[Any], end: float, seen: list[tuple[float, str]]) -> None:
    """One connection's requests, one after the other, until the time is over: seconds and status of each."""
    connection = http.client.HTTPConnection(address, timeout=10)
    while time.perf_counter() < end:
        start = time.perf_counter()
        try:
            status = str(post_rows(connection, rows[len(seen) % len(rows)])[0])
        except (OSError, http.client.HTTPException) as problem:
            status = type(problem).__name__
            connection.close()
        seen.append((time.perf_counter() - start, status))


def probe_service(address: str, seconds: float, connections: int) -> dict[str, Any]:
    """The largest difference from the pipeline, and requests, errors and p99 (ms) of the load."""
    passport, seen = ModelBundle.read(), list[tuple[float, str]]()
    status, found = post_rows(http.client.HTTPConnection(address, timeout=30), passport.rows)
    if status != 200:
        return {"difference": None, "said": found}
    arguments = (address, passport.rows, time.perf_counter() + seconds, seen)
    threads = [threading.Thread(target=generate_load, args=arguments) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times, bad = sorted(time for time, _ in seen), [status for _, status in seen if status != "200"]
    p99 = times[int(len(times) * 0.99)] * 1000 if times else 0.0
    difference = compute_max_difference(found, passport.answers)
    return {"difference": difference, "requests": len(seen), "errors": len(bad), "kinds": sorted(set(bad)), "p99": p99}


def main(address: str, seconds: float = 0.0, connections: int = 1) -> int:
    """Ask the service at ADDRESS the bundle's rows, put load on it, and print what was seen as JSON."""
    print_data(json.dumps(probe_service(address, seconds, connections)))
    return 0
