"""The chain of a model: commit, dvc.lock, parameters, code, data, bytes; and the statement that says it in one file."""

import hashlib
import importlib.metadata
import io
import json
import os
import subprocess
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from .champion import blob, cached, lock, outs
from .config import (
    DATA,
    LOCK,
    MODEL,
    PARAMS,
    SCHEMA,
    VERDICT,
    Broken,
    UserError,
    git,
    last_words,
    md5,
    read_json,
    sha256,
    within,
    write_json,
)

LINEAGE = Path("reports/lineage.json")
BILL = Path("reports/environment.json")
LIBRARIES = Path("requirements/dev.txt")

Told = dict[str, Any]  # what a service, an image or a commit says: model, commit, dvc_lock, data


def content(link: str, commit: str, path: str, name: str) -> str | None:
    """The SHA-256 of the bytes that dvc.lock means: in git, DVC's cache or this folder; None where they are nowhere."""
    if (there := blob(commit, path)) is not None:
        if md5(there) != name:
            raise Broken(link, f"{path} at {commit[:12]} is not what {LOCK} was made with")
        return hashlib.sha256(there).hexdigest()
    for place in (cached(name), Path(path)):
        if place.is_file():
            if md5(place) == name:
                return sha256(place)
            if place != Path(path):
                raise Broken(link, f"{place} holds other bytes than its name says; delete it and `make pull`")
    return None


def lock_at(told: Told) -> dict[str, Any]:
    """The dvc.lock of the commit, after both were found to be those that were told."""
    from ruamel.yaml import YAML  # which reads numbers as DVC does

    try:
        git("merge-base", "--is-ancestor", told["commit"], "HEAD")
    except UserError:
        raise Broken("commit", f"{told['commit'][:12]} is not on this branch; fetch or merge it") from None
    there = blob(told["commit"], LOCK)
    if there is None or hashlib.sha256(there).hexdigest() != told["dvc_lock"]:
        raise Broken("dvc.lock", f"{LOCK} at {told['commit'][:12]} is not {told['dvc_lock'][:12]}")
    found: dict[str, Any] = YAML(typ="safe").load(io.BytesIO(there))
    return found


def parameters(commit: str, lock: dict[str, Any]) -> None:
    """Raise where a parameter in dvc.lock is another one at the commit."""
    from ruamel.yaml import YAML

    for stage in lock["stages"].values():
        for path, said in stage.get("params", {}).items():
            there = YAML(typ="safe").load(io.BytesIO(blob(commit, path) or b""))
            for key, value in said.items():
                if within(there, key) != value:
                    raise Broken("parameters", f"{path} at {commit[:12]} has another {key} than {LOCK}")


def code(commit: str, lock: dict[str, Any], raw: str) -> None:
    """Raise where a stage read another file than the commit has, or than an earlier stage made."""
    made = outs(lock)
    for name, stage in lock["stages"].items():
        for dep in stage.get("deps", []):
            path, named = dep["path"], dep.get("md5", "")
            if path in made and made[path] != named:
                raise Broken("dvc.lock", f"{name} read another {path} than was made; `dvc repro --force` makes it anew")
            if path not in made and path != raw:
                content("code", commit, path, named)


def walk(told: Told, strict: bool = True) -> list[str]:
    """The links from a commit back to the data, by name; raises at the first that does not hold.

    Where it is not strict, bytes that are nowhere here are not held against the chain: a service checks its own.
    """
    lock, commit = lock_at(told), told["commit"]
    made, about = outs(lock), json.loads(blob(commit, DATA) or b"{}")
    parameters(commit, lock)
    raw = str(about.get("path", ""))
    code(commit, lock, raw)
    content("data", commit, str(DATA), made.get(str(DATA), ""))
    if about.get("sha256") != told["data"]:
        raise Broken("data", f"{DATA} at {commit[:12]} is about other data than {told['data'][:12]}")
    for link, path, bytes_of in (("data", raw, outs(lock, "deps")), ("model", str(MODEL), made)):
        found, said = content(link, commit, path, bytes_of.get(path, "")), told[link]
        if found is None and strict:
            raise Broken(link, f"the bytes of {said[:12]} are nowhere here; `make pull` fetches them")
        if found not in (None, said):
            raise Broken(link, f"{LOCK} names the bytes {str(found)[:12]}, not {said[:12]}")
    return ["commit", "dvc.lock", "parameters", "code", "data", "model"]


def signed(what: str, key: str, command: Sequence[str], **words: str) -> None:
    """Raise unless the command that params.yaml names under a key finds something signed; none asks for nothing."""
    filled = [reduce(lambda text, name: text.replace(f"{{{name}}}", words[name]), words, word) for word in command]
    try:
        done = subprocess.run(filled, capture_output=True, text=True, check=False) if filled else None
    except OSError as problem:
        raise UserError(f"{key} in params.yaml cannot be run ({problem}); install what it names") from None
    if done and done.returncode:
        why = last_words(done.stderr or done.stdout)
        raise UserError(f"{what} is not signed as params.yaml ({key}) asks for: {why}")


def of_commit(model: str, commit: str) -> Told:
    """What a commit says of the model that is said to be its own."""
    lock, about = blob(commit, LOCK), json.loads(blob(commit, DATA) or b"{}")
    digest = hashlib.sha256(lock).hexdigest() if lock else "none"
    return {"model": model, "commit": commit, "dvc_lock": digest, "data": about.get("sha256", "none")}


def run_of(dvc_lock: str) -> str:
    """The MLflow run that recorded this dvc.lock, as far as this folder knows."""
    from .track import STAMP, shown

    address, lock, run = (STAMP.read_text(encoding="utf-8").split() if STAMP.exists() else []) or ["", "", ""]
    return run if address == shown() and lock == dvc_lock else ""


def sources() -> dict[str, dict[str, str]]:
    """What this folder's model was made of, by name: files by their bytes, code as dvc.lock names it, the commit."""
    about, read = read_json(DATA), outs(lock(), "deps")
    found = {str(path): {"sha256": sha256(path)} for path in (LOCK, PARAMS, SCHEMA, LIBRARIES)}
    found |= {path: {"md5": digest} for path, digest in read.items() if path.startswith("src/")}
    return {"commit": {"gitCommit": git("rev-parse", "HEAD")}, about["path"]: {"sha256": about["sha256"]}, **found}


def statement(image: str = "") -> dict[str, Any]:
    """What was made of what, as an in-toto statement with SLSA's provenance."""
    made = {str(MODEL): sha256(MODEL)} | ({image.partition("@")[0]: image.rpartition(":")[2]} if image else {})
    judged = [{"name": str(VERDICT), "digest": {"sha256": sha256(VERDICT)}}] if VERDICT.exists() else []
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in made.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://dvc.org/doc/user-guide/pipelines",
                "externalParameters": {"verb": "pipeline"},
                "resolvedDependencies": [{"name": name, "digest": digest} for name, digest in sources().items()],
            },
            "runDetails": {
                "builder": {"id": os.environ.get("GITHUB_WORKFLOW_REF", "local")},
                "metadata": {"invocationId": run_of(sha256(LOCK))},
                "byproducts": judged,
            },
        },
    }


def bill(kind: str, name: str, version: str, parts: list[tuple[str, str, str]]) -> dict[str, Any]:
    """What something is made of, as a CycloneDX list of (kind, name, version)."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": kind, "name": name, "version": version}},
        "components": [
            {"type": "library", "name": name, "version": version, "purl": f"pkg:{kind}/{name.lower()}@{version}"}
            for kind, name, version in parts
        ],
    }


def write(image: str = "") -> None:
    """Write reports/lineage.json, and what this environment is made of."""
    installed = sorted({(one.name, one.version) for one in importlib.metadata.distributions()})
    write_json(LINEAGE, statement(image))
    write_json(BILL, bill("application", "environment", sha256(LIBRARIES)[:12], [("pypi", *one) for one in installed]))
