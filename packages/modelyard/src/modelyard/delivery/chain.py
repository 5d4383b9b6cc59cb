"""Verb: everything runs again in a scratch checkout, and dvc.lock must say what comes out; or a chain is walked.

Two dvc.lock files can merge without a conflict into one that no run ever made; `dvc status` does not see it.
With ENV (or MODEL) nothing is run: what answers there is followed back to the data, link by link.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from modelyard.core import deployments
from modelyard.core.dvc_lock import differences
from modelyard.core.errors import Broken, UserError
from modelyard.core.files import flat, sha256
from modelyard.core.git_objects import at, blob
from modelyard.core.params import load_params
from modelyard.core.paths import LOCK, METRICS, MODEL
from modelyard.core.process import git
from modelyard.core.project import Project
from modelyard.delivery import docker, image
from modelyard.provenance.lineage import Told, lock_at, of_commit, walk
from modelyard.provenance.reproduce import fresh, metric_gaps, rerun, touched, warn
from modelyard.tracking.store import client, run_of, tracked

# Asked of an image: the SHA-256 of each of its files.
FILES = """import hashlib, json, pathlib
found = [p for p in pathlib.Path().rglob("*") if p.is_file()]
print(json.dumps({str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}))"""


def promotion(model: str, env: str | None = None) -> dict[str, Any]:
    """The line of the history by which a model was promoted; there has to be one."""
    lines = [e for e in deployments.history(env) if e["action"] == "promote" and str(e["to"]).startswith(model)]
    if not lines:
        raise Broken("verdict", f"{deployments.HISTORY} does not say on which verdict {model[:12]} was promoted")
    return lines[-1]


def recorded(env: str) -> dict[str, Any]:
    """What deploy/<env>.yaml says, committed and as the history says it."""
    state, lines = deployments.state(env), deployments.history(env)
    if not state["champion"]:
        raise UserError(f"deploy/{env}.yaml names no champion; `make promote ENV={env}` writes it there")
    if git("status", "--porcelain", "--", str(deployments.FOLDER)):
        raise Broken("deploy file", "deploy/ is not as it was committed; commit it, or `git restore deploy`")
    model, last = state["champion"]["model"], lines[-1]["to"] if lines else "nothing"
    if model != last:
        raise Broken("history", f"its last line says {last[:12]} of {env}, deploy/{env}.yaml names {model[:12]}")
    return state


def answering(env: str, state: dict[str, Any]) -> Told:
    """What /version says there, after it and its image were found to be what the deploy file names."""
    environment = docker.Environment(env, load_params().deploy)
    try:
        told: Told = environment.public("/version")
    except UserError as problem:
        raise Broken("service", f"{env} does not answer: {problem}") from None
    model = str(told.get("model"))
    slot = next((slot for slot in docker.SLOTS if (state.get(slot) or {}).get("model") == model), None)
    if not slot:
        raise Broken("service", f"{env} answers with {model[:12]}, which deploy/{env}.yaml does not name")
    running, named = environment.image(slot), state[slot].get("image")
    if named and docker.identity(named) != running:
        raise Broken("image", f"the {slot} runs {str(running)[:12]}, deploy/{env}.yaml names {named}")
    labels = json.loads(docker.docker("image", "inspect", "--format", "{{json .Config.Labels}}", running)) or {}
    for key, label in {"model": "model", "data": "data", "dvc_lock": "dvc-lock", "commit": image.REVISION}.items():
        if labels.get(label) != told.get(key):
            raise Broken("image", f"its label {label} is {labels.get(label)}, /version says {told.get(key)}")
    if of_commit(model, state[slot]["commit"])["dvc_lock"] != told["dvc_lock"]:
        raise Broken("deploy file", f"{LOCK} at its commit {state[slot]['commit'][:12]} is not what /version says")
    files = json.loads(docker.docker(*image.SEALED, "--entrypoint=python", running, "-c", FILES))
    for path, digest in files.items():
        there = blob(told["commit"], path) if not path.startswith("models/") else None
        right = hashlib.sha256(there or b"").hexdigest() if path != str(MODEL) else told["model"]
        if path.endswith((".py", ".yaml", ".lock", ".skops")) and digest != right:
            raise Broken("image", f"{path} in it is not that of {told['commit'][:12]}")
    return told


def mirrored(told: Told) -> list[str]:
    """Raise where MLflow recorded this dvc.lock with another model, other data or parameters; or forgot that it did."""
    if not tracked():
        return []
    store, parts = client(), [stage.get("params", {}) for stage in lock_at(told)["stages"].values()]
    said = {name: str(value) for part in parts for block in part.values() for name, value in flat(block).items()}
    experiment = store.get_experiment_by_name(Project.load().name)
    runs = store.search_runs([experiment.experiment_id], f"tags.dvc_lock = '{told['dvc_lock']}'")
    marks = {key: told[key] for key in ("model", "data")}
    right = (marks.items() <= run.data.tags.items() and said.items() <= run.data.params.items() for run in runs)
    if runs and not any(right):
        what = "another model, other data or other parameters"
        raise Broken("MLflow run", f"{runs[0].info.run_id} recorded this {LOCK} with {what}")
    if (own := run_of(told["dvc_lock"])) and own not in {run.info.run_id for run in runs}:
        raise Broken("MLflow run", f"{own} no longer says that it recorded this {LOCK}")
    return ["MLflow run"] if runs else []


def chain(env: str, model: str) -> int:
    """Walk from what answers in an environment, or from a model, back to the data; the first break is told."""
    links = []
    if env:
        state, links = recorded(env), ["deploy file", "history"]
        if Path("compose.yaml").exists():
            told, links = answering(env, state), ["service", "image", *links]
        else:
            told = of_commit(**{key: state["champion"][key] for key in ("model", "commit")})
        promotion(told["model"], env)
        links.append("verdict")
    elif MODEL.exists() and sha256(MODEL).startswith(model):
        told = of_commit(sha256(MODEL), git("rev-parse", "HEAD"))
    else:
        line = promotion(model)
        told = of_commit(line["to"], line.get("commit") or "HEAD")
    links += [*walk(told), *mirrored(told)]
    print(f"{'verify':<10}{env or told['model'][:12]}: {len(links)} links hold: {', '.join(links)}")
    return 0


def main(base: str = "", rerun_all: bool = True, tolerance: float = 1e-6, env: str = "", model: str = "") -> int:
    """Run everything again and hold dvc.lock to it; RERUN_ALL=0 seeks a stale one, ENV or MODEL walks a chain."""
    if env or model:
        return chain(env, model)
    if not rerun_all:
        return fresh()
    if base and not touched(base):
        print(f"{'verify':<10}nothing that the pipeline reads changed since {base[:12]}")
        return 0
    said, metrics = at("HEAD", LOCK), at("HEAD", METRICS)
    if not said or not metrics:
        return fresh()
    made, now = rerun()
    found = differences(said, made)
    gaps = metric_gaps(metrics, now, tolerance)
    if wrong := [*map(str, filter(lambda d: d.weighs, found)), *gaps]:
        warn("error", f"it is false: {', '.join(wrong)}; run `dvc repro --force` and commit what it makes")
        return 1
    if found:
        warn("notice", f"this machine makes another model with the same metrics ({', '.join(map(str, found))})")
    print(f"{'verify':<10}dvc.lock says what a fresh run makes")
    return 0
