"""Verb: an environment comes to run what deploy/<env>.yaml says, step by step, or goes back by itself."""

import json
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from modelyard.core import deployments
from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import DeployParams, load_params
from modelyard.core.paths import MODEL_FILE
from modelyard.core.project import Project
from modelyard.delivery.docker import (
    SLOTS,
    DockerError,
    Environment,
    get_image_id,
    has_image,
    load_ssh_key,
    log_in_to_registry,
    run_docker,
)
from modelyard.delivery.image import REVISION_LABEL
from modelyard.provenance.lineage import verify_lineage
from modelyard.provenance.signing import verify_signature

MAX_RESTARTS = 3  # by which a service proved that it will not come up
DeploymentState = dict[str, Any]
MetricSamples = dict[tuple[str, str, str], float]  # by name, status and bucket: of /predict and of the process


def resolve_image(chosen: DeploymentState, rules: DeployParams) -> str:
    """The image of a model that a deploy file names, pulled where it has to be; a `UserError` where it may not run."""
    image = str(chosen.get("image") or f"{Project.load().name}:{chosen['model'][:12]}")
    try:
        if "@" in image and not has_image(image):
            run_docker("pull", "--quiet", image)
        told = json.loads(run_docker("image", "inspect", "--format", "{{json .Config.Labels}}", image)) or {}
    except DockerError as problem:
        raise UserError(f"there is no image {image} ({problem}); `make image` builds it") from None
    if told.get("model") != chosen["model"]:
        raise UserError(f"{image} holds the model {told.get('model', 'none')[:12]}, not {chosen['model'][:12]}")
    if rules.repository:
        verify_image_origin(image, told, chosen, rules.repository)
    verify_signature(image, "deploy.signed", rules.signed, image=image)
    if command := load_params().release.signed:
        verify_image_model(image, chosen["model"], command)
    commit = told.get(REVISION_LABEL, "none").removesuffix("-dirty")
    verify_lineage(
        {**told, "dvc_lock": told.get("dvc-lock", ""), "data": told.get("data", ""), "commit": commit}, strict=False
    )
    return image


def verify_image_model(image: str, model: str, command: Sequence[str]) -> None:
    """Raise unless the model's file in an image is that model, and found signed."""
    with tempfile.TemporaryDirectory() as folder:
        file, box = Path(folder, MODEL_FILE.name), run_docker("create", image)
        try:
            run_docker("cp", f"{box}:/app/{MODEL_FILE}", str(file))
        finally:
            run_docker("rm", box)
        if (found := sha256(file)) != model:
            raise UserError(f"{image} says that it holds the model {model[:12]}, and holds {found[:12]}")
        verify_signature(f"the model {model[:12]}", "release.signed", command, model=str(file), digest=model)


def verify_image_origin(image: str, told: dict[str, str], chosen: DeploymentState, repository: str) -> None:
    """Raise unless an image is the registry's, of the commit that the file names, and passed the gate."""
    commit = told.get(REVISION_LABEL, "")
    if not image.startswith(f"{repository}@sha256:"):
        raise UserError(f"{image} is not {repository}@sha256:…, which params.yaml (deploy.repository) asks for")
    if commit != chosen["commit"]:
        raise UserError(f"{image} was built from {commit[:12]}, the file says {chosen['commit'][:12]}")
    if told.get("verdict") not in ("pass", "warn"):
        raise UserError(f"{image} has the verdict {told.get('verdict')}; only what the gate let pass is deployed")


@contextmanager
def lock_environment(environment: Environment, seconds: float) -> Iterator[None]:
    """One command at a time for an environment: a lease on the engine, which ends by itself if we are killed."""
    name = f"{environment.project}-lock"
    lease = ["--name", name, "--rm", "--detach", "--network=none", "--entrypoint=sleep"]
    try:
        run_docker("run", *lease, environment.values["FRONT"], str(int(seconds)))
    except DockerError as problem:
        if "already in use" not in str(problem):
            raise
        said = f"another command works on {environment.env}; wait for it"
        raise UserError(f"{said} (was it killed? then: docker rm --force {name})") from None
    try:
        yield
    finally:
        run_docker("rm", "--force", name)


def wait_until_ready(environment: Environment, slot: str, rules: DeployParams) -> None:
    """Return when a slot is ready and the proxy reaches it; a `UserError` that says what is not so, in time."""
    end = time.monotonic() + rules.patience
    while True:  # however slow the engine answers: what is said is of one look, and the last one begins after the end
        over = time.monotonic() >= end
        restarts = int(environment.inspect(slot, "{{.RestartCount}}") or 0)
        ready = environment.answers(slot)
        reached = ready and environment.is_reached_by_proxy(slot)
        if reached:
            return
        if over or restarts >= MAX_RESTARTS:
            break
        time.sleep(0.2)
    state = environment.inspect(slot, "{{.State.Status}}")
    said = environment.compose("logs", "--no-color", "--no-log-prefix", "--tail=2", slot).replace("\n", " ").strip()
    facts = [
        f"its container is {state or 'gone'} after {restarts} restarts",
        f"/ready {'answers' if ready else 'does not answer'}",
        f"the proxy {'reaches' if reached else 'does not reach'} it",
        f"its last words: {said}" if said else "it said nothing",
    ]
    why = "ends again and again" if restarts >= MAX_RESTARTS else f"was not ready within {rules.patience:g} s"
    raise UserError(f"the {slot} {why}: {'; '.join(facts)}")


def run_smoke_test(environment: Environment, slot: str, rules: DeployParams, seconds: float) -> None:
    """Ask a slot real rows and put load on it; a `UserError` where it differs, fails or is slow."""
    network, image = f"--network={environment.project}_default", environment.values[slot.upper()]
    command = ["--rm", network, "--env=API_KEY", "--entrypoint=python", image, "-m", "modelyard", "smoke"]
    asked = ["--address", environment.at(slot), "--seconds", str(seconds)]
    asked += ["--connections", str(rules.load.connections)]
    found = json.loads(run_docker("run", *command, *asked))
    if found["difference"] is None or found["difference"] > rules.levels.difference:
        raise UserError(f"the {slot} answers otherwise than the pipeline: {found.get('said') or found['difference']}")
    check_service_levels(slot, found["errors"], found["requests"], found["p99"], rules)
    load = f", {found['requests']:,} requests, {found['errors']} failed, p99 {found['p99']:.0f} ms" if seconds else ""
    print_result("smoke", f"{slot}: answers as the pipeline does{load}")


def check_service_levels(slot: str, errors: float, requests: float, slowest: float, rules: DeployParams) -> None:
    """Raise a `UserError` where a service level is broken."""
    levels = rules.levels
    if requests and errors / requests > levels.errors:
        raise UserError(f"the {slot} failed {errors:.0f} of {requests:.0f} requests ({levels.errors:.1%} are allowed)")
    if slowest > levels.milliseconds:
        raise UserError(f"the {slot} needs {slowest:.0f} ms (p99; {levels.milliseconds:g} are allowed)")


def read_candidate_metrics(environment: Environment) -> MetricSamples:
    """The candidate's numbers; a `UserError` where it does not tell them."""
    try:
        families = text_string_to_metric_families(environment.ask(environment.at("candidate"), "/metrics"))
    except DockerError:
        raise UserError("the candidate died") from None
    samples = [one for family in families for one in family.samples if one.labels.get("path", "/predict") == "/predict"]
    return {(one.name, one.labels.get("status", ""), one.labels.get("le", "")): one.value for one in samples}


def compute_p99_milliseconds(since: MetricSamples) -> float:
    """The 99th percentile (ms) as far as the latency histogram tells: the upper end of its bucket."""
    buckets = sorted((float(le), n) for (name, _, le), n in since.items() if name == "request_seconds_bucket")
    return next((1000 * le for le, count in buckets if count >= 0.99 * buckets[-1][1] > 0), 0.0)


def watch_candidate(environment: Environment, rules: DeployParams) -> float:
    """Hold the candidate's numbers against the levels; a `UserError` at the first breach, else its requests."""
    first, born = read_candidate_metrics(environment), ("process_start_time_seconds", "", "")
    end = time.monotonic() + rules.seconds
    while True:  # however slow this machine is, nothing passes without a look at its end
        time.sleep(min(1.0, rules.seconds / 3))
        over = time.monotonic() >= end
        now = read_candidate_metrics(environment)
        if now[born] != first[born]:
            raise UserError("the candidate died and was started again")
        since = {key: value - first.get(key, 0.0) for key, value in now.items()}
        asked = {status: value for (name, status, _), value in since.items() if name == "requests_total"}
        requests = sum(asked.values())
        check_service_levels(
            "candidate",
            sum(n for status, n in asked.items() if status[0] == "5"),
            requests,
            compute_p99_milliseconds(since),
            rules,
        )
        if over:
            return requests


def run_canary(environment: Environment, image: str, target: int, rules: DeployParams, fast: bool) -> None:
    """Let an image be the candidate and give it traffic in steps up to a target; no user sees a failure."""
    start = environment.read_proxy_servers()["candidate"][2]
    if environment.image("candidate") != get_image_id(image):
        start = 0
        environment.share(0)
        environment.up("candidate", image)
        wait_until_ready(environment, "candidate", rules)
        run_smoke_test(environment, "candidate", rules, 0 if fast else rules.load.seconds)
    for percent in [step for step in rules.steps if start < step < target and not fast] + [target]:
        environment.share(percent)
        if percent and not fast:
            seen = watch_candidate(environment, rules)
            print_result("canary", f"{percent} % held for {rules.seconds:g} s ({seen:,.0f} requests)")


def apply_state(environment: Environment, wanted: DeploymentState, rules: DeployParams, fast: bool) -> None:
    """Make the environment run what is wanted; a new champion comes as a candidate that takes everything over."""
    image = resolve_image(wanted["champion"], rules)
    candidate = resolve_image(wanted["candidate"], rules) if wanted.get("candidate") else None
    running = environment.image("champion")
    environment.mirror(False)
    if running != get_image_id(image):
        if running:
            run_canary(environment, image, 100, rules, fast)
        environment.up("champion", image)
        wait_until_ready(environment, "champion", rules)
        if not running:
            run_smoke_test(environment, "champion", rules, rules.load.seconds)
        environment.share(0)
    if candidate:
        run_canary(environment, candidate, wanted.get("weight") or 0, rules, fast)
        environment.mirror(bool(wanted.get("mirror")))
    else:
        environment.share(0)
        environment.down("candidate")


def roll_back(environment: Environment, before: str | None) -> None:
    """Give the champion that was everything, and stop the candidate."""
    environment.mirror(False)
    if before and environment.image("champion") not in (before, None):
        return  # the new one took over already: the candidate's slot still answers, and the next command goes on
    environment.share(0)
    environment.down("candidate")
    if not before:
        environment.down("champion")


def read_deployed_states(environment: Environment) -> list[DeploymentState]:
    """What ran here, oldest first, as the environment itself remembers it."""
    return [json.loads(line) for line in environment.recall("history.jsonl").splitlines() if line.strip()]


def deploy_state(environment: Environment, wanted: DeploymentState, rules: DeployParams, fast: bool = False) -> None:
    """Bring an environment to a state, one command at a time, and let it remember; a breach goes back."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to end is like Ctrl-C: there is time to go back
    with lock_environment(environment, 600 + rules.patience * 3 + (len(rules.steps) + 1) * rules.seconds * 4):
        environment.start_proxy()
        before = environment.image("champion")
        for slot in SLOTS:
            environment.values[slot.upper()] = environment.image(slot) or "none"
        try:
            apply_state(environment, wanted, rules, fast)
        except (UserError, KeyboardInterrupt) as problem:
            roll_back(environment, before)
            reason = problem if isinstance(problem, UserError) else "interrupted"
            raise UserError(f"{reason}; {environment.env} went back to what ran before") from None
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **wanted}
        environment.write_state_file(
            "history.jsonl", "\n".join(map(json.dumps, [*read_deployed_states(environment), entry]))
        )


def check_live_model(environment: Environment, wanted: DeploymentState) -> None:
    """Print who answers; a `UserError` where it is none that is wanted."""
    told, champion = environment.get_through_proxy("/version")["model"], wanted["champion"]["model"]
    if told != champion and not wanted.get("weight"):
        raise UserError(f"{environment.env} answers with the model {told[:12]}, not {champion[:12]}")
    print_line(f"{environment.env:<10}{told[:12]} answers on {environment.values['ADDRESS']}")


def main(env: str, repository: str = "") -> int:
    """Make ENV run what deploy/<ENV>.yaml says; only images of REPOSITORY, where one is named or in params.yaml."""
    rules, wanted = load_params().deploy, deployments.load_state(env)
    rules = msgspec.structs.replace(rules, repository=repository or rules.repository)
    if not wanted["champion"]:
        raise UserError(f"deploy/{env}.yaml names no champion; `make promote ENV={env}` writes it there")
    log_in_to_registry(rules.repository or "")
    load_ssh_key()
    environment = Environment(env, rules)
    deploy_state(environment, wanted, rules)
    check_live_model(environment, wanted)
    return 0
