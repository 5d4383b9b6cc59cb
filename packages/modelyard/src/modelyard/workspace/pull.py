"""Verb: data and models come from the remote, the promoted model from its release; the pipeline makes the rest."""

import tempfile
from pathlib import Path

from modelyard.core.dvc_lock import cached, outs
from modelyard.core.files import md5
from modelyard.core.git_objects import at
from modelyard.core.params import load_params
from modelyard.core.paths import LOCK, PRODUCTION
from modelyard.core.process import dvc, last_words
from modelyard.github import release
from modelyard.github.api import Api, ApiError, Unavailable, patiently
from modelyard.provenance.signing import signed


def remote() -> str:
    """The name of the default remote, or nothing where there is none."""
    return dvc("config", "core.remote").stdout.strip()


def wanted() -> str:
    """The digest of the promoted model when DVC's cache lacks it, or nothing."""
    champion = (at("HEAD", PRODUCTION) or {}).get("champion")
    if not champion:
        return ""
    where = outs(at(champion["commit"], LOCK) or {})
    held = all(cached(where.get(f"models/{name}")).is_file() for name in release.FILES)
    return "" if held else champion["model"]


def champion_from_release() -> str:
    """Put the promoted model into DVC's cache from its release; what came of it, in words."""
    api, digest = Api.of_environment(), wanted()
    if not digest or not api.repository:
        return ""
    try:
        files = patiently(lambda: release.fetch(api, digest))
    except (ApiError, Unavailable) as problem:
        return f"the promoted model {digest[:12]} could not be fetched ({problem})"
    if not files:
        return f"no release has the promoted model {digest[:12]}; it is trained again from its commit"
    if command := load_params().release.signed:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, release.FILES[0])
            file.write_bytes(files[release.FILES[0]])
            signed(f"the model {digest[:12]}", "release.signed", command, model=str(file), digest=digest)
    for content in files.values():
        place = cached(md5(content))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return f"the promoted model {digest[:12]} came from its release"


def from_remote(name: str) -> str:
    """Put what dvc.lock names into place, from the remote and from DVC's cache; what came of it, in words."""
    if not name:
        dvc("checkout", "--quiet", "--allow-missing")  # else a fresh clone runs stages whose outputs the cache has
        return "no remote: data comes from git, models from the pipeline (`make remote` adds one)"
    done = dvc("pull", "--run-cache", "--allow-missing")
    if done.returncode:
        return f"{last_words(done.stderr)} ({name}); the pipeline makes the rest"
    return f"{last_words(done.stdout or 'nothing new')} ({name})"


def main() -> int:
    """Fetch data and models from the remote if there is one, and the promoted model from its release."""
    for sentence in filter(None, (from_remote(remote()), champion_from_release())):
        print(f"{'pull':<10}{sentence}")
    return 0
