"""The chain of a model: commit, dvc.lock, parameters, code, data, bytes; and the statement that says it in one file."""

import hashlib
import importlib.metadata
import io
import json
import os
from pathlib import Path
from typing import Any

from modelyard.core.dvc_lock import cached, folder_digest, lock, outs
from modelyard.core.errors import Broken, UserError
from modelyard.core.files import md5, read_json, sha256, within, write_json
from modelyard.core.git_objects import blob, folder_blobs
from modelyard.core.paths import DATA, LOCK, MODEL, PARAMS, SCHEMA, VERDICT
from modelyard.core.process import git
from modelyard.provenance.sbom import bill
from modelyard.tracking.store import run_of

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


def folder(commit: str, path: str, name: str) -> None:
    """Raise where a folder that a stage read is another one at the commit."""
    files = {inside: md5(content) for inside, content in folder_blobs(commit, path).items()}
    if folder_digest(files) != name:
        raise Broken("code", f"{path} at {commit[:12]} is not what {LOCK} was made with")


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
            if named.endswith(".dir"):
                folder(commit, path, named)
            elif path not in made and path != raw:
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


def of_commit(model: str, commit: str) -> Told:
    """What a commit says of the model that is said to be its own."""
    lock, about = blob(commit, LOCK), json.loads(blob(commit, DATA) or b"{}")
    digest = hashlib.sha256(lock).hexdigest() if lock else "none"
    return {"model": model, "commit": commit, "dvc_lock": digest, "data": about.get("sha256", "none")}


def sources() -> dict[str, dict[str, str]]:
    """What this folder's model was made of, by name: files by their bytes, code as dvc.lock names it, the commit."""
    about, read = read_json(DATA), outs(lock(), "deps")
    found = {str(path): {"sha256": sha256(path)} for path in (LOCK, PARAMS, SCHEMA, LIBRARIES)}
    found |= {path: {"md5": digest} for path, digest in read.items() if path == "src" or path.startswith("packages/")}
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


def write(image: str = "") -> None:
    """Write reports/lineage.json, and what this environment is made of."""
    installed = sorted({(one.name, one.version) for one in importlib.metadata.distributions()})
    write_json(LINEAGE, statement(image))
    write_json(BILL, bill("application", "environment", sha256(LIBRARIES)[:12], [("pypi", *one) for one in installed]))
