"""Follows a model back to its data, and writes the statement of what it was made of.

The links are commit, dvc.lock, parameters, code, data and model. Each is checked by digest; the first that does not
hold is an `IntegrityError` that names it. Paths are relative to the project, which may be a folder of a repository.
"""

import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

from modelyard.core.dvc_lock import get_cache_path, get_hashes, hash_folder, hash_path, load_lock
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
LINKS = ("commit", "dvc.lock", "parameters", "code", "data", "model")
# What a service, an image or a commit claims: `model`, `dvc_lock` and `data` (SHA-256), and `commit`.
ProvenanceClaim = dict[str, Any]


def verify_file(link: str, commit: str, path: str, digest: str) -> str | None:
    """Find the bytes that dvc.lock means by a file: in git, in DVC's cache or in this folder.

    Parameters
    ----------
    link
        The link of the chain that the file belongs to.
    commit
        The commit of the dvc.lock.
    path
        The file.
    digest
        Its MD5 in dvc.lock.

    Returns
    -------
    str or None
        The SHA-256 of the bytes; None where they are in none of these places.

    Raises
    ------
    IntegrityError
        Other bytes are in git or in DVC's cache.
    """
    content = read_blob(commit, path)
    if content is not None:
        if md5(content) != digest:
            raise IntegrityError(link, f"{path} at {commit[:12]} is not what {DVC_LOCK} was made with")
        return hashlib.sha256(content).hexdigest()
    cached = get_cache_path(digest)
    if cached.is_file():
        if md5(cached) != digest:
            raise IntegrityError(link, f"{cached} holds other bytes than its name says; delete it and `make pull`")
        return sha256(cached)
    file = Path(path)
    if file.is_file() and md5(file) == digest:
        return sha256(file)
    return None


def verify_folder(commit: str, path: str, digest: str) -> None:
    """Raise an `IntegrityError` where a folder at a commit does not have the digest in dvc.lock (`<MD5>.dir`)."""
    files = {name: md5(content) for name, content in read_folder_blobs(commit, path).items()}
    if hash_folder(files) != digest:
        raise IntegrityError("code", f"{path} at {commit[:12]} is not what {DVC_LOCK} was made with")


def load_verified_lock(claim: ProvenanceClaim) -> dict[str, Any]:
    """Return the dvc.lock of a claim's commit.

    Raises
    ------
    IntegrityError
        The commit is not an ancestor of HEAD, or its dvc.lock is not the one that is claimed.
    """
    commit = claim["commit"]
    try:
        run_git("merge-base", "--is-ancestor", commit, "HEAD")
    except UserError:
        raise IntegrityError("commit", f"{commit[:12]} is not on this branch; fetch or merge it") from None
    content = read_blob(commit, DVC_LOCK)
    if content is None or hashlib.sha256(content).hexdigest() != claim["dvc_lock"]:
        raise IntegrityError("dvc.lock", f"{DVC_LOCK} at {commit[:12]} is not {claim['dvc_lock'][:12]}")
    lock: dict[str, Any] = parse_yaml(content)
    return lock


def verify_parameters(commit: str, lock: dict[str, Any]) -> None:
    """Raise an `IntegrityError` where a parameter in dvc.lock has another value at the commit."""
    for stage in lock["stages"].values():
        for path, values in stage.get("params", {}).items():
            committed = parse_yaml(read_blob(commit, path) or b"")
            for key, value in values.items():
                if get_nested(committed, key) != value:
                    raise IntegrityError("parameters", f"{path} at {commit[:12]} has another {key} than {DVC_LOCK}")


def verify_code(commit: str, lock: dict[str, Any], data_path: str) -> None:
    """Raise an `IntegrityError` where a stage read something else than is at the commit or than a stage made.

    Parameters
    ----------
    commit
        The commit.
    lock
        Its dvc.lock.
    data_path
        The raw data, which is a link of its own.
    """
    outputs = get_hashes(lock)
    for name, stage in lock["stages"].items():
        for dependency in stage.get("deps", []):
            path = dependency["path"]
            digest = dependency.get("md5", "")
            if path in outputs and outputs[path] != digest:
                sentence = f"{name} read another {path} than was made; `dvc repro --force` makes it anew"
                raise IntegrityError("dvc.lock", sentence)
            if path in outputs or path == data_path:
                continue
            if digest.endswith(".dir"):
                verify_folder(commit, path, digest)
            else:
                verify_file("code", commit, path, digest)


def verify_bytes(link: str, commit: str, path: str, digest: str, claimed: str, strict: bool) -> None:
    """Raise an `IntegrityError` unless a file that dvc.lock names by MD5 has the SHA-256 that is claimed.

    A folder (`<MD5>.dir`) is compared with dvc.lock only.
    """
    if digest.endswith(".dir"):
        found = claimed if Path(path).is_dir() and hash_path(Path(path)) == digest else None
    else:
        found = verify_file(link, commit, path, digest)
    if found is None and strict:
        raise IntegrityError(link, f"the bytes of {claimed[:12]} are nowhere here; `make pull` fetches them")
    if found not in (None, claimed):
        raise IntegrityError(link, f"{DVC_LOCK} names the bytes {str(found)[:12]}, not {claimed[:12]}")


def verify_lineage(claim: ProvenanceClaim, strict: bool = True) -> list[str]:
    """Check every link from a commit back to the data.

    Parameters
    ----------
    claim
        What a service, an image or a commit claims.
    strict
        Whether the bytes of data and model must be here. A deployment does not need them: a service checks its own.

    Returns
    -------
    list of str
        The names of the links, all of which hold.

    Raises
    ------
    IntegrityError
        The first link that does not hold.
    """
    commit = claim["commit"]
    lock = load_verified_lock(claim)
    outputs = get_hashes(lock)
    data = json.loads(read_blob(commit, DATA_JSON) or b"{}")
    data_path = str(data.get("path", ""))
    verify_parameters(commit, lock)
    verify_code(commit, lock, data_path)
    verify_file("data", commit, str(DATA_JSON), outputs.get(str(DATA_JSON), ""))
    if data.get("sha256") != claim["data"]:
        raise IntegrityError("data", f"{DATA_JSON} at {commit[:12]} is about other data than {claim['data'][:12]}")
    data_digest = get_hashes(lock, "deps").get(data_path, "")
    verify_bytes("data", commit, data_path, data_digest, claim["data"], strict)
    verify_bytes("model", commit, str(MODEL_FILE), outputs.get(str(MODEL_FILE), ""), claim["model"], strict)
    return list(LINKS)


def build_claim(model: str, commit: str) -> ProvenanceClaim:
    """Return what a commit claims of a model (SHA-256) that is said to be its own."""
    lock = read_blob(commit, DVC_LOCK)
    data = json.loads(read_blob(commit, DATA_JSON) or b"{}")
    return {
        "model": model,
        "commit": commit,
        "dvc_lock": hashlib.sha256(lock).hexdigest() if lock else "none",
        "data": data.get("sha256", "none"),
    }


def collect_dependencies() -> dict[str, dict[str, str]]:
    """Return the digests of what this folder's model was made of, by name.

    The commit and the data come first, then files by SHA-256, then folders of code by DVC's digest.
    """
    data = read_json(DATA_JSON)
    found = {"commit": {"gitCommit": run_git("rev-parse", "HEAD")}, data["path"]: {"sha256": data["sha256"]}}
    for file in (DVC_LOCK, PARAMS_YAML, SCHEMA_YAML, DEV_REQUIREMENTS):
        found[str(file)] = {"sha256": sha256(file)}
    for path, digest in get_hashes(load_lock(), "deps").items():
        if path == "src" or path.startswith("packages/"):
            found[path] = {"md5": digest}
    return found


def build_statement(image: str = "") -> dict[str, Any]:
    """Return what was made of what, as an in-toto statement with SLSA's provenance.

    Parameters
    ----------
    image
        The reference by digest of an image of the model, if there is one.

    References
    ----------
    https://slsa.dev/spec/v1.0/provenance
    """
    products = {str(MODEL_FILE): sha256(MODEL_FILE)}
    if image:
        products[image.partition("@")[0]] = image.rpartition(":")[2]
    byproducts = []
    if VERDICT_JSON.exists():
        byproducts.append({"name": str(VERDICT_JSON), "digest": {"sha256": sha256(VERDICT_JSON)}})
    dependencies = [{"name": name, "digest": digest} for name, digest in collect_dependencies().items()]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in products.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://dvc.org/doc/user-guide/pipelines",
                "externalParameters": {"verb": "pipeline"},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": os.environ.get("GITHUB_WORKFLOW_REF", "local")},
                "metadata": {"invocationId": find_recorded_run(sha256(DVC_LOCK))},
                "byproducts": byproducts,
            },
        },
    }


def write_lineage(image: str = "") -> None:
    """Write reports/lineage.json, and the packages of this environment to reports/environment.json.

    Parameters
    ----------
    image
        The reference by digest of an image of the model, if there is one.
    """
    installed = sorted({(package.name, package.version) for package in importlib.metadata.distributions()})
    packages = [("pypi", name, version) for name, version in installed]
    write_json(LINEAGE_JSON, build_statement(image))
    write_json(ENVIRONMENT_SBOM, build_sbom("application", "environment", sha256(DEV_REQUIREMENTS)[:12], packages))
