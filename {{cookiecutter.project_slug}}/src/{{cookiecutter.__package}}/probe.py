"""Asks a service the rows of its image's passport, from beside it: equal answers, then how fast under load."""

import http.client
import json
import sys
import threading
import time
from typing import Any

from .predictor import read_passport


def post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, Any]:
    """Status and value of one POST /predict."""
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def difference(answers: list[dict[str, Any]], right: list[dict[str, Any]]) -> float:
    """The largest distance between answers and what the pipeline said."""
    worst = 0.0
    for mine, theirs in zip(answers, right, strict=True):
        pairs = [(mine["prediction"], theirs["prediction"])]
        if "probabilities" in theirs:
            pairs = [(mine["probabilities"][name], p) for name, p in theirs["probabilities"].items()]
        worst = max([worst, *(abs(a - b) / max(1.0, abs(b)) for a, b in pairs)])
    return worst


def load(address: str, bodies: list[bytes], seconds: float, latencies: list[float], errors: list[str]) -> None:
    """One connection's requests, one after the other, until the time is over."""
    connection = http.client.HTTPConnection(address, timeout=10)
    start, number = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        before = time.perf_counter()
        try:
            status, _ = post(connection, bodies[number % len(bodies)])
            if status != 200:
                errors.append(str(status))
        except (OSError, http.client.HTTPException) as problem:
            errors.append(type(problem).__name__)
            connection.close()
        latencies.append(time.perf_counter() - before)
        number += 1


def probe(address: str, seconds: float, connections: int) -> dict[str, Any]:
    """The largest difference from the pipeline, and requests, errors and p99 (ms) of the load."""
    passport = read_passport()
    status, found = post(http.client.HTTPConnection(address, timeout=30), json.dumps(passport.rows).encode())
    if status != 200:
        return {"difference": None, "said": found}
    bodies = [json.dumps(row).encode() for row in passport.rows]
    latencies, errors = list[float](), list[str]()
    arguments = (address, bodies, seconds, latencies, errors)
    threads = [threading.Thread(target=load, args=arguments) for _ in range(connections if seconds else 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slowest = sorted(latencies)[int(len(latencies) * 0.99)] * 1000 if latencies else 0.0
    return {
        "difference": difference(found, passport.answers),
        "requests": len(latencies),
        "errors": len(errors),
        "kinds": sorted(set(errors)),
        "p99": slowest,
    }


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))))
