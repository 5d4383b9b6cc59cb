"""Verb: everything runs again in a scratch checkout, and dvc.lock must say what comes out; or a chain is walked.

Two dvc.lock files can merge without a conflict into one that no run ever made; `dvc status` does not see it.
With ENV (or MODEL) nothing is run: what answers there is followed back to the data, link by link.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from modelyard.core import deployments
from modelyard.core.console import print_result
from modelyard.core.dvc_lock import diff_locks
from modelyard.core.errors import IntegrityError, UserError
from modelyard.core.files import flatten_mapping, sha256
from modelyard.core.git_objects import read_blob, read_yaml_at
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK, METRICS_JSON, MODEL_FILE
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.delivery import docker, image
from modelyard.provenance.lineage import ProvenanceClaim, build_claim, load_verified_lock, verify_lineage
from modelyard.provenance.reproduce import (
    find_metric_mismatches,
    has_pipeline_changed,
    print_annotation,
    rerun_pipeline,
    warn_if_lock_stale,
)
from modelyard.tracking.store import find_recorded_run, get_mlflow_client, is_tracking_enabled

# Asked of an image: the SHA-256 of each of its files.
HASH_FILES_SCRIPT = """import hashlib, json, pathlib
found = [p for p in pathlib.Path().rglob("*") if p.is_file()]
print(json.dumps({str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}))"""


def find_promotion(model: str, env: str | None = None) -> dict[str, Any]:
    """The line of the history by which a model was promoted; there has to be one."""
    lines = [e for e in deployments.load_history(env) if e["action"] == "promote" and str(e["to"]).startswith(model)]
    if not lines:
        raise IntegrityError(
            "verdict", f"{deployments.HISTORY_FILE} does not say on which verdict {model[:12]} was promoted"
        )
    return lines[-1]


def load_committed_state(env: str) -> dict[str, Any]:
    """What deploy/<env>.yaml says, committed and as the history says it."""
    state, lines = deployments.load_state(env), deployments.load_history(env)
    if not state["champion"]:
        raise UserError(f"deploy/{env}.yaml names no champion; `make promote ENV={env}` writes it there")
    if run_git("status", "--porcelain", "--", str(deployments.DEPLOY_FOLDER)):
        raise IntegrityError("deploy file", "deploy/ is not as it was committed; commit it, or `git restore deploy`")
    model, last = state["champion"]["model"], lines[-1]["to"] if lines else "nothing"
    if model != last:
        raise IntegrityError(
            "history", f"its last line says {last[:12]} of {env}, deploy/{env}.yaml names {model[:12]}"
        )
    return state


def verify_service(env: str, state: dict[str, Any]) -> ProvenanceClaim:
    """What /version says there, after it and its image were found to be what the deploy file names."""
    environment = docker.Environment(env, load_params().deploy)
    try:
        told: ProvenanceClaim = environment.get_through_proxy("/version")
    except UserError as problem:
        raise IntegrityError("service", f"{env} does not answer: {problem}") from None
    model = str(told.get("model"))
    slot = next((slot for slot in docker.SLOTS if (state.get(slot) or {}).get("model") == model), None)
    if not slot:
        raise IntegrityError("service", f"{env} answers with {model[:12]}, which deploy/{env}.yaml does not name")
    running, named = environment.image(slot), state[slot].get("image")
    if named and docker.get_image_id(named) != running:
        raise IntegrityError("image", f"the {slot} runs {str(running)[:12]}, deploy/{env}.yaml names {named}")
    labels = json.loads(docker.run_docker("image", "inspect", "--format", "{{json .Config.Labels}}", running)) or {}
    for key, label in {
        "model": "model",
        "data": "data",
        "dvc_lock": "dvc-lock",
        "commit": image.REVISION_LABEL,
    }.items():
        if labels.get(label) != told.get(key):
            raise IntegrityError("image", f"its label {label} is {labels.get(label)}, /version says {told.get(key)}")
    if build_claim(model, state[slot]["commit"])["dvc_lock"] != told["dvc_lock"]:
        raise IntegrityError(
            "deploy file", f"{DVC_LOCK} at its commit {state[slot]['commit'][:12]} is not what /version says"
        )
    files = json.loads(docker.run_docker(*image.ISOLATED_RUN, "--entrypoint=python", running, "-c", HASH_FILES_SCRIPT))
    for path, digest in files.items():
        there = read_blob(told["commit"], path) if not path.startswith("models/") else None
        right = hashlib.sha256(there or b"").hexdigest() if path != str(MODEL_FILE) else told["model"]
        if path.endswith((".py", ".yaml", ".lock", ".skops")) and digest != right:
            raise IntegrityError("image", f"{path} in it is not that of {told['commit'][:12]}")
    return told


def verify_mlflow_runs(told: ProvenanceClaim) -> list[str]:
    """Raise where MLflow recorded this dvc.lock with another model, other data or parameters; or forgot that it did."""
    if not is_tracking_enabled():
        return []
    store, parts = (
        get_mlflow_client(),
        [stage.get("params", {}) for stage in load_verified_lock(told)["stages"].values()],
    )
    said = {
        name: str(value) for part in parts for block in part.values() for name, value in flatten_mapping(block).items()
    }
    experiment = store.get_experiment_by_name(Project.load().name)
    runs = store.search_runs([experiment.experiment_id], f"tags.dvc_lock = '{told['dvc_lock']}'")
    marks = {key: told[key] for key in ("model", "data")}
    right = (marks.items() <= run.data.tags.items() and said.items() <= run.data.params.items() for run in runs)
    if runs and not any(right):
        what = "another model, other data or other parameters"
        raise IntegrityError("MLflow run", f"{runs[0].info.run_id} recorded this {DVC_LOCK} with {what}")
    if (own := find_recorded_run(told["dvc_lock"])) and own not in {run.info.run_id for run in runs}:
        raise IntegrityError("MLflow run", f"{own} no longer says that it recorded this {DVC_LOCK}")
    return ["MLflow run"] if runs else []


def verify_chain(env: str, model: str) -> int:
    """Walk from what answers in an environment, or from a model, back to the data; the first break is told."""
    links = []
    if env:
        state, links = load_committed_state(env), ["deploy file", "history"]
        if Path("compose.yaml").exists():
            told, links = verify_service(env, state), ["service", "image", *links]
        else:
            told = build_claim(**{key: state["champion"][key] for key in ("model", "commit")})
        find_promotion(told["model"], env)
        links.append("verdict")
    elif MODEL_FILE.exists() and sha256(MODEL_FILE).startswith(model):
        told = build_claim(sha256(MODEL_FILE), run_git("rev-parse", "HEAD"))
    else:
        line = find_promotion(model)
        told = build_claim(line["to"], line.get("commit") or "HEAD")
    links += [*verify_lineage(told), *verify_mlflow_runs(told)]
    print_result("verify", f"{env or told['model'][:12]}: {len(links)} links hold: {', '.join(links)}")
    return 0


def main(base: str = "", rerun_all: bool = True, tolerance: float = 1e-6, env: str = "", model: str = "") -> int:
    """Run everything again and hold dvc.lock to it; RERUN_ALL=0 seeks a stale one, ENV or MODEL walks a chain."""
    if env or model:
        return verify_chain(env, model)
    if not rerun_all:
        return warn_if_lock_stale()
    if base and not has_pipeline_changed(base):
        print_result("verify", f"nothing that the pipeline reads changed since {base[:12]}")
        return 0
    said, metrics = read_yaml_at("HEAD", DVC_LOCK), read_yaml_at("HEAD", METRICS_JSON)
    if not said or not metrics:
        return warn_if_lock_stale()
    made, now = rerun_pipeline()
    found = diff_locks(said, made)
    gaps = find_metric_mismatches(metrics, now, tolerance)
    if wrong := [*map(str, filter(lambda d: d.invalidates_lock, found)), *gaps]:
        print_annotation("error", f"it is false: {', '.join(wrong)}; run `dvc repro --force` and commit what it makes")
        return 1
    if found:
        print_annotation(
            "notice", f"this machine makes another model with the same metrics ({', '.join(map(str, found))})"
        )
    print_result("verify", "dvc.lock says what a fresh run makes")
    return 0
