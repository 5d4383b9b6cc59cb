"""Verb: the judged model becomes an environment's champion: its deploy file, history and aliases say so."""

from typing import Any

from modelyard.core import deployments, dvc_lock, git_objects
from modelyard.core.errors import UserError
from modelyard.core.files import md5, sha256
from modelyard.core.paths import LOCK, MODEL, VERDICT
from modelyard.core.process import git
from modelyard.gate.verdict import load_verdict
from modelyard.tracking import registry
from modelyard.tracking.store import tracked


def promotable() -> dict[str, Any]:
    """The verdict on a model that may be promoted: judged, not blocked, and committed; else a `UserError`."""
    verdict = load_verdict()
    if verdict["decision"] == "block":
        raise UserError(f"the gate blocked this model ({verdict['verdict']}); `make report` says why")
    if git("status", "--porcelain", "--", str(LOCK)):
        raise UserError(f"{LOCK} is not committed; commit it, so that the model can be found again")
    lock = git_objects.at("HEAD", LOCK) or {}
    if dvc_lock.outs(lock).get(str(MODEL)) != md5(MODEL):
        raise UserError(f"{MODEL} is not the one that {LOCK} names; run `make pipeline` and commit")
    return verdict


def move(env: str, model: str | None, entry: dict[str, Any], new: dict[str, Any]) -> None:
    """Write the environment's file and history, then let MLflow follow."""
    before = (deployments.state(env)["champion"] or {}).get("model")
    deployments.write_state(env, new)
    what = {key: new["champion"].get(key) for key in ("commit", "image")}
    line = deployments.append({"environment": env, "from": before, "to": model, **what, **entry})
    try:
        said = registry.mirror(env, registry.digests(env), line) if tracked() else ["nothing is tracked here by MLflow"]
    except UserError as problem:
        said = [f"MLflow's aliases were not moved: {problem}"]
    print(f"{entry['action']:<10}{env}: {(before or 'none')[:12]} → {(model or 'none')[:12]}")
    for sentence in said:
        print(f"{'':<10}{sentence}")


def main(env: str = "production", image: str = "") -> int:
    """Make the judged model the champion of ENV, as IMAGE; committing deploy/<env>.yaml makes it so for everyone."""
    verdict, digest = promotable(), sha256(MODEL)
    now = deployments.state(env)
    champion = now["champion"] or {}
    if champion.get("model") == digest and image in ("", champion.get("image")):
        print(f"{'promote':<10}{env}: {digest[:12]} is the champion already")
        return 0
    chosen = {"model": digest, "commit": git("rev-parse", "HEAD"), "image": image or None}
    new = {**now, "champion": chosen, "candidate": None, "weight": 0, "mirror": False}
    move(env, digest, {"action": "promote", "verdict": verdict["verdict"], "verdict_sha256": sha256(VERDICT)}, new)
    print(f"{'':<10}commit deploy/ to make it so: git add deploy && git commit -m 'Promote {digest[:12]} to {env}'")
    return 0
