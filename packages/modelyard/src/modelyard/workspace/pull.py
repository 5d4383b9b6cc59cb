"""Fetch data and models from the remote, and the promoted model from its release; the pipeline makes the rest."""

import tempfile
from pathlib import Path
from typing import Any

from modelyard.core.console import print_result
from modelyard.core.deployments import find_deployed_champion
from modelyard.core.dvc_lock import (
    FOLDER_SUFFIX,
    get_cache_path,
    get_hashes,
    is_inside,
    iterate_outputs,
    verify_cached_folder,
)
from modelyard.core.errors import InvalidFileError
from modelyard.core.files import md5
from modelyard.core.git_objects import checkout_commit, find_commit, read_yaml_at
from modelyard.core.model_at import MODEL_FILES
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK, MODEL_FILE
from modelyard.core.process import get_default_remote, last_error_line, run_dvc, run_git
from modelyard.core.yaml import read_yaml
from modelyard.github import release
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError, retry_while_unavailable
from modelyard.provenance.signing import verify_signature

DATA_FOLDERS = ("data", "models", "reports")  # where DVC may write
OUTPUT_KEYS = {"path", "md5", "hash", "size", "nfiles", "isexec", "cache", "desc", "type", "labels", "meta", "persist"}
LINK_MODE = "120000"  # of git


def find_missing_champion() -> str:
    """Return the SHA-256 of the promoted model where DVC's cache lacks it; empty where nothing is missing."""
    champion = find_deployed_champion()
    if champion is None:
        return ""
    hashes = get_hashes(read_yaml_at(champion.commit, DVC_LOCK) or {})
    paths = [get_cache_path(hashes.get(str(MODEL_FILE.parent / name))) for name in release.RELEASE_FILES]
    return "" if all(path.is_file() for path in paths) else champion.model


def verify_release(files: dict[str, bytes], digest: str) -> None:
    """Verify a model's signature where params.yaml asks for one.

    Parameters
    ----------
    files
        The content of the release's files by name.
    digest
        The SHA-256 of the model.

    Raises
    ------
    UserError
        If the model is not signed as params.yaml says.
    """
    command = load_params().release.signed
    if not command:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, release.MODEL_NAME)
        file.write_bytes(files[release.MODEL_NAME])
        verify_signature(f"the model {digest[:12]}", "release.signed", command, model=str(file), digest=digest)


def store_in_cache(content: bytes) -> None:
    """Write some bytes where DVC's cache keeps them."""
    path = get_cache_path(md5(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def fetch_champion_from_release() -> str:
    """Put the promoted model into DVC's cache from its release.

    Returns
    -------
    str
        What was done, in words; empty where nothing is missing, or outside of GitHub.

    Raises
    ------
    UserError
        If the model is not signed as params.yaml says.
    """
    api = GitHubClient.from_environment()
    digest = find_missing_champion()
    if not digest or not api.repository:
        return ""
    try:
        files = retry_while_unavailable(lambda: release.download_model(api, digest))
    except (ApiError, ServiceUnavailableError) as problem:
        return f"the promoted model {digest[:12]} could not be fetched ({problem})"
    if not files:
        return f"no release has the promoted model {digest[:12]}; it is trained again from its commit"
    verify_release(files, digest)
    for content in files.values():
        store_in_cache(content)
    return f"the promoted model {digest[:12]} came from its release"


def refuse_foreign_pointers() -> None:
    """Raise an `InvalidFileError` where a file of DVC would write outside of the folders of data, or import.

    Any `.dvc` file of a branch says what DVC writes where, and nobody owns it. A link that is committed there would
    lead DVC elsewhere.
    """
    for line in filter(None, run_git("ls-files", "-z", "--stage").split("\0")):
        mode, _, name = line.partition("\t")
        path = Path(name)
        if mode.startswith(LINK_MODE) and path.parts[0] in DATA_FOLDERS:
            raise InvalidFileError(path, "is a link in this commit", f"commit no links below {', '.join(DATA_FOLDERS)}")
        if path.name == "dvc.yaml" and name != "dvc.yaml":
            raise InvalidFileError(path, "is a second pipeline", "keep all stages in dvc.yaml")
        if path.suffix == ".dvc":
            refuse_foreign_pointer(path)


def refuse_foreign_pointer(path: Path) -> None:
    """Raise an `InvalidFileError` where one `.dvc` file is or writes outside of the folders of data, or imports."""
    cure = f"`dvc add` data below {', '.join(DATA_FOLDERS)}"
    pointer = read_yaml(path)
    if path.parts[0] not in DATA_FOLDERS or pointer.get("wdir", ".") != ".":
        raise InvalidFileError(path, f"is or works outside of {', '.join(DATA_FOLDERS)}", cure)
    if pointer.get("deps"):
        raise InvalidFileError(path, "imports from another address", cure)
    for entry in pointer.get("outs", []):
        refuse_unknown_keys(path, entry)
        if not is_inside(str(entry["path"])):
            raise InvalidFileError(path, f"names {entry['path']}, outside of its folder", cure)


def refuse_unknown_keys(path: Path, entry: dict[str, Any]) -> None:
    """Raise an `InvalidFileError` where DVC would find an output's files by something else than an MD5 in its cache."""
    unknown = set(entry) - OUTPUT_KEYS
    is_folder = str(entry.get("md5")).endswith(FOLDER_SUFFIX)
    if unknown or (is_folder and entry.get("hash") != "md5"):
        problem = f"describes {entry.get('path')} by {', '.join(sorted(unknown)) or 'a digest of an earlier DVC'}"
        raise InvalidFileError(path, problem, "`dvc commit` writes it again")


def refuse_foreign_files() -> None:
    """Raise an `IntegrityError` where a folder in DVC's cache names a file outside of itself."""
    pointers = [Path(name) for name in run_git("ls-files", "-z", "--", "*.dvc").split("\0") if name]
    entries = list(iterate_outputs(pointers))
    stages = (read_yaml(DVC_LOCK) or {}).get("stages", {}) if DVC_LOCK.exists() else {}
    entries += [(DVC_LOCK, entry) for stage in stages.values() for entry in stage.get("outs", [])]
    for path, entry in entries:
        refuse_unknown_keys(path, entry)
        verify_cached_folder(str(entry["path"]), str(entry.get("md5")))


def pull_from_remote(remote: str) -> str:
    """Put what dvc.lock names into place, from the remote and from DVC's cache.

    Parameters
    ----------
    remote
        The name of the remote; empty where there is none.

    Returns
    -------
    str
        What was done, in words.
    """
    if not remote:
        check_out_data()
        return "no remote: data comes from git, models from the pipeline (`make remote` adds one)"
    done = run_dvc("fetch", "--run-cache")
    check_out_data()
    if done.returncode:
        return f"{last_error_line(done.stderr)} ({remote}); the pipeline makes the rest"
    return f"{last_error_line(done.stdout or 'nothing new')} ({remote})"


def check_out_data() -> None:
    """Put what DVC's cache has into place; without it a fresh clone runs stages whose outputs the cache has."""
    refuse_foreign_files()
    run_dvc("checkout", "--quiet", "--allow-missing")


def fetch_earlier_models(base: str) -> None:
    """Put the models of a base and of the promoted commit into DVC's cache, for a gate without access to the remote."""
    champion = find_deployed_champion()
    for commit in {find_commit(base), champion.commit if champion else None} - {None}:
        hashes = get_hashes(read_yaml_at(str(commit), DVC_LOCK) or {})
        if all(get_cache_path(hashes.get(str(path))).is_file() for path in MODEL_FILES):
            continue
        with checkout_commit(str(commit)) as project:
            run_dvc("fetch", "--quiet", *map(str, MODEL_FILES), cwd=project)


def main(base: str = "") -> int:
    """Fetch data and models from the remote, the promoted model from its release, and the models of BASE."""
    refuse_foreign_pointers()
    remote = get_default_remote()
    print_result("pull", pull_from_remote(remote))
    if base and remote:
        fetch_earlier_models(base)
    from_release = fetch_champion_from_release()
    if from_release:
        print_result("pull", from_release)
    return 0
