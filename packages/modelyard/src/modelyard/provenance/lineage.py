"""The chain of a model: commit, dvc.lock, parameters, code, data, bytes; and the statement that says it in one file."""

import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

from modelyard.core.dvc_lock import get_cache_path, get_hashes, hash_folder, load_lock
from modelyard.core.errors import IntegrityError, UserError
from modelyard.core.files import get_nested, md5, read_json, sha256, write_json
from modelyard.core.git_objects import read_blob, read_folder_blobs
from modelyard.core.paths import DATA_JSON, DVC_LOCK, MODEL_FILE, PARAMS_YAML, SCHEMA_YAML, VERDICT_JSON
from modelyard.core.process import run_git
from modelyard.core.yaml import parse_yaml
from modelyard.provenance.sbom import build_sbom
from modelyard.tracking.store import find_recorded_run

LINEAGE_JSON = Path("reports/lineage.json")
ENVIRONMENT_SBOM = Path("reports/environment.json")
DEV_REQUIREMENTS = Path("requirements/dev.txt")
ProvenanceClaim = dict[str, Any]  # what a service, an image or a commit says: model, commit, dvc_lock, data


def verify_file(link: str, commit: str, path: str, name: str) -> str | None:
    """The SHA-256 of the bytes that dvc.lock means: in git, DVC's cache or this folder; None where they are nowhere."""
    if (there := read_blob(commit, path)) is not None:
        if md5(there) != name:
            raise IntegrityError(link, f"{path} at {commit[:12]} is not what {DVC_LOCK} was made with")
        return hashlib.sha256(there).hexdigest()
    for place in (get_cache_path(name), Path(path)):
        if place.is_file():
            if md5(place) == name:
                return sha256(place)
            if place != Path(path):
                raise IntegrityError(link, f"{place} holds other bytes than its name says; delete it and `make pull`")
    return None


def verify_folder(commit: str, path: str, name: str) -> None:
    """Raise where a folder that a stage read is another one at the commit."""
    files = {inside: md5(content) for inside, content in read_folder_blobs(commit, path).items()}
    if hash_folder(files) != name:
        raise IntegrityError("code", f"{path} at {commit[:12]} is not what {DVC_LOCK} was made with")


def load_verified_lock(told: ProvenanceClaim) -> dict[str, Any]:
    """The dvc.lock of the commit, after both were found to be those that were told."""
    try:
        run_git("merge-base", "--is-ancestor", told["commit"], "HEAD")
    except UserError:
        raise IntegrityError("commit", f"{told['commit'][:12]} is not on this branch; fetch or merge it") from None
    there = read_blob(told["commit"], DVC_LOCK)
    if there is None or hashlib.sha256(there).hexdigest() != told["dvc_lock"]:
        raise IntegrityError("dvc.lock", f"{DVC_LOCK} at {told['commit'][:12]} is not {told['dvc_lock'][:12]}")
    found: dict[str, Any] = parse_yaml(there)
    return found


def verify_parameters(commit: str, lock: dict[str, Any]) -> None:
    """Raise where a parameter in dvc.lock is another one at the commit."""
    for stage in lock["stages"].values():
        for path, said in stage.get("params", {}).items():
            there = parse_yaml(read_blob(commit, path) or b"")
            for key, value in said.items():
                if get_nested(there, key) != value:
                    raise IntegrityError("parameters", f"{path} at {commit[:12]} has another {key} than {DVC_LOCK}")


def verify_code(commit: str, lock: dict[str, Any], raw: str) -> None:
    """Raise where a stage read another file than the commit has, or than an earlier stage made."""
    made = get_hashes(lock)
    for name, stage in lock["stages"].items():
        for dep in stage.get("deps", []):
            path, named = dep["path"], dep.get("md5", "")
            if path in made and made[path] != named:
                raise IntegrityError(
                    "dvc.lock", f"{name} read another {path} than was made; `dvc repro --force` makes it anew"
                )
            if named.endswith(".dir"):
                verify_folder(commit, path, named)
            elif path not in made and path != raw:
                verify_file("code", commit, path, named)


def verify_lineage(told: ProvenanceClaim, strict: bool = True) -> list[str]:
    """The links from a commit back to the data, by name; raises at the first that does not hold.

    Where it is not strict, bytes that are nowhere here are not held against the chain: a service checks its own.
    """
    lock, commit = load_verified_lock(told), told["commit"]
    made, about = get_hashes(lock), json.loads(read_blob(commit, DATA_JSON) or b"{}")
    verify_parameters(commit, lock)
    raw = str(about.get("path", ""))
    verify_code(commit, lock, raw)
    verify_file("data", commit, str(DATA_JSON), made.get(str(DATA_JSON), ""))
    if about.get("sha256") != told["data"]:
        raise IntegrityError("data", f"{DATA_JSON} at {commit[:12]} is about other data than {told['data'][:12]}")
    for link, path, bytes_of in (("data", raw, get_hashes(lock, "deps")), ("model", str(MODEL_FILE), made)):
        found, said = verify_file(link, commit, path, bytes_of.get(path, "")), told[link]
        if found is None and strict:
            raise IntegrityError(link, f"the bytes of {said[:12]} are nowhere here; `make pull` fetches them")
        if found not in (None, said):
            raise IntegrityError(link, f"{DVC_LOCK} names the bytes {str(found)[:12]}, not {said[:12]}")
    return ["commit", "dvc.lock", "parameters", "code", "data", "model"]


def build_claim(model: str, commit: str) -> ProvenanceClaim:
    """What a commit says of the model that is said to be its own."""
    lock, about = read_blob(commit, DVC_LOCK), json.loads(read_blob(commit, DATA_JSON) or b"{}")
    digest = hashlib.sha256(lock).hexdigest() if lock else "none"
    return {"model": model, "commit": commit, "dvc_lock": digest, "data": about.get("sha256", "none")}


def collect_dependencies() -> dict[str, dict[str, str]]:
    """What this folder's model was made of, by name: files by their bytes, code as dvc.lock names it, the commit."""
    about, read = read_json(DATA_JSON), get_hashes(load_lock(), "deps")
    found = {str(path): {"sha256": sha256(path)} for path in (DVC_LOCK, PARAMS_YAML, SCHEMA_YAML, DEV_REQUIREMENTS)}
    found |= {path: {"md5": digest} for path, digest in read.items() if path == "src" or path.startswith("packages/")}
    return {"commit": {"gitCommit": run_git("rev-parse", "HEAD")}, about["path"]: {"sha256": about["sha256"]}, **found}


def build_statement(image: str = "") -> dict[str, Any]:
    """What was made of what, as an in-toto statement with SLSA's provenance."""
    made = {str(MODEL_FILE): sha256(MODEL_FILE)} | (
        {image.partition("@")[0]: image.rpartition(":")[2]} if image else {}
    )
    judged = [{"name": str(VERDICT_JSON), "digest": {"sha256": sha256(VERDICT_JSON)}}] if VERDICT_JSON.exists() else []
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in made.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://dvc.org/doc/user-guide/pipelines",
                "externalParameters": {"verb": "pipeline"},
                "resolvedDependencies": [
                    {"name": name, "digest": digest} for name, digest in collect_dependencies().items()
                ],
            },
            "runDetails": {
                "builder": {"id": os.environ.get("GITHUB_WORKFLOW_REF", "local")},
                "metadata": {"invocationId": find_recorded_run(sha256(DVC_LOCK))},
                "byproducts": judged,
            },
        },
    }


def write_lineage(image: str = "") -> None:
    """Write reports/lineage.json, and what this environment is made of."""
    installed = sorted({(one.name, one.version) for one in importlib.metadata.distributions()})
    write_json(LINEAGE_JSON, build_statement(image))
    write_json(
        ENVIRONMENT_SBOM,
        build_sbom("application", "environment", sha256(DEV_REQUIREMENTS)[:12], [("pypi", *one) for one in installed]),
    )
