"""Verb: an environment comes to run what deploy/<env>.yaml says, step by step, or goes back by itself."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from . import registry
from .config import Deploy, UserError, git, load_params
from .engine import NAME, SLOTS, EngineError, Environment, docker, labels, same
from .image import REVISION

PATIENCE = 60  # seconds until a service must be ready
State = dict[str, Any]


def find(chosen: State, rules: Deploy) -> str:
    """The image of a model that a deploy file names; a `UserError` where it is another than the file says."""
    image = chosen.get("image") or f"{NAME}:{chosen['model'][:12]}"
    try:
        told = labels(image)
    except EngineError as problem:
        raise UserError(f"there is no image {image} ({problem}); `make image` builds it") from None
    if told.get("model") != chosen["model"]:
        raise UserError(f"{image} holds the model {told.get('model', 'none')[:12]}, not {chosen['model'][:12]}")
    if rules.repository:
        trust(image, told, chosen, rules.repository)
    return str(image)


def trust(image: str, told: dict[str, str], chosen: State, repository: str) -> None:
    """Raise unless an image is the registry's, of a commit on this branch, and passed the gate."""
    commit = told.get(REVISION, "")
    if not image.startswith(f"{repository}@sha256:"):
        raise UserError(f"{image} is not {repository}@sha256:…, which params.yaml (deploy.repository) asks for")
    if commit != chosen["commit"]:
        raise UserError(f"{image} was built from {commit[:12]}, the file says {chosen['commit'][:12]}")
    git("merge-base", "--is-ancestor", commit, "HEAD")
    if told.get("verdict") not in ("pass", "warn"):
        raise UserError(f"{image} has the verdict {told.get('verdict')}; only what the gate let pass is deployed")


@contextmanager
def lock(environment: Environment, seconds: float) -> Iterator[None]:
    """One command at a time for an environment: a lease on the engine, which ends by itself if we are killed."""
    name = f"{environment.project}-lock"
    lease = ["--name", name, "--rm", "--detach", "--network=none", "--entrypoint=sleep"]
    try:
        docker("run", *lease, environment.values["FRONT"], str(int(seconds)))
    except EngineError as problem:
        if "already in use" not in str(problem):
            raise
        raise UserError(f"another command works on {environment.env}; wait for it (or `docker rm -f {name}`)") from None
    try:
        yield
    finally:
        docker("rm", "--force", name)


def wait(environment: Environment, slot: str) -> None:
    """Return when a slot is ready and the proxy reaches it; a `UserError` with its last words when it is not in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            environment.ask(slot, "/ready")
            if environment.reached(slot):
                return
        except EngineError:
            pass
        time.sleep(0.3)
    said = environment.compose("logs", "--no-color", "--tail", "3", slot)
    raise UserError(f"the {slot} was not ready within {PATIENCE} s; it said: {said or 'nothing'}")


def smoke(environment: Environment, slot: str, rules: Deploy) -> None:
    """Ask a slot real rows and put load on it; a `UserError` where it differs, fails or is slow."""
    image, network = environment.values[slot.upper()], f"{environment.project}_default"
    module = ["--entrypoint=python", image, "-m", f"{__package__}.probe"]
    load = [f"{slot}:8000", str(rules.load.seconds), str(rules.load.connections)]
    found = json.loads(docker("run", "--rm", f"--network={network}", *module, *load))
    if found["difference"] is None or found["difference"] > rules.levels.difference:
        raise UserError(f"the {slot} answers differently from the pipeline: {found.get('said') or found['difference']}")
    judge(slot, found["errors"], found["requests"], found["p99"], rules)
    print(f"{'smoke':<10}{slot}: {found['requests']:,} requests, {found['errors']} errors, p99 {found['p99']:.0f} ms")


def judge(slot: str, errors: float, requests: float, p99: float, rules: Deploy) -> None:
    """Raise a `UserError` where a service level is broken."""
    if requests and errors / requests > rules.levels.errors:
        raise UserError(f"the {slot} failed {errors:.0f} of {requests:.0f} requests (allowed: {rules.levels.errors:.1%})")
    if p99 > rules.levels.milliseconds:
        raise UserError(f"the {slot} needs {p99:.0f} ms (p99; allowed: {rules.levels.milliseconds:.0f})")


def numbers(text: str) -> dict[str, float]:
    """Prometheus' text as numbers by name and labels."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines if name}


def watch(environment: Environment, seconds: float, rules: Deploy) -> None:
    """Hold the candidate's numbers against the levels for a while; a `UserError` at the first breach."""
    first = numbers(environment.ask("candidate", "/metrics"))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(min(1.0, seconds / 3))
        try:
            now = numbers(environment.ask("candidate", "/metrics"))
        except EngineError:
            raise UserError("the candidate died") from None
        since = {name: value - first.get(name, 0.0) for name, value in now.items()}
        asked = {name: value for name, value in since.items() if name.startswith('requests_total{path="/predict"')}
        if min(asked.values(), default=0) < 0:
            raise UserError("the candidate died and was started again")
        bad = sum(value for name, value in asked.items() if 'status="5' in name)
        judge("candidate", bad, sum(asked.values()), p99(since), rules)


def p99(since: dict[str, float]) -> float:
    """The 99th percentile (ms) that the latency histogram's buckets allow to say: its bucket's upper end."""
    prefix = 'request_seconds_bucket{le="'
    counts = {
        float(name.removeprefix(prefix).partition('"')[0]): value
        for name, value in since.items()
        if name.startswith(prefix) and 'path="/predict"' in name
    }
    whole = counts.get(float("inf"), 0.0)
    return next((1000 * le for le, count in sorted(counts.items()) if whole and count >= 0.99 * whole), 0.0)


def canary(environment: Environment, image: str, target: int, rules: Deploy) -> None:
    """Start an image as the candidate and give it traffic in steps up to a target; users see no failure."""
    environment.share(0)
    environment.up("candidate", image)
    wait(environment, "candidate")
    smoke(environment, "candidate", rules)
    for percent in [step for step in rules.steps if step < target] + [target]:
        if percent:
            environment.share(percent)
            watch(environment, rules.seconds, rules)
            print(f"{'canary':<10}{percent} % held for {rules.seconds:.0f} s")


def replace(environment: Environment, image: str) -> None:
    """Let the champion's slot run an image while the candidate, which runs it too, answers everything."""
    environment.up("champion", image)
    wait(environment, "champion")
    environment.share(0)


def bring(environment: Environment, wanted: State, rules: Deploy) -> None:
    """Make the environment run what is wanted."""
    image = find(wanted["champion"], rules)
    running = environment.image("champion")
    if running is None:
        environment.up("champion", image)
        wait(environment, "champion")
        smoke(environment, "champion", rules)
        environment.share(0)
    elif not same(running, image):
        canary(environment, image, 100, rules)
        replace(environment, image)
    if wanted.get("candidate"):
        canary(environment, find(wanted["candidate"], rules), wanted.get("weight") or 0, rules)
    else:
        environment.share(0)
        environment.down("candidate")


def go_back(environment: Environment) -> None:
    """Give the champion everything and stop the candidate."""
    environment.share(0)
    environment.down("candidate")


def past(environment: Environment) -> list[State]:
    """What ran here, oldest first, as the environment itself remembers it."""
    return [json.loads(line) for line in environment.recall("history.jsonl").splitlines() if line.strip()]


def run(env: str, wanted: State, rules: Deploy) -> Environment:
    """Bring an environment to a state, one command at a time, and let it remember; a breach goes back."""
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    environment = Environment(env, rules.addresses.get(env, "127.0.0.1:8080"))
    environment.start_front()
    with lock(environment, 600 + len(rules.steps) * rules.seconds * 3):
        for slot in SLOTS:
            environment.values[slot.upper()] = environment.image(slot) or "none"
        try:
            bring(environment, wanted, rules)
        except (UserError, KeyboardInterrupt) as problem:
            go_back(environment)
            reason = problem if isinstance(problem, UserError) else "interrupted"
            raise UserError(f"{reason}; {env} went back to its champion") from None
        lines = [json.dumps(state) for state in past(environment)]
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **wanted}
        environment.remember("history.jsonl", "\n".join([*lines, json.dumps(entry)]))
    return environment


def confirm(environment: Environment, wanted: State) -> None:
    """Print who answers; a `UserError` where it is not the champion that is wanted."""
    told = environment.public("/version")
    if told["model"] != wanted["champion"]["model"] and not wanted.get("weight"):
        raise UserError(f"{environment.env} answers with the model {told['model'][:12]}, not {wanted['champion']['model'][:12]}")
    print(f"{environment.env:<10}{told['model'][:12]} answers on {environment.values['ADDRESS']}")


def main(env: str) -> int:
    """Make ENV run what deploy/<ENV>.yaml says."""
    params, wanted = load_params(), registry.state(env)
    if not wanted["champion"]:
        raise UserError(f"deploy/{env}.yaml names no champion; `make promote ENV={env}` writes it there")
    confirm(run(env, wanted, params.deploy), wanted)
    return 0
