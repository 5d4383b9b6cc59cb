"""Verb: everything runs again in a scratch checkout, and dvc.lock must say what comes out; or a chain is walked.

Two dvc.lock files can merge without a conflict into one that no run ever made; `dvc status` does not see it.
With ENV (or MODEL) nothing is run: what answers there is followed back to the data, link by link.
"""

import hashlib
import importlib
import json
import os
from importlib.util import find_spec
from typing import Any, NamedTuple

import yaml

from . import registry
from .champion import at, blob, checkout, lock, outs, run
from .config import DVC, LOCK, METRICS, MODEL, Broken, UserError, flat, git, load_params, read_json, sha256
from .lineage import Told, lock_at, of_commit, run_of, walk
from .track import client, tracked

# Asked of an image: the SHA-256 of each of its files.
FILES = """import hashlib, json, pathlib
found = [p for p in pathlib.Path().rglob("*") if p.is_file()]
print(json.dumps({str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}))"""
# What follows from the model: other bytes there are reported, since another processor may round differently.
FOLLOWS = (str(MODEL), "models/rows.npy", "reports/predictions.parquet", "reports/plots", str(METRICS))


class Difference(NamedTuple):
    """One place where two dvc.lock files say different things."""

    stage: str
    part: str  # cmd, deps, params, outs or stage
    name: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))

    @property
    def weighs(self) -> bool:
        """Whether it shows that a lock is false: everything but the model and what follows from it."""
        return self.part not in ("deps", "outs") or self.name not in FOLLOWS


def places(lock: dict[str, Any]) -> dict[Difference, Any]:
    """A dvc.lock as place → digest or value."""
    found: dict[Difference, Any] = {}
    for name, stage in lock.get("stages", {}).items():
        found |= {Difference(name, "stage"): True, Difference(name, "cmd"): stage.get("cmd")}
        for part in ("deps", "outs"):
            found |= {Difference(name, part, row["path"]): row.get("md5") for row in stage.get(part, [])}
        for values in stage.get("params", {}).values():
            found |= {Difference(name, "params", key): value for key, value in values.items()}
    return found


def differences(said: dict[str, Any], made: dict[str, Any]) -> list[Difference]:
    """Where a committed dvc.lock and a fresh one differ; a stage that only one has is one difference."""
    old, new = places(said), places(made)
    found = [place for place in {**old, **new} if old.get(place) != new.get(place)]
    alone = {place.stage for place in found if place.part == "stage"}
    return [place for place in found if place.part == "stage" or place.stage not in alone]


def stale(said: dict[str, Any], made: dict[str, Any]) -> list[Difference]:
    """Where a committed dvc.lock was not made from the files beside it; other outputs alone do not count."""
    made_here = set(outs(made)) | set(FOLLOWS)
    return [d for d in differences(said, made) if d.part != "outs" and d.name not in made_here]


def metric_gaps(said: dict[str, float], made: dict[str, float], tolerance: float) -> list[str]:
    """The metrics that a fresh run does not confirm."""
    pairs = {name: (said.get(name, float("nan")), made.get(name, float("nan"))) for name in sorted({**said, **made})}
    return [f"{n} {said.get(n)} but {made.get(n)}" for n, (a, b) in pairs.items() if not abs(a - b) <= tolerance]


def warn(kind: str, sentence: str) -> None:
    """Say it on the terminal, and in GitHub Actions as an annotation of dvc.lock."""
    mark = f"::{kind} file={LOCK},title=dvc.lock::" if os.environ.get("GITHUB_ACTIONS") else f"{kind}: "
    print(mark + sentence, flush=True)


def fresh() -> int:
    """Warn when the committed dvc.lock is older than the files beside it; never fails."""
    said, cure = at("HEAD", LOCK), "run `make pipeline` and commit dvc.lock and reports/"
    if not said:
        warn("warning", f"there is no dvc.lock in this commit: {cure}")
    elif found := stale(said, lock()):
        names = ", ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
        warn("warning", f"it is stale ({names}): {cure}")
    return 0


def rerun() -> tuple[dict[str, Any], dict[str, float]]:
    """The dvc.lock and the metrics that the commit's own code makes, from the raw data on."""
    with checkout("HEAD") as project:
        run(project, *DVC, "checkout", "--quiet", "--allow-missing", "--force")
        run(project, *DVC, "repro", "--quiet", "--force", "--no-run-cache")
        made = yaml.safe_load((project / LOCK).read_text(encoding="utf-8"))
        return made, read_json(project / METRICS)


def touched(base: str) -> bool:
    """Whether anything that the pipeline reads differs between a commit and this one; unknown counts as yes."""
    try:
        changed = git("diff", "--name-only", base, "HEAD").splitlines()
    except UserError:
        return True
    own = {*outs(lock(), "deps"), str(LOCK), "dvc.yaml", "params.yaml", ".python-version"}
    return any(name in own or name.startswith(("src/", "requirements/", "data/")) for name in changed)


def promotion(model: str, env: str | None = None) -> dict[str, Any]:
    """The line of the history by which a model was promoted; there has to be one."""
    lines = [e for e in registry.history(env) if e["action"] == "promote" and str(e["to"]).startswith(model)]
    if not lines:
        raise Broken("verdict", f"{registry.HISTORY} does not say on which verdict {model[:12]} was promoted")
    return lines[-1]


def recorded(env: str) -> dict[str, Any]:
    """What deploy/<env>.yaml says, committed and as the history says it."""
    state, lines = registry.state(env), registry.history(env)
    if not state["champion"]:
        raise UserError(f"deploy/{env}.yaml names no champion; `make promote ENV={env}` writes it there")
    if git("status", "--porcelain", "--", str(registry.FOLDER)):
        raise Broken("deploy file", "deploy/ is not as it was committed; commit it, or `git restore deploy`")
    model, last = state["champion"]["model"], lines[-1]["to"] if lines else "nothing"
    if model != last:
        raise Broken("history", f"its last line says {last[:12]} of {env}, deploy/{env}.yaml names {model[:12]}")
    return state


def answering(env: str, state: dict[str, Any]) -> Told:
    """What /version says there, after it and its image were found to be what the deploy file names."""
    engine, image = (importlib.import_module(f"{__package__}.{name}") for name in ("engine", "image"))
    environment = engine.Environment(env, load_params().deploy)
    try:
        told: Told = environment.public("/version")
    except UserError as problem:
        raise Broken("service", f"{env} does not answer: {problem}") from None
    model = str(told.get("model"))
    slot = next((slot for slot in engine.SLOTS if (state.get(slot) or {}).get("model") == model), None)
    if not slot:
        raise Broken("service", f"{env} answers with {model[:12]}, which deploy/{env}.yaml does not name")
    running, named = environment.image(slot), state[slot].get("image")
    if named and engine.identity(named) != running:
        raise Broken("image", f"the {slot} runs {str(running)[:12]}, deploy/{env}.yaml names {named}")
    labels = json.loads(engine.docker("image", "inspect", "--format", "{{json .Config.Labels}}", running)) or {}
    for key, label in {"model": "model", "data": "data", "dvc_lock": "dvc-lock", "commit": image.REVISION}.items():
        if labels.get(label) != told.get(key):
            raise Broken("image", f"its label {label} is {labels.get(label)}, /version says {told.get(key)}")
    if of_commit(model, state[slot]["commit"])["dvc_lock"] != told["dvc_lock"]:
        raise Broken("deploy file", f"{LOCK} at its commit {state[slot]['commit'][:12]} is not what /version says")
    files = json.loads(engine.docker(*image.SEALED, "--entrypoint=python", running, "-c", FILES))
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
    experiment = store.get_experiment_by_name(str(__package__))
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
        if find_spec(f"{__package__}.engine"):
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
