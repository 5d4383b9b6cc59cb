"""Verb: the promoted model is kept as a release of this repository, under its digest, for as long as that stands."""

import hashlib
import re
from pathlib import Path
from typing import Any

from modelyard.core.console import print_line
from modelyard.github.api import GitHubClient
from modelyard.github.post import PostingRefusedError, try_action

RELEASE_FILES = ("model.skops", "rows.npy")  # the model, and the hashes of the rows that it learned from
PRODUCTION_FILE = Path("deploy/production.yaml")
RELEASE_BODY = (
    "The model that `deploy/production.yaml` names. Kept here so that it can be compared with and gone back to."
)


def build_release_tag(digest: str) -> str:
    """The release's tag: the model's identity."""
    return f"model-{digest}"


def read_promoted_digest(path: Path = PRODUCTION_FILE) -> str:
    """The digest that the deploy file names as champion, or nothing; read without a YAML library."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    block = re.search(r"^champion:(.*(?:\n[ \t]+.*)*)", text, re.M)
    found = re.search(r"\bmodel: ['\"]?([0-9a-f]{64})\b", block[1]) if block else None
    return found[1] if found else ""


def list_release_assets(api: GitHubClient, release: dict[str, Any] | None) -> dict[str, str]:
    """The address of each file of a release."""
    rows = api.pages(f"/releases/{release['id']}/assets") if release else ()
    return {asset["name"]: asset["url"] for asset in rows}


def publish_model(api: GitHubClient, digest: str, folder: Path, commit: str) -> str:
    """Make the release where there is none, and bring the files that it lacks."""
    release = api.find(f"/releases/tags/{build_release_tag(digest)}")
    missing = set(RELEASE_FILES) - set(list_release_assets(api, release))
    files = {name: folder / name for name in RELEASE_FILES if name in missing}
    if absent := [str(path) for path in files.values() if not path.exists()]:
        raise PostingRefusedError(f"there is no {', '.join(absent)}")
    if missing and (actual := hashlib.sha256((folder / RELEASE_FILES[0]).read_bytes()).hexdigest()) != digest:
        return f"{folder / RELEASE_FILES[0]} is {actual[:12]}, not the promoted {digest[:12]}: nothing was kept"
    new = {
        "tag_name": build_release_tag(digest),
        "target_commitish": commit,
        "name": f"Model {digest[:12]}",
        "body": RELEASE_BODY,
    }
    release = release or api.call("POST", "/releases", new)
    for name, path in files.items():
        api.call("POST", f"{release['upload_url'].partition('{')[0]}?name={name}", path.read_bytes())
    return f"{digest[:12]} is kept as release {build_release_tag(digest)}"


def download_model(api: GitHubClient, digest: str) -> dict[str, bytes]:
    """The files of a kept model by name; none where no release has it whole."""
    there = list_release_assets(api, api.find(f"/releases/tags/{build_release_tag(digest)}"))
    if not set(RELEASE_FILES) <= set(there):
        return {}
    found = {name: api.call("GET", there[name], raw=True) for name in RELEASE_FILES}
    return found if hashlib.sha256(found[RELEASE_FILES[0]]).hexdigest() == digest else {}


def main(folder: str = "models", sha: str = "") -> int:
    """Keep the promoted model as a release of the repository, so that no cache or remote is needed for it."""
    digest, api = read_promoted_digest(), GitHubClient.from_environment()
    if not digest:
        print_line("release   nothing is promoted yet: nothing to keep")
        return 0
    if not (api.token and api.repository):
        print_line("::warning title=Not kept::there is no GITHUB_TOKEN: the promoted model was not kept")
        return 0
    return int(not try_action("release", lambda: publish_model(api, digest, Path(folder), sha)))
