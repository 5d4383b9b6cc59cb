"""An environment without a container engine, and the states and rules that its tests need."""

import json
from collections.abc import Callable
from typing import Any

from modelyard.core.params import DeployParams
from modelyard.delivery.deploy import DeploymentState
from modelyard.delivery.docker import DockerError, Environment

A, B = "a" * 64, "b" * 64
RULES = DeployParams(seconds=0.01, patience=0.5)
GOOD_SMOKE_TEST = '{"difference": 0.0, "errors": 0, "requests": 9, "p99": 1.0}'


def image(model: str) -> str:
    return f"flight-delays:{model[:12]}"


def wanted(champion: str = A, candidate: str | None = None, **more: Any) -> DeploymentState:
    slots = {"champion": champion, "candidate": candidate}
    state: dict[str, Any] = {
        slot: model and {"model": model, "commit": "c", "image": None} for slot, model in slots.items()
    }
    return {**state, "weight": 0, "mirror": False, **more}


class FakeEnvironment(Environment):
    """What runs, who gets which share, and what the metrics of a service are."""

    def __init__(self) -> None:  # pylint: disable=super-init-not-called
        self.env = "staging"
        self.name = "x_staging"
        self.variables = {"ADDRESS": "here", "FRONT": "front"}
        self.slots: dict[str, str] = {}
        self.percent = 0
        self.files: dict[str, str] = {}
        self.steps: list[Any] = []
        self.restarts = 0
        self.metrics = ["process_start_time_seconds 1.0\n"]

    def running_image_id(self, service: str) -> str | None:
        return self.slots.get(service)

    def start_service(self, service: str, image: str) -> None:
        self.steps.append((service, image))
        self.slots[service] = image
        self.variables[service.upper()] = image

    def stop_service(self, service: str) -> None:
        self.slots.pop(service, None)

    def set_candidate_share(self, percent: int) -> None:
        self.percent = percent
        self.steps.append(percent)

    def set_mirroring(self, on: bool) -> None:
        self.steps += ["mirror"] if on else []

    def read_proxy_servers(self) -> dict[str, tuple[str, bool, int]]:
        return {"candidate": ("", True, self.percent), "champion": ("", True, 100 - self.percent)}

    def is_reached_by_proxy(self, slot: str) -> bool:
        return True

    def slot_address(self, slot: str) -> str:
        return f"{slot}:8000"

    def http_get(self, address: str, path: str) -> str:
        if address.partition(":")[0] not in self.slots:
            raise DockerError(path, "no such container")
        return self.metrics[0] if len(self.metrics) == 1 else self.metrics.pop(0)

    def inspect_service(self, service: str, template: str) -> str:
        return str(self.restarts) if "RestartCount" in template else "restarting"

    def is_slot_ready(self, slot: str) -> bool:
        return slot in self.slots

    def start_proxy(self) -> None:
        pass

    def run_compose(self, *arguments: str) -> str:
        return "the last line"

    def write_state_file(self, name: str, text: str) -> None:
        self.files[name] = text

    def read_state_file(self, name: str) -> str:
        return self.files.get(name, "")

    def get_through_proxy(self, path: str) -> Any:
        slot = "candidate" if self.percent == 100 else "champion"
        return {"model": {image(A): A, image(B): B}[self.slots[slot]]}


def make_engine(smoke_test: str) -> Callable[..., str]:
    """Return a function in place of `run_docker`, which knows labels, and the result of a smoke test."""

    def run_docker(*arguments: str, **_: Any) -> str:
        if arguments[0] == "image":
            return json.dumps({"model": {image(A): A, image(B): B}.get(arguments[-1], "")})
        return smoke_test

    return run_docker


def brace(**labels: str) -> str:
    """Return labels as Prometheus writes them."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def write_metrics(requests: int, **more: float) -> str:
    """Return a service's metrics after a number of requests, half of them in 10 ms and 0.5 % in more than 500 ms."""
    values = {f"requests_total{brace(path='/predict', status='200')}": requests, "process_start_time_seconds": 1.0}
    for limit, share in (("0.01", 0.5), ("0.5", 0.995), ("+Inf", 1.0)):
        values[f"request_seconds_bucket{brace(le=limit, path='/predict')}"] = requests * share
    return "\n".join(f"{name} {value}" for name, value in {**values, **more}.items())
