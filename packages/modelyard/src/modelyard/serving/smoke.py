"""Test a running service from beside it: its predictions for the bundle's rows, then its latency under load."""

import http.client
import json
import os
import threading
import time
from typing import Any

from modelyard.core.console import print_data
from modelyard.inference.bundle import ModelBundle, compute_max_difference

TIMEOUT_SECONDS = 30
LOAD_TIMEOUT_SECONDS = 10


def post_rows(connection: http.client.HTTPConnection, value: Any) -> tuple[int, Any]:
    """Return the status and the decoded body of one POST /predict."""
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {os.environ.get('API_KEY', '')}",
    }
    connection.request("POST", "/predict", json.dumps(value), headers)
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def send_requests(address: str, rows: list[Any], end: float, results: list[tuple[float, str]]) -> None:
    """Send one row after the other over one connection until the time `end`.

    The seconds and the status of each request are appended to `results`; the status of a failed one is its error.
    """
    connection = http.client.HTTPConnection(address, timeout=LOAD_TIMEOUT_SECONDS)
    while time.perf_counter() < end:
        start = time.perf_counter()
        try:
            status = str(post_rows(connection, rows[len(results) % len(rows)])[0])
        except (OSError, http.client.HTTPException) as problem:
            status = type(problem).__name__
            connection.close()
        results.append((time.perf_counter() - start, status))


def generate_load(address: str, rows: list[Any], seconds: float, connections: int) -> list[tuple[float, str]]:
    """Return the seconds and the status of all requests that several connections send at once."""
    results: list[tuple[float, str]] = []
    arguments = (address, rows, time.perf_counter() + seconds, results)
    threads = [threading.Thread(target=send_requests, args=arguments) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def probe_service(address: str, seconds: float, connections: int) -> dict[str, Any]:
    """Compare a service with the bundle, then put load on it.

    Parameters
    ----------
    address
        The service's host:port.
    seconds, connections
        The load's duration and width.

    Returns
    -------
    dict
        `difference`, the largest one from the pipeline's predictions, and of the load `requests`, `errors`, their
        `kinds` and the latency `p99` in ms. Without a prediction the difference is None, and `said` is the reply.
    """
    bundle = ModelBundle.read()
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    status, reply = post_rows(connection, bundle.rows)
    if status != 200:
        return {"difference": None, "said": reply}
    results = generate_load(address, bundle.rows, seconds, connections)
    latencies = sorted(latency for latency, _ in results)
    failures = [status for _, status in results if status != "200"]
    return {
        "difference": compute_max_difference(reply, bundle.answers),
        "requests": len(results),
        "errors": len(failures),
        "kinds": sorted(set(failures)),
        "p99": latencies[int(len(latencies) * 0.99)] * 1000 if latencies else 0.0,
    }


def main(address: str, seconds: float = 0.0, connections: int = 1) -> int:
    """Test the service at ADDRESS with the bundle's rows, then put load on it, and print the results as JSON."""
    print_data(json.dumps(probe_service(address, seconds, connections)))
    return 0
