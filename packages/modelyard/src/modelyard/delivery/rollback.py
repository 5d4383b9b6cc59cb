"""Brings an environment back to what it ran before."""

from modelyard.core import deployments
from modelyard.core.errors import UserError
from modelyard.core.params import load_params
from modelyard.delivery.deploy import DeploymentState, check_live_model, deploy_state, read_deployed_states
from modelyard.delivery.docker import Environment
from modelyard.delivery.promote import record_champion


def find_previous_state(history: list[DeploymentState]) -> DeploymentState:
    """Return the state to go back to: the same champion alone where a candidate was tried, else the one before it.

    Parameters
    ----------
    history
        The states that an environment had, oldest first.

    Raises
    ------
    UserError
        The environment had no other state.
    """
    for state in reversed(history):
        if history[-1].get("candidate") or state["champion"] != history[-1]["champion"]:
            return {"champion": state["champion"], "candidate": None, "weight": 0, "mirror": False}
    raise UserError("this environment ran nothing else before; deploy another model instead")


def main(env: str) -> int:
    """Bring ENV back to what it ran before, at once, and write that to deploy/<ENV>.yaml and its history."""
    rules = load_params().deploy
    environment = Environment(env, rules)
    environment.start_proxy()
    wanted = find_previous_state(read_deployed_states(environment))
    deploy_state(environment, wanted, rules, fast=True)
    check_live_model(environment, wanted)
    state = deployments.load_state(env) | wanted
    record_champion(env, wanted["champion"]["model"], {"action": "rollback"}, state)
    return 0
