"""Verifies dvc.lock by running everything again, or follows a running model back to its data, link by link.

Two dvc.lock files can merge without a conflict into one that no run ever made, and `dvc status` does not see it. So
`make verify` runs the whole pipeline in a scratch checkout and compares. With ENV or MODEL it runs nothing, and checks
each link between what answers there and the data.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from modelyard.core import deployments
from modelyard.core.console import print_result
from modelyard.core.dvc_lock import diff_locks
from modelyard.core.errors import IntegrityError, ToolError
from modelyard.core.files import flatten_mapping, sha256
from modelyard.core.git_objects import read_blob, read_yaml_at
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK, METRICS_JSON, MODEL_FILE
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.delivery.deploy import NoChampionError
from modelyard.delivery.docker import SLOTS, Environment, get_image_id, get_image_labels, run_docker
from modelyard.delivery.image import ISOLATED_RUN, REVISION_LABEL
from modelyard.provenance.lineage import ProvenanceClaim, build_claim, load_verified_lock, verify_lineage
from modelyard.provenance.reproduce import (
    find_metric_mismatches,
    has_pipeline_changed,
    report_lock_problem,
    rerun_pipeline,
    warn_if_lock_stale,
)
from modelyard.tracking.store import find_recorded_run, get_mlflow_client, is_tracking_enabled

COMPOSE_FILE = Path("compose.yaml")
HASH_FILES_SCRIPT = """import hashlib, json, pathlib
found = [p for p in pathlib.Path().rglob("*") if p.is_file()]
print(json.dumps({str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}))"""
COMMITTED_SUFFIXES = (".py", ".toml", ".yaml", ".lock", ".skops")
CLAIM_LABELS = {"model": "model", "data": "data", "dvc_lock": "dvc-lock", "commit": REVISION_LABEL}


def find_promotion(model: str, env: str | None = None) -> dict[str, Any]:
    """Return the last line of the history that promoted a model.

    Parameters
    ----------
    model
        The SHA-256 of the model, or its beginning.
    env
        The environment; any by default.

    Raises
    ------
    IntegrityError
        Nobody promoted it.
    """
    for line in reversed(deployments.load_history(env)):
        if line["action"] == "promote" and str(line["to"]).startswith(model):
            return line
    sentence = f"{deployments.HISTORY_FILE} does not say on which verdict {model[:12]} was promoted"
    raise IntegrityError("verdict", sentence)


def load_committed_state(env: str) -> dict[str, Any]:
    """Return the contents of deploy/<env>.yaml.

    Raises
    ------
    NoChampionError
        It names no champion.
    IntegrityError
        It is not as it was committed, or the history names another champion.
    """
    state = deployments.load_state(env)
    if not state["champion"]:
        raise NoChampionError(env)
    if run_git("status", "--porcelain", "--", str(deployments.DEPLOY_FOLDER)):
        raise IntegrityError("deploy file", "deploy/ is not as it was committed; commit it, or `git restore deploy`")
    history = deployments.load_history(env)
    last = history[-1]["to"] if history else "nothing"
    model = state["champion"]["model"]
    if model != last:
        sentence = f"its last line says {last[:12]} of {env}, deploy/{env}.yaml names {model[:12]}"
        raise IntegrityError("history", sentence)
    return state


def find_running_slot(env: str, state: dict[str, Any], model: str) -> str:
    """Return the slot for which a deploy file names the model that answers; raise an `IntegrityError` without one."""
    for slot in SLOTS:
        if (state.get(slot) or {}).get("model") == model:
            return slot
    raise IntegrityError("service", f"{env} answers with {model[:12]}, which deploy/{env}.yaml does not name")


def verify_image_labels(image: str, claim: ProvenanceClaim) -> None:
    """Raise an `IntegrityError` where the labels of an image differ from what its service claims."""
    labels = get_image_labels(image)
    for key, label in CLAIM_LABELS.items():
        if labels.get(label) != claim.get(key):
            sentence = f"its label {label} is {labels.get(label)}, /version says {claim.get(key)}"
            raise IntegrityError("image", sentence)


def verify_image_files(image: str, claim: ProvenanceClaim) -> None:
    """Raise an `IntegrityError` where a file in an image is not the commit's, or its model is another one."""
    listing = run_docker(*ISOLATED_RUN, "--entrypoint=python", image, "-c", HASH_FILES_SCRIPT)
    for path, digest in json.loads(listing).items():
        if path == str(MODEL_FILE):
            expected = claim["model"]
        elif path.endswith(COMMITTED_SUFFIXES):
            expected = hashlib.sha256(read_blob(claim["commit"], path) or b"").hexdigest()
        else:
            continue
        if digest != expected:
            raise IntegrityError("image", f"{path} in it is not that of {claim['commit'][:12]}")


def verify_service(env: str, state: dict[str, Any]) -> ProvenanceClaim:
    """Return what a running service claims, after it and its image match the deploy file.

    Parameters
    ----------
    env
        The environment.
    state
        The contents of deploy/<env>.yaml.

    Raises
    ------
    IntegrityError
        The service, its image or the deploy file do not match.
    """
    environment = Environment(env, load_params().deploy)
    try:
        claim: ProvenanceClaim = environment.get_through_proxy("/version")
    except ToolError as problem:
        raise IntegrityError("service", f"{env} does not answer: {problem}") from None
    slot = find_running_slot(env, state, str(claim.get("model")))
    running = str(environment.running_image_id(slot))
    named = state[slot].get("image")
    if named and get_image_id(named) != running:
        raise IntegrityError("image", f"the {slot} runs {running[:12]}, deploy/{env}.yaml names {named}")
    verify_image_labels(running, claim)
    commit = state[slot]["commit"]
    if build_claim(claim["model"], commit)["dvc_lock"] != claim["dvc_lock"]:
        raise IntegrityError("deploy file", f"{DVC_LOCK} at its commit {commit[:12]} is not what /version says")
    verify_image_files(running, claim)
    return claim


def collect_locked_params(lock: dict[str, Any]) -> dict[str, str]:
    """Return the parameters in a dvc.lock as MLflow records them: flat names, and values as text."""
    found: dict[str, str] = {}
    for stage in lock["stages"].values():
        for block in stage.get("params", {}).values():
            found |= {name: str(value) for name, value in flatten_mapping(block).items()}
    return found


def verify_mlflow_runs(claim: ProvenanceClaim) -> list[str]:
    """Check the MLflow runs that recorded a claim's dvc.lock.

    Returns
    -------
    list of str
        The name of the link; empty where MLflow recorded nothing.

    Raises
    ------
    IntegrityError
        The runs have another model, other data or other parameters, or the run that this folder recorded has changed.
    """
    if not is_tracking_enabled():
        return []
    client = get_mlflow_client()
    experiment = client.get_experiment_by_name(Project.load().name)
    digest = claim["dvc_lock"]
    runs = client.search_runs([experiment.experiment_id], f"tags.dvc_lock = '{digest}'")
    tags = {key: claim[key] for key in ("model", "data")}
    params = collect_locked_params(load_verified_lock(claim))
    same_origin = [run for run in runs if tags.items() <= run.data.tags.items()]
    agreeing = [run for run in same_origin if params.items() <= run.data.params.items()]
    if runs and not agreeing:
        sentence = f"{runs[0].info.run_id} recorded this {DVC_LOCK} with another model, other data or other parameters"
        raise IntegrityError("MLflow run", sentence)
    recorded = find_recorded_run(digest)
    if recorded and recorded not in {run.info.run_id for run in runs}:
        raise IntegrityError("MLflow run", f"{recorded} no longer says that it recorded this {DVC_LOCK}")
    return ["MLflow run"] if runs else []


def verify_deployed(env: str) -> tuple[ProvenanceClaim, list[str]]:
    """Check the links from an environment to the verdict, and return the claim and the names of the links."""
    state = load_committed_state(env)
    if COMPOSE_FILE.exists():
        claim = verify_service(env, state)
        links = ["service", "image", "deploy file", "history"]
    else:
        claim = build_claim(state["champion"]["model"], state["champion"]["commit"])
        links = ["deploy file", "history"]
    find_promotion(claim["model"], env)
    return claim, [*links, "verdict"]


def build_model_claim(model: str) -> ProvenanceClaim:
    """Return the claim of the model in this folder, or else of one that was promoted.

    Parameters
    ----------
    model
        The SHA-256 of the model, or its beginning.
    """
    if MODEL_FILE.exists() and sha256(MODEL_FILE).startswith(model):
        return build_claim(sha256(MODEL_FILE), run_git("rev-parse", "HEAD"))
    promotion = find_promotion(model)
    return build_claim(promotion["to"], promotion.get("commit") or "HEAD")


def verify_chain(env: str, model: str) -> int:
    """Check every link from an environment, or from a model, back to the data; the first broken one is an error."""
    claim, links = verify_deployed(env) if env else (build_model_claim(model), [])
    links += [*verify_lineage(claim), *verify_mlflow_runs(claim)]
    print_result("verify", f"{env or claim['model'][:12]}: {len(links)} links hold: {', '.join(links)}")
    return 0


def verify_rerun(tolerance: float) -> int:
    """Run the pipeline of HEAD again and compare dvc.lock and metrics; return 1 where they are false.

    Parameters
    ----------
    tolerance
        The largest difference of a metric that counts as rounding.
    """
    lock = read_yaml_at("HEAD", DVC_LOCK)
    metrics = read_yaml_at("HEAD", METRICS_JSON)
    if not lock or not metrics:
        return warn_if_lock_stale()
    fresh_lock, fresh_metrics = rerun_pipeline()
    differences = diff_locks(lock, fresh_lock)
    false = [str(difference) for difference in differences if difference.invalidates_lock]
    false += find_metric_mismatches(metrics, fresh_metrics, tolerance)
    if false:
        cure = "run `dvc repro --force` and commit what it makes"
        report_lock_problem("error", f"it is false: {', '.join(false)}; {cure}")
        return 1
    if differences:
        names = ", ".join(str(difference) for difference in differences)
        report_lock_problem("notice", f"this machine makes another model with the same metrics ({names})")
    print_result("verify", "dvc.lock says what a fresh run makes")
    return 0


def main(base: str = "", rerun_all: bool = True, tolerance: float = 1e-6, env: str = "", model: str = "") -> int:
    """Run everything again and compare dvc.lock; RERUN_ALL=0 looks for a stale one, ENV or MODEL follows a chain."""
    if env or model:
        return verify_chain(env, model)
    if not rerun_all:
        return warn_if_lock_stale()
    if base and not has_pipeline_changed(base):
        print_result("verify", f"nothing that the pipeline reads changed since {base[:12]}")
        return 0
    return verify_rerun(tolerance)
