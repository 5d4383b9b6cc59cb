"""The service on a real socket: fuzzed by its own description, stopped, starved, and given a false model."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.template.support import LIBRARY, Bake, BakedProject, free_port, run

pytestmark = pytest.mark.slow
# Later versions of hypothesis lack what this one's extension for JSON Schema asks for.
FUZZER = ("--from", "schemathesis==4.24.2", "--with", "hypothesis==6.148.*")


class Service:
    """A service of a project, on a port of its own."""

    def __init__(self, project: BakedProject, venv: Path, **env: str) -> None:
        self.port = free_port()
        self.logs = project.path / f"logs-{self.port}"
        self.rows = json.loads(project.read("models/bundle.json"))["rows"]
        places = {"MODELYARD_BIND": f"127.0.0.1:{self.port}", "MODELYARD_LOGS": str(self.logs), "PYTHONPATH": LIBRARY}
        self.process = subprocess.Popen(
            [venv / "bin/python", "-m", "modelyard", "serve"],
            cwd=project.path,
            env=os.environ | places | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        while self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.ask("/ready")
                break
            time.sleep(0.05)

    def ask(self, path: str, value: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = None if value is None else json.dumps(value)
        headers = {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body, headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())

    def head(self, length: int) -> socket.socket:
        """A connection that promised a body of so many bytes."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        lines = ("POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json")
        client.sendall("\r\n".join((*lines, f"Content-Length: {length}", "", "")).encode())
        return client


@pytest.fixture(scope="module")
def project(render: Callable[..., Path], environment: Path, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    project = BakedProject(render(tmp_path_factory.mktemp("serving")))
    project.make("pipeline", "compile", f"VENV={environment}", TRACK="0")
    return project


@pytest.fixture
def serve(project: BakedProject, environment: Path) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def inner(**env: str) -> Service:
        started.append(Service(project, environment, **env))
        return started[-1]

    yield inner
    for service in started:
        service.process.terminate()
        service.process.communicate(timeout=30)


def test_fuzzed_by_its_own_description_it_never_fails(serve: Callable[..., Service]) -> None:
    service = serve()
    address = f"http://127.0.0.1:{service.port}/openapi.json"
    fuzz = ("st", "run", address, "--seed", "1", "-n", "100", "--no-color")
    phases = ("--phases", "examples,coverage,fuzzing")
    said = run("uv", "tool", "run", *FUZZER, *fuzz, *phases, cwd=service.logs.parent)
    assert "No issues found" in said
    assert service.ask("/predict", service.rows[0])[0] == 200


def test_what_is_in_flight_is_answered_before_it_stops(serve: Callable[..., Service]) -> None:
    service = serve()
    body = json.dumps(service.rows[0]).encode()
    client = service.head(len(body))
    client.sendall(body[:10])
    time.sleep(0.3)
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    client.sendall(body[10:])
    assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert service.process.wait(30) in (0, -signal.SIGTERM)
    logged = "".join(path.read_text() for path in service.logs.glob("predictions-*"))
    assert len(logged.splitlines()) == 1


def test_a_slow_client_is_sent_away(serve: Callable[..., Service], project: BakedProject) -> None:
    params = project.path / "params.yaml"
    plain = params.read_text()
    params.write_text(plain.replace("  seconds: 10 ", "  seconds: 1 "))
    try:
        service = serve()
        client = service.head(100)
        client.sendall(b"{")
        assert client.recv(65536).startswith(b"HTTP/1.1 408")
        assert service.ask("/ready") == (200, {"ready": True})
    finally:
        params.write_text(plain)


def test_a_body_of_ten_megabytes_is_refused(serve: Callable[..., Service]) -> None:
    client = serve().head(10 * 2**20 + 1)
    assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_a_hundred_thousand_rows_are_refused(serve: Callable[..., Service]) -> None:
    service = serve()
    status, said = service.ask("/predict", [{"scheduled": "2013-01-01T00:00:00"}] * 100_000)
    assert (status, said["row"]) == (422, 0)
    rows = [{"scheduled": service.rows[0]["scheduled"]} | service.rows[0]] * 12_000
    status, said = service.ask("/predict", rows)
    assert status == 413 and "12,000 rows" in said["error"]


def test_a_log_folder_that_goes_away_costs_nothing(serve: Callable[..., Service]) -> None:
    service = serve()
    assert service.ask("/predict", service.rows)[0] == 200
    time.sleep(2)
    shutil.rmtree(service.logs)
    assert service.ask("/predict", service.rows)[0] == 200
    time.sleep(2.5)
    logged = "".join(path.read_text() for path in service.logs.glob("predictions-*"))
    assert len(logged.splitlines()) == len(service.rows)


@pytest.mark.parametrize("spoil", [lambda old: old[:-1] + b"x", lambda _: b""], ids=["bit", "empty"])
def test_a_false_model_is_refused(
    serve: Callable[..., Service], project: BakedProject, spoil: Callable[[bytes], bytes]
) -> None:
    path = project.path / "models/model.onnx"
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    try:
        assert "refusing to start: models/model.onnx is" in serve().said
    finally:
        path.write_bytes(whole)


HARD_NAMES = ["NO", "null", "1e3", "00:30", "~", "yes", "$x", "${y}", "{z", "[q]?"]
HARD_NAMES += ["a: 'b' #\"c\"", "Größe, brutto", " x"]


def test_a_table_with_any_names_goes_from_the_file_to_the_service(fresh: Bake, environment: Path) -> None:
    project, random = fresh(), np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(400, len(HARD_NAMES))).round(3), columns=HARD_NAMES)
    truth = np.where(table["NO"] + random.normal(size=400) > 0, "1e3", "NO")
    table.assign(off=truth).to_csv(project.path / "hard.csv", index=False)
    project.make("adopt", CSV="hard.csv", TARGET="off", VENV=str(environment))
    project.make("pipeline", "compile", TRACK="0", VENV=str(environment))
    assert "are up to date" in project.make("pipeline", TRACK="0", VENV=str(environment))
    service = Service(project, environment)
    try:
        status, answers = service.ask("/predict", service.rows)
    finally:
        service.process.terminate()
        service.process.communicate(timeout=30)
    assert status == 200 and {name.strip() for name in HARD_NAMES} == set(service.rows[0])
    assert {answer["prediction"] for answer in answers} <= {"1e3", "NO"}


PEAK = """import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


def test_files_four_times_as_long_are_scored_in_the_same_memory(project: BakedProject, environment: Path) -> None:
    python, peaks = environment / "bin/python", []
    for times in (240, 960):  # shorter ones end before every buffer is full
        again = f"import pandas as pd; t = pd.read_parquet('data/holdout.parquet'); \
            pd.concat([t] * {times}).to_parquet('long-{times}.parquet', index=False)"
        project.run(python, "-c", again)
        score = ("-m", "modelyard", "score", f"--in=long-{times}.parquet", "--out=said.parquet")
        peaks.append(int(project.run(python, "-c", PEAK, *score, PYTHONPATH=LIBRARY)))
        (project.path / "said.parquet").unlink()
    assert peaks[1] <= 1.1 * peaks[0]
