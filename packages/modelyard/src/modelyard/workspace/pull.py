"""Verb: data and models come from the remote, the promoted model from its release; the pipeline makes the rest."""

import tempfile
from pathlib import Path

from modelyard.core.console import print_result
from modelyard.core.dvc_lock import get_cache_path, get_hashes
from modelyard.core.files import md5
from modelyard.core.git_objects import read_yaml_at
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK, PRODUCTION_YAML
from modelyard.core.process import last_error_line, run_dvc
from modelyard.github import release
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError, retry_while_unavailable
from modelyard.provenance.signing import verify_signature


def get_default_remote() -> str:
    """The name of the default remote, or nothing where there is none."""
    return run_dvc("config", "core.remote").stdout.strip()


def find_missing_champion() -> str:
    """The digest of the promoted model when DVC's cache lacks it, or nothing."""
    champion = (read_yaml_at("HEAD", PRODUCTION_YAML) or {}).get("champion")
    if not champion:
        return ""
    where = get_hashes(read_yaml_at(champion["commit"], DVC_LOCK) or {})
    held = all(get_cache_path(where.get(f"models/{name}")).is_file() for name in release.RELEASE_FILES)
    return "" if held else champion["model"]


def fetch_champion_from_release() -> str:
    """Put the promoted model into DVC's cache from its release; what came of it, in words."""
    api, digest = GitHubClient.from_environment(), find_missing_champion()
    if not digest or not api.repository:
        return ""
    try:
        files = retry_while_unavailable(lambda: release.download_model(api, digest))
    except (ApiError, ServiceUnavailableError) as problem:
        return f"the promoted model {digest[:12]} could not be fetched ({problem})"
    if not files:
        return f"no release has the promoted model {digest[:12]}; it is trained again from its commit"
    if command := load_params().release.signed:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, release.RELEASE_FILES[0])
            file.write_bytes(files[release.RELEASE_FILES[0]])
            verify_signature(f"the model {digest[:12]}", "release.signed", command, model=str(file), digest=digest)
    for content in files.values():
        place = get_cache_path(md5(content))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return f"the promoted model {digest[:12]} came from its release"


def pull_from_remote(name: str) -> str:
    """Put what dvc.lock names into place, from the remote and from DVC's cache; what came of it, in words."""
    if not name:
        run_dvc("checkout", "--quiet", "--allow-missing")  # else a fresh clone runs stages whose outputs the cache has
        return "no remote: data comes from git, models from the pipeline (`make remote` adds one)"
    done = run_dvc("pull", "--run-cache", "--allow-missing")
    if done.returncode:
        return f"{last_error_line(done.stderr)} ({name}); the pipeline makes the rest"
    return f"{last_error_line(done.stdout or 'nothing new')} ({name})"


def main() -> int:
    """Fetch data and models from the remote if there is one, and the promoted model from its release."""
    for sentence in filter(None, (pull_from_remote(get_default_remote()), fetch_champion_from_release())):
        print_result("pull", f"{sentence}")
    return 0
