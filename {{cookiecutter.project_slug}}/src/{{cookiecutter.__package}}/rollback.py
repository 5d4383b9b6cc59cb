"""Verb: an environment runs again what ran before, and /version proves it."""

from . import deploy, registry
from .config import UserError, load_params
from .engine import Environment
from .promote import move


def earlier(history: list[deploy.State]) -> deploy.State:
    """The last state with another champion, or else without today's candidate; a `UserError` where there is none."""
    now = history[-1] if history else {}
    for state in reversed(history[:-1]):
        if state["champion"] != now["champion"]:
            return {**state, "candidate": None, "weight": 0, "mirror": False}
    raise UserError("nothing ran here before; there is no state to go back to")


def main(env: str) -> int:
    """Bring ENV back to what ran before, at once; deploy/<ENV>.yaml and its history say so."""
    rules = load_params().deploy
    environment = Environment(env, rules.addresses.get(env, "127.0.0.1:8080"))
    wanted = earlier(deploy.past(environment))
    wanted.pop("time", None)
    deploy.confirm(deploy.run(env, wanted, rules), wanted)
    new = {**registry.state(env), **wanted}
    move(env, wanted["champion"]["model"], {"action": "rollback"}, new)
    return 0
