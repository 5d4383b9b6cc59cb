"""Verb: an environment runs again what ran before, and /version proves it."""

from modelyard.core import deployments
from modelyard.core.errors import UserError
from modelyard.core.params import load_params
from modelyard.delivery.deploy import DeploymentState, check_live_model, deploy_state, read_deployed_states
from modelyard.delivery.docker import Environment
from modelyard.delivery.promote import record_champion


def find_previous_state(history: list[DeploymentState]) -> DeploymentState:
    """The last state: the same champion alone where a candidate is tried, else the champion before it."""
    for state in reversed(history):
        if history[-1].get("candidate") or state["champion"] != history[-1]["champion"]:
            return {"champion": state["champion"], "candidate": None, "weight": 0, "mirror": False}
    raise UserError("nothing else ran here before; there is no state to go back to")


def main(env: str) -> int:
    """Bring ENV back to what ran before, at once; deploy/<ENV>.yaml and its history then say so."""
    rules = load_params().deploy
    environment = Environment(env, rules)
    environment.start_proxy()
    wanted = find_previous_state(read_deployed_states(environment))
    deploy_state(environment, wanted, rules, fast=True)
    check_live_model(environment, wanted)
    record_champion(env, wanted["champion"]["model"], {"action": "rollback"}, {**deployments.load_state(env), **wanted})
    return 0
