import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.core import git_objects
from modelyard.core.dvc_lock import DVC_CACHE, get_cache_path
from modelyard.core.errors import UserError
from modelyard.core.paths import PARAMS_YAML
from modelyard.github import release
from modelyard.github.api import ServiceUnavailableError
from modelyard.workspace import pull
from modelyard.workspace.pull import fetch_champion_from_release, find_missing_champion, main, pull_from_remote
from tests.library.support import FORGED, PROJECT, Key

FILES = {"model.skops": b"model", "rows.npy": b"rows"}
MODEL = hashlib.sha256(b"model").hexdigest()
OUTS = [{"path": f"models/{name}", "md5": hashlib.md5(data).hexdigest()} for name, data in FILES.items()]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the commit says: a promoted model, and the lock of the commit that made it."""
    told: dict[str, Any] = {
        "deploy/production.yaml": {"champion": {"model": MODEL, "commit": "abc"}},
        "dvc.lock": {"stages": {"train": {"outs": OUTS}}},
    }
    monkeypatch.setattr(git_objects, "read_yaml_at", lambda revision, path: told.get(str(path)))
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/flights")
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(PROJECT / PARAMS_YAML, PARAMS_YAML)
    return told


@pytest.mark.usefixtures("said")
def test_promoted_model_is_put_where_dvc_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "download_model", lambda api, digest: FILES)
    assert find_missing_champion() == MODEL
    assert "came from its release" in fetch_champion_from_release()
    assert find_missing_champion() == ""
    assert all(get_cache_path(row["md5"]).is_file() for row in OUTS)


@pytest.fixture
def signed(said: dict[str, Any], monkeypatch: pytest.MonkeyPatch, key: Key) -> None:
    """A release has the promoted model, and params.yaml asks for a signature by our key."""
    PARAMS_YAML.write_text(
        yaml.safe_dump(yaml.safe_load(PARAMS_YAML.read_text()) | {"release": {"signed": key.command}})
    )
    monkeypatch.setattr(release, "download_model", lambda api, digest: FILES)


@pytest.mark.usefixtures("signed")
def test_a_model_that_our_key_signed_is_taken(key: Key) -> None:
    key.sign(FILES["model.skops"], MODEL)
    assert "came from its release" in fetch_champion_from_release() and not find_missing_champion()


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("how", FORGED)
def test_a_model_that_our_key_did_not_sign_is_not_taken(key: Key, other_key: Key, how: str) -> None:
    key.forge(how, FILES["model.skops"], MODEL, other_key)
    with pytest.raises(UserError, match=f"the model {MODEL[:12]} is not signed as params.yaml"):
        fetch_champion_from_release()
    assert not DVC_CACHE.exists()


@pytest.mark.usefixtures("said")
def test_promoted_model_that_no_release_has_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "download_model", lambda api, digest: {})
    assert "trained again" in fetch_champion_from_release()
    assert not DVC_CACHE.exists()


@pytest.mark.usefixtures("said")
def test_github_that_does_not_answer_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> dict[str, bytes]:
        raise ServiceUnavailableError("GitHub does not answer", 999.0)

    monkeypatch.setattr(release, "download_model", silent)
    assert "could not be fetched" in fetch_champion_from_release()


def test_nothing_promoted_is_nothing_wanted(said: dict[str, Any]) -> None:
    said["deploy/production.yaml"] = {"champion": None}
    assert find_missing_champion() == "" and fetch_champion_from_release() == ""


@pytest.mark.usefixtures("said")
def test_outside_of_github_no_release_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY")
    assert fetch_champion_from_release() == ""


def answer(monkeypatch: pytest.MonkeyPatch, code: int, out: str = "", err: str = "") -> list[tuple[str, ...]]:
    """Let DVC give one answer to everything, and remember what it was asked."""
    asked: list[tuple[str, ...]] = []

    def dvc(*words: str) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, code, out, err)

    monkeypatch.setattr(pull, "run_dvc", dvc)
    return asked


def test_without_a_remote_the_cache_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, 0)
    assert "no remote" in pull_from_remote("")
    assert asked == [("checkout", "--quiet", "--allow-missing")]


def test_remote_that_lacks_something_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 1, err="ERROR: failed to pull 1 file")
    assert pull_from_remote("store").endswith("failed to pull 1 file (store); the pipeline makes the rest")


def test_main_says_what_came(
    said: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said["deploy/production.yaml"] = None
    answer(monkeypatch, 0, out="3 files fetched")
    monkeypatch.setattr(pull, "get_default_remote", lambda: "store")
    assert main() == 0
    assert "3 files fetched" in capsys.readouterr().out
