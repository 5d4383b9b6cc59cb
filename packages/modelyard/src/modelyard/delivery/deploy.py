"""Deploys the models in deploy/<env>.yaml by canary steps, and rolls back when a service level is broken."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelyard.core import deployments
from modelyard.core.console import print_result
from modelyard.core.errors import IntegrityError, UserError
from modelyard.core.params import DeployParams, load_params
from modelyard.delivery.docker import (
    SLOTS,
    DockerError,
    Environment,
    get_image_id,
    load_ssh_key,
    log_in_to_registry,
    run_docker,
)
from modelyard.delivery.image_checks import resolve_image
from modelyard.delivery.rollout import run_canary, run_smoke_test, wait_until_ready

HISTORY_FILE = "history.jsonl"  # on the environment's own volume
LEASE_SECONDS = 600
DeploymentState = dict[str, Any]  # champion, candidate, weight and mirror, as in deploy/<env>.yaml


class LockedEnvironmentError(UserError):
    """Another command works on the environment.

    Parameters
    ----------
    env
        The environment.
    container
        The container that is the lock.
    """

    def __init__(self, env: str, container: str) -> None:
        cure = f"wait for it (was it killed? then run docker rm --force {container})"
        super().__init__(f"another command works on {env}; {cure}")
        self.env = env
        self.container = container


class NoChampionError(UserError):
    """The deploy file of an environment names no champion.

    Parameters
    ----------
    env
        The environment.
    """

    def __init__(self, env: str) -> None:
        super().__init__(f"deploy/{env}.yaml names no champion; `make promote ENV={env}` writes it there")
        self.env = env


@contextmanager
def lock_environment(environment: Environment, seconds: float) -> Iterator[None]:
    """Allow one command at a time to change an environment.

    The lock is a container on the engine, so that it holds for all machines; it ends by itself if we are killed.

    Parameters
    ----------
    environment
        The environment.
    seconds
        How long the lock lasts at most.

    Raises
    ------
    LockedEnvironmentError
        Another command has it.
    """
    container = f"{environment.name}-lock"
    options = ["--name", container, "--rm", "--detach", "--network=none", "--entrypoint=sleep"]
    try:
        run_docker("run", *options, environment.variables["FRONT"], str(int(seconds)))
    except DockerError as problem:
        if "already in use" not in problem.problem:
            raise
        raise LockedEnvironmentError(environment.env, container) from None
    try:
        yield
    finally:
        run_docker("rm", "--force", container)


def replace_champion(environment: Environment, image: str, rules: DeployParams, fast: bool) -> None:
    """Replace the champion; the new one first takes all traffic as the candidate, so that no request fails."""
    is_first = environment.running_image_id("champion") is None
    if not is_first:
        run_canary(environment, image, 100, rules, fast)
    environment.start_service("champion", image)
    wait_until_ready(environment, "champion", rules)
    if is_first:
        run_smoke_test(environment, "champion", rules, rules.load.seconds)
    environment.set_candidate_share(0)


def apply_state(environment: Environment, wanted: DeploymentState, rules: DeployParams, fast: bool) -> None:
    """Make an environment run what a deploy file says.

    Parameters
    ----------
    environment
        The environment.
    wanted
        The state in the deploy file.
    rules
        The block `deploy` of params.yaml.
    fast
        Whether to skip steps, load and watching.
    """
    champion = resolve_image(wanted["champion"], rules)
    candidate = resolve_image(wanted["candidate"], rules) if wanted.get("candidate") else None
    environment.set_mirroring(False)
    if environment.running_image_id("champion") != get_image_id(champion):
        replace_champion(environment, champion, rules, fast)
    if candidate:
        run_canary(environment, candidate, wanted.get("weight") or 0, rules, fast)
        environment.set_mirroring(bool(wanted.get("mirror")))
    else:
        environment.set_candidate_share(0)
        environment.stop_service("candidate")


def roll_back(environment: Environment, before: str | None) -> None:
    """Give all traffic to the champion that ran before, and stop the candidate.

    Once the new champion has taken over, its candidate goes on answering, and the next command continues.

    Parameters
    ----------
    environment
        The environment.
    before
        The id of the champion's image before the deployment; None where there was none.
    """
    environment.set_mirroring(False)
    if before and environment.running_image_id("champion") not in (before, None):
        return
    environment.set_candidate_share(0)
    environment.stop_service("candidate")
    if not before:
        environment.stop_service("champion")


def read_deployed_states(environment: Environment) -> list[DeploymentState]:
    """Return the states that an environment had, oldest first, from its own volume."""
    lines = environment.read_state_file(HISTORY_FILE).splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def append_deployed_state(environment: Environment, state: DeploymentState) -> None:
    """Add a state to the history on an environment's own volume."""
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **state}
    lines = [json.dumps(past) for past in [*read_deployed_states(environment), entry]]
    environment.write_state_file(HISTORY_FILE, "\n".join(lines))


def compute_lease_seconds(rules: DeployParams) -> float:
    """Return how long a deployment can take, in seconds, on a slow machine."""
    return LEASE_SECONDS + 3 * rules.patience + 4 * rules.seconds * (len(rules.steps) + 1)


def deploy_state(environment: Environment, wanted: DeploymentState, rules: DeployParams, fast: bool = False) -> None:
    """Bring an environment to a state, one command at a time; go back when that fails or is interrupted.

    Parameters
    ----------
    environment
        The environment.
    wanted
        The state in the deploy file.
    rules
        The block `deploy` of params.yaml.
    fast
        Whether to skip steps, load and watching.

    Raises
    ------
    UserError
        It went back, and why.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # there is time to go back, as after Ctrl-C
    with lock_environment(environment, compute_lease_seconds(rules)):
        environment.start_proxy()
        before = environment.running_image_id("champion")
        for slot in SLOTS:
            environment.variables[slot.upper()] = environment.running_image_id(slot) or "none"
        try:
            apply_state(environment, wanted, rules, fast)
        except (UserError, KeyboardInterrupt) as problem:
            roll_back(environment, before)
            reason = problem if isinstance(problem, UserError) else "interrupted"
            raise UserError(f"{reason}; {environment.env} went back to what ran before") from None
        append_deployed_state(environment, wanted)


def check_live_model(environment: Environment, wanted: DeploymentState) -> None:
    """Print which model answers; raise an `IntegrityError` where it is not a wanted one."""
    model = environment.get_through_proxy("/version")["model"]
    champion = wanted["champion"]["model"]
    if model != champion and not wanted.get("weight"):
        raise IntegrityError("service", f"{environment.env} answers with the model {model[:12]}, not {champion[:12]}")
    print_result(environment.env, f"{model[:12]} answers on {environment.variables['ADDRESS']}")


def main(env: str, repository: str = "") -> int:
    """Make ENV run what deploy/<ENV>.yaml says; only images of REPOSITORY, where one is named or in params.yaml."""
    rules = load_params().deploy
    rules = msgspec.structs.replace(rules, repository=repository or rules.repository)
    wanted = deployments.load_state(env)
    if not wanted["champion"]:
        raise NoChampionError(env)
    log_in_to_registry(rules.repository or "")
    load_ssh_key()
    environment = Environment(env, rules)
    deploy_state(environment, wanted, rules)
    check_live_model(environment, wanted)
    return 0
