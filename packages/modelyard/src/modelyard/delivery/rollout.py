"""Brings a candidate into an environment step by step, and holds its metrics against the service levels."""

import json
import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.histogram import compute_p99
from modelyard.core.params import DeployParams
from modelyard.delivery.docker import DockerError, Environment, get_image_id, run_docker

MAX_RESTARTS = 3  # a service that was restarted so often will not come up
LOOK_SECONDS = 1.0
POLL_SECONDS = 0.2
START_TIME = ("process_start_time_seconds", "", "")
MetricSamples = dict[tuple[str, str, str], float]  # by name, status and bucket: of /predict and of the process


class RolloutError(UserError):
    """A slot is not ready, answers wrongly, or breaks a service level.

    Parameters
    ----------
    slot
        champion or candidate.
    problem
        What happened, as the rest of a sentence that begins with the slot.
    """

    def __init__(self, slot: str, problem: str) -> None:
        super().__init__(f"the {slot} {problem}")
        self.slot = slot
        self.problem = problem


def wait_until_ready(environment: Environment, slot: str, rules: DeployParams) -> None:
    """Wait until a slot is ready and the proxy reaches it.

    The last look begins after `rules.patience` seconds, however long a look takes.

    Raises
    ------
    RolloutError
        That is not so in time, or the container was restarted too often.
    """
    end = time.monotonic() + rules.patience
    while True:
        over = time.monotonic() >= end
        restarts = int(environment.inspect_service(slot, "{{.RestartCount}}") or 0)
        ready = environment.is_slot_ready(slot)
        reached = ready and environment.is_reached_by_proxy(slot)
        if reached:
            return
        if over or restarts >= MAX_RESTARTS:
            break
        time.sleep(POLL_SECONDS)
    problem = "ends again and again" if restarts >= MAX_RESTARTS else f"was not ready within {rules.patience:g} s"
    facts = describe_service(environment, slot, restarts, ready)
    raise RolloutError(slot, f"{problem}: {facts}")


def describe_service(environment: Environment, slot: str, restarts: int, ready: bool) -> str:
    """Return what is known of a service that the proxy does not reach."""
    state = environment.inspect_service(slot, "{{.State.Status}}") or "gone"
    logs = environment.run_compose("logs", "--no-color", "--no-log-prefix", "--tail=2", slot)
    last_lines = logs.replace("\n", " ").strip()
    facts = [
        f"its container is {state} after {restarts} restarts",
        "/ready answers" if ready else "/ready does not answer",
        "the proxy does not reach it",
        f"its last log lines: {last_lines}" if last_lines else "its log is empty",
    ]
    return "; ".join(facts)


def run_smoke_test(environment: Environment, slot: str, rules: DeployParams, seconds: float) -> None:
    """Compare a slot's answers with the pipeline's, and put load on it, from a container beside it.

    Parameters
    ----------
    environment
        The environment.
    slot
        champion or candidate.
    rules
        The block `deploy` of params.yaml: levels and load.
    seconds
        How long the load lasts; 0 for none.

    Raises
    ------
    RolloutError
        An answer differs, or a service level is broken.
    """
    image = environment.variables[slot.upper()]
    container = ["--rm", f"--network={environment.name}_default", "--env=API_KEY", "--entrypoint=python", image]
    command = ["-m", "modelyard", "smoke", "--address", environment.slot_address(slot)]
    command += ["--seconds", str(seconds), "--connections", str(rules.load.connections)]
    result: dict[str, Any] = json.loads(run_docker("run", *container, *command))
    difference = result["difference"]
    if difference is None or difference > rules.levels.difference:
        raise RolloutError(slot, f"does not answer as the pipeline does: {result.get('said') or difference}")
    check_service_levels(slot, result["errors"], result["requests"], result["p99"], rules)
    load = ""
    if seconds:
        load = f", {result['requests']:,} requests, {result['errors']} failed, p99 {result['p99']:.0f} ms"
    print_result("smoke", f"{slot}: answers as the pipeline does{load}")


def check_service_levels(slot: str, errors: float, requests: float, p99: float, rules: DeployParams) -> None:
    """Raise a `RolloutError` where a service level is broken.

    Parameters
    ----------
    slot
        champion or candidate.
    errors, requests
        The number of failed requests and of all.
    p99
        The 99th percentile of the latency, in milliseconds.
    rules
        The block `deploy` of params.yaml.
    """
    levels = rules.levels
    if requests and errors / requests > levels.errors:
        raise RolloutError(slot, f"failed {errors:.0f} of {requests:.0f} requests ({levels.errors:.1%} are allowed)")
    if p99 > levels.milliseconds:
        raise RolloutError(slot, f"needs {p99:.0f} ms (p99; {levels.milliseconds:g} are allowed)")


def read_candidate_metrics(environment: Environment) -> MetricSamples:
    """Return the candidate's counters.

    Raises
    ------
    RolloutError
        The candidate does not answer.
    """
    try:
        text = environment.http_get(environment.slot_address("candidate"), "/metrics")
    except DockerError:
        raise RolloutError("candidate", "died") from None
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if labels.get("path", "/predict") == "/predict":
                samples[sample.name, labels.get("status", ""), labels.get("le", "")] = sample.value
    return samples


def compute_p99_milliseconds(samples: MetricSamples) -> float:
    """Return the 99th percentile of the latency in milliseconds: the upper end of its bucket; 0 without a request."""
    buckets = [(float(bound), count) for (name, _, bound), count in samples.items() if name == "request_seconds_bucket"]
    return 1000 * compute_p99(buckets)


def watch_candidate(environment: Environment, rules: DeployParams) -> float:
    """Hold the candidate's metrics against the service levels for `rules.seconds`, and return its number of requests.

    The last look begins after the end, however slow this machine is.

    Raises
    ------
    RolloutError
        The candidate was restarted, or breaks a service level.
    """
    first = read_candidate_metrics(environment)
    end = time.monotonic() + rules.seconds
    over = False
    requests = 0.0
    while not over:
        time.sleep(min(LOOK_SECONDS, rules.seconds / 3))
        over = time.monotonic() >= end
        now = read_candidate_metrics(environment)
        if now[START_TIME] != first[START_TIME]:
            raise RolloutError("candidate", "died and was started again")
        since = {key: value - first.get(key, 0.0) for key, value in now.items()}
        by_status = {status: count for (name, status, _), count in since.items() if name == "requests_total"}
        requests = sum(by_status.values())
        errors = sum(count for status, count in by_status.items() if status.startswith("5"))
        check_service_levels("candidate", errors, requests, compute_p99_milliseconds(since), rules)
    return requests


def run_canary(environment: Environment, image: str, target: int, rules: DeployParams, fast: bool) -> None:
    """Start an image as the candidate, and give it traffic in steps.

    Parameters
    ----------
    environment
        The environment.
    image
        The image.
    target
        The percentage of the traffic that the candidate gets in the end.
    rules
        The block `deploy` of params.yaml.
    fast
        Whether to take one step, without load and without watching.
    """
    start = environment.read_proxy_servers()["candidate"][2]
    if environment.running_image_id("candidate") != get_image_id(image):
        start = 0
        environment.set_candidate_share(0)
        environment.start_service("candidate", image)
        wait_until_ready(environment, "candidate", rules)
        run_smoke_test(environment, "candidate", rules, 0 if fast else rules.load.seconds)
    steps = [] if fast else [step for step in rules.steps if start < step < target]
    for percent in [*steps, target]:
        environment.set_candidate_share(percent)
        if percent and not fast:
            requests = watch_candidate(environment, rules)
            print_result("canary", f"{percent} % held for {rules.seconds:g} s ({requests:,.0f} requests)")
