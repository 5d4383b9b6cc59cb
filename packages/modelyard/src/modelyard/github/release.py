"""Keep the promoted model as a release of the repository, under its digest, and fetch it from there."""

import hashlib
import re
from pathlib import Path
from typing import Any

from modelyard.core.console import print_annotation, print_result
from modelyard.github.api import GitHubClient
from modelyard.github.post import PostingRefusedError, try_action

MODEL_NAME = "model.skops"
RELEASE_FILES = (MODEL_NAME, "rows.npy")  # the model, and the hashes of the rows that it learned from
PRODUCTION_FILE = Path("deploy/production.yaml")
RELEASE_BODY = (
    "The model that `deploy/production.yaml` names. Kept here so that it can be compared with and gone back to."
)


def build_release_tag(digest: str) -> str:
    """Return the tag of a model's release."""
    return f"model-{digest}"


def read_promoted_digest(path: Path = PRODUCTION_FILE) -> str:
    """Read the champion's digest from a deploy file without a YAML library.

    Parameters
    ----------
    path
        The deploy file of an environment.

    Returns
    -------
    str
        The SHA-256 of the champion's model in hexadecimal; empty where there is no champion.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    champion = re.search(r"^champion:(.*(?:\n[ \t]+.*)*)", text, re.M)
    if not champion:
        return ""
    digest = re.search(r"\bmodel: ['\"]?([0-9a-f]{64})\b", champion[1])
    return digest[1] if digest else ""


def find_release(api: GitHubClient, digest: str) -> dict[str, Any] | None:
    """Return the release of a model, or None where there is none."""
    release: dict[str, Any] | None = api.get_or_none(f"/releases/tags/{build_release_tag(digest)}")
    return release


def list_release_assets(api: GitHubClient, release: dict[str, Any] | None) -> dict[str, str]:
    """Return the address of each file of a release, by the file's name."""
    if not release:
        return {}
    rows = api.iterate_rows(f"/releases/{release['id']}/assets")
    return {asset["name"]: asset["url"] for asset in rows}


def compute_digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def publish_model(api: GitHubClient, digest: str, folder: Path, commit: str) -> str:
    """Make the release of a model where there is none, and upload the files that it lacks.

    Parameters
    ----------
    api
        The repository.
    digest
        The SHA-256 of the promoted model.
    folder
        The folder that holds the model's files.
    commit
        The commit that the release's tag names.

    Returns
    -------
    str
        What was done, in words.

    Raises
    ------
    PostingRefusedError
        If the folder lacks one of the files.
    """
    release = find_release(api, digest)
    missing = set(RELEASE_FILES) - set(list_release_assets(api, release))
    files = {name: folder / name for name in RELEASE_FILES if name in missing}
    absent = [str(path) for path in files.values() if not path.exists()]
    if absent:
        raise PostingRefusedError(f"there is no {', '.join(absent)}")
    if missing:
        actual = compute_digest((folder / MODEL_NAME).read_bytes())
        if actual != digest:
            return f"{folder / MODEL_NAME} is {actual[:12]}, not the promoted {digest[:12]}: nothing was kept"
    release = release or create_release(api, digest, commit)
    upload_url = release["upload_url"].partition("{")[0]
    for name, path in files.items():
        api.request("POST", f"{upload_url}?name={name}", path.read_bytes())
    return f"{digest[:12]} is kept as release {build_release_tag(digest)}"


def create_release(api: GitHubClient, digest: str, commit: str) -> dict[str, Any]:
    """Make the release of a model, without files, and return it."""
    content = {
        "tag_name": build_release_tag(digest),
        "target_commitish": commit,
        "name": f"Model {digest[:12]}",
        "body": RELEASE_BODY,
    }
    release: dict[str, Any] = api.request("POST", "/releases", content)
    return release


def download_model(api: GitHubClient, digest: str) -> dict[str, bytes]:
    """Download the files of a model from its release.

    Parameters
    ----------
    api
        The repository.
    digest
        The SHA-256 of the model.

    Returns
    -------
    dict[str, bytes]
        The content of each file by its name; empty where no release has all files and the right model.
    """
    assets = list_release_assets(api, find_release(api, digest))
    if not set(RELEASE_FILES) <= set(assets):
        return {}
    files = {name: api.request("GET", assets[name], raw=True) for name in RELEASE_FILES}
    return files if compute_digest(files[MODEL_NAME]) == digest else {}


def verify_model(folder: Path, digest: str) -> None:
    """Raise a `PostingRefusedError` where a folder's model is not the one with a SHA-256 in hexadecimal."""
    if compute_digest((folder / MODEL_NAME).read_bytes()) != digest:
        problem = f"{folder / MODEL_NAME} is not the judged model {digest[:12]}"
        raise PostingRefusedError(f"{problem}; run the workflow again")


def main(folder: str = "models", sha: str = "", candidate: str = "") -> int:
    """Keep the promoted model as a release; with CANDIDATE, the judged digest, refuse any other model."""
    if candidate:
        verify_model(Path(folder), candidate)
    digest = read_promoted_digest()
    api = GitHubClient.from_environment()
    if not digest:
        print_result("release", "nothing is promoted yet: nothing to keep")
        return 0
    if not (api.token and api.repository):
        print_annotation("warning", "Not kept", "there is no GITHUB_TOKEN: the promoted model was not kept")
        return 0
    kept = try_action("release", lambda: publish_model(api, digest, Path(folder), sha))
    return 0 if kept else 1
