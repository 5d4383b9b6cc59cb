"""Verb: the judged model becomes an environment's champion: its deploy file, history and aliases say so."""

from typing import Any

from modelyard.core import deployments, dvc_lock, git_objects
from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import md5, sha256
from modelyard.core.paths import DVC_LOCK, MODEL_FILE, VERDICT_JSON
from modelyard.core.process import run_git
from modelyard.gate.verdict import load_verdict
from modelyard.tracking import registry
from modelyard.tracking.store import is_tracking_enabled


def load_promotable_verdict() -> dict[str, Any]:
    """The verdict on a model that may be promoted: judged, not blocked, and committed; else a `UserError`."""
    verdict = load_verdict()
    if verdict["decision"] == "block":
        raise UserError(f"the gate blocked this model ({verdict['verdict']}); `make report` says why")
    if run_git("status", "--porcelain", "--", str(DVC_LOCK)):
        raise UserError(f"{DVC_LOCK} is not committed; commit it, so that the model can be found again")
    lock = git_objects.read_yaml_at("HEAD", DVC_LOCK) or {}
    if dvc_lock.get_hashes(lock).get(str(MODEL_FILE)) != md5(MODEL_FILE):
        raise UserError(f"{MODEL_FILE} is not the one that {DVC_LOCK} names; run `make pipeline` and commit")
    return verdict


def record_champion(env: str, model: str | None, entry: dict[str, Any], new: dict[str, Any]) -> None:
    """Write the environment's file and history, then let MLflow follow."""
    before = (deployments.load_state(env)["champion"] or {}).get("model")
    deployments.write_state(env, new)
    what = {key: new["champion"].get(key) for key in ("commit", "image")}
    line = deployments.append_history({"environment": env, "from": before, "to": model, **what, **entry})
    try:
        said = (
            registry.sync_aliases(env, registry.get_expected_digests(env), line)
            if is_tracking_enabled()
            else ["nothing is tracked here by MLflow"]
        )
    except UserError as problem:
        said = [f"MLflow's aliases were not moved: {problem}"]
    print_line(f"{entry['action']:<10}{env}: {(before or 'none')[:12]} → {(model or 'none')[:12]}")
    for sentence in said:
        print_line(f"{'':<10}{sentence}")


def main(env: str = "production", image: str = "") -> int:
    """Make the judged model the champion of ENV, as IMAGE; committing deploy/<env>.yaml makes it so for everyone."""
    verdict, digest = load_promotable_verdict(), sha256(MODEL_FILE)
    now = deployments.load_state(env)
    champion = now["champion"] or {}
    if champion.get("model") == digest and image in ("", champion.get("image")):
        print_result("promote", f"{env}: {digest[:12]} is the champion already")
        return 0
    chosen = {"model": digest, "commit": run_git("rev-parse", "HEAD"), "image": image or None}
    new = {**now, "champion": chosen, "candidate": None, "weight": 0, "mirror": False}
    record_champion(
        env, digest, {"action": "promote", "verdict": verdict["verdict"], "verdict_sha256": sha256(VERDICT_JSON)}, new
    )
    print_line(
        f"{'':<10}commit deploy/ to make it so: git add deploy && git commit -m 'Promote {digest[:12]} to {env}'"
    )
    return 0
