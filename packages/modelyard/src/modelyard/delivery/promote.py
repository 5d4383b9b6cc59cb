"""Makes the judged model the champion of an environment: in its deploy file, in the history and in MLflow's aliases."""

from typing import Any

from modelyard.core import deployments, dvc_lock, git_objects
from modelyard.core.console import print_line, print_result
from modelyard.core.errors import IntegrityError, UserError
from modelyard.core.files import md5, sha256
from modelyard.core.paths import DVC_LOCK, MODEL_FILE, VERDICT_JSON
from modelyard.core.process import run_git
from modelyard.gate.verdict import load_verdict
from modelyard.tracking import registry
from modelyard.tracking.store import is_tracking_enabled


class BlockedModelError(UserError):
    """The gate blocked the model.

    Parameters
    ----------
    verdict
        The verdict.
    """

    def __init__(self, verdict: str) -> None:
        super().__init__(f"the gate blocked this model ({verdict}); `make report` shows why")
        self.verdict = verdict


def load_promotable_verdict() -> dict[str, Any]:
    """Return the verdict on a model that may be promoted.

    Raises
    ------
    BlockedModelError
        The gate blocked the model.
    IntegrityError
        The model is not the one in the committed dvc.lock.
    UserError
        There is no verdict on this model.
    """
    verdict = load_verdict()
    if verdict["decision"] == "block":
        raise BlockedModelError(verdict["verdict"])
    if run_git("status", "--porcelain", "--", str(DVC_LOCK)):
        raise IntegrityError(
            "dvc.lock", f"{DVC_LOCK} is not committed; commit it, so that the model can be found again"
        )
    lock = git_objects.read_yaml_at("HEAD", DVC_LOCK) or {}
    if dvc_lock.get_hashes(lock).get(str(MODEL_FILE)) != md5(MODEL_FILE):
        sentence = f"{MODEL_FILE} is not the model that {DVC_LOCK} names; run `make pipeline` and commit"
        raise IntegrityError("model", sentence)
    return verdict


def update_mlflow(env: str, line: dict[str, Any]) -> list[str]:
    """Move MLflow's aliases to what git says, and return one sentence for each that could not be moved."""
    if not is_tracking_enabled():
        return ["nothing is tracked here by MLflow"]
    try:
        return registry.sync_aliases(env, registry.get_expected_digests(env), line)
    except UserError as problem:  # git has it already, and `make registry` shows the difference
        return [f"MLflow's aliases were not moved: {problem}"]


def record_champion(env: str, model: str | None, entry: dict[str, Any], state: dict[str, Any]) -> None:
    """Write the state and the history of an environment, then move MLflow's aliases.

    Parameters
    ----------
    env
        The environment.
    model
        The new champion (SHA-256).
    entry
        What the line of the history says besides: the action, and the verdict behind a promotion.
    state
        The new contents of deploy/<env>.yaml.
    """
    before = deployments.get_champion(env).get("model")
    deployments.write_state(env, state)
    origin = {key: state["champion"].get(key) for key in ("commit", "image")}
    line = deployments.append_history({"environment": env, "from": before, "to": model, **origin, **entry})
    problems = update_mlflow(env, line)
    print_result(entry["action"], f"{env}: {(before or 'none')[:12]} → {(model or 'none')[:12]}")
    for problem in problems:
        print_result("", problem)


def main(env: str = "production", image: str = "") -> int:
    """Make the judged model the champion of ENV, as IMAGE; committing deploy/<env>.yaml makes it so for everyone."""
    verdict = load_promotable_verdict()
    digest = sha256(MODEL_FILE)
    state = deployments.load_state(env)
    champion = deployments.get_champion(env)
    if champion.get("model") == digest and image in ("", champion.get("image")):
        print_result("promote", f"{env}: {digest[:12]} is the champion already")
        return 0
    chosen = {"model": digest, "commit": run_git("rev-parse", "HEAD"), "image": image or None}
    state |= {"champion": chosen, "candidate": None, "weight": 0, "mirror": False}
    entry = {"action": "promote", "verdict": verdict["verdict"], "verdict_sha256": sha256(VERDICT_JSON)}
    record_champion(env, digest, entry, state)
    command = f"git add deploy && git commit -m 'Promote {digest[:12]} to {env}'"
    print_line(f"{'':<10}commit deploy/ to make it so: {command}")
    return 0
