import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.deployments import DeployedModel
from modelyard.core.dvc_lock import DVC_CACHE, get_cache_path, get_hashes, load_lock
from modelyard.core.errors import IntegrityError, InvalidFileError, UserError
from modelyard.core.files import write_json
from modelyard.core.paths import PARAMS_YAML
from modelyard.core.process import DVC_COMMAND, run_dvc, run_git, use_runner
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.github import release
from modelyard.github.api import ServiceUnavailableError
from modelyard.workspace import pull
from modelyard.workspace.pull import fetch_champion_from_release, find_missing_champion, main, pull_from_remote
from tests.library.recorded import save
from tests.library.support import FORGED, PROJECT, Key

FILES = {"model.skops": b"model", "rows.npy": b"rows"}
MODEL = hashlib.sha256(b"model").hexdigest()
OUTS = [{"path": f"models/{name}", "md5": hashlib.md5(data).hexdigest()} for name, data in FILES.items()]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("notebooks/a.dvc", "wdir: ..\nouts: [{path: packages/modelyard/src/sitecustomize.py, md5: a}]", "outside of"),
        ("data/a.dvc", "wdir: ../src\nouts: [{path: a, md5: a}]", "outside of"),
        ("data/a.dvc", "outs: [{path: a, md5: a, files: [{relpath: ../../src/a.py}]}]", "describes a by files"),
        ("data/a.dvc", "outs: [{path: a, md5: a.dir}]", "a digest of an earlier DVC"),
        ("data/a.dvc", "outs: [{path: ../src/a.py, md5: a}]", "outside of"),
        ("data/a.dvc", "outs: [{path: /etc/a, md5: a}]", "outside of"),
        ("data/a.dvc", "deps: [{path: a, repo: {url: https://example.org}}]\nouts: [{path: a, md5: a}]", "imports"),
        ("notebooks/dvc.yaml", "stages: {}", "a second pipeline"),
    ],
)
def test_dvc_writes_nothing_outside_of_the_folders_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text, encoding="utf-8")
    run_git("init", "--quiet")
    run_git("add", "--force", name)
    with pytest.raises(InvalidFileError, match=reason):
        pull.refuse_foreign_pointers()


def test_a_committed_link_in_the_place_of_a_data_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("src").mkdir()
    Path("models").symlink_to("src")
    run_git("init", "--quiet")
    run_git("add", "--all")
    with pytest.raises(InvalidFileError, match="models is a link in this commit"):
        pull.refuse_foreign_pointers()


@pytest.mark.parametrize("named", ["data/extra.dvc", "dvc.lock"])
@pytest.mark.parametrize("name", ["../../src/a.py", "/etc/a", r"..\..\src\a.py", r"C:\a"])
def test_a_folder_in_the_cache_writes_nothing_outside_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    out = {"path": "extra", "md5": f"{'a' * 32}.dir", "hash": "md5"}
    pointer = {"outs": [out]} if named.endswith(".dvc") else {"stages": {"plots": {"outs": [out]}}}
    Path("data").mkdir()
    Path(named).write_text(dump_yaml(pointer), encoding="utf-8")
    write_json(get_cache_path(out["md5"]), [{"md5": "b", "relpath": name}])
    run_git("init", "--quiet")
    run_git("add", "--all")
    with pytest.raises(IntegrityError, match=r"has a file named .*, outside of it"):
        pull.refuse_foreign_files()


def test_pointers_of_data_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/flights.parquet.dvc").write_text("outs: [{path: flights.parquet, md5: a}]", encoding="utf-8")
    run_git("init", "--quiet")
    run_git("add", "--all", "--force")
    pull.refuse_foreign_pointers()


@pytest.fixture
def promoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A project of a repository at GitHub, with a promoted model whose files DVC's cache lacks."""
    lock = {"stages": {"train": {"outs": OUTS}}}
    monkeypatch.setattr(pull, "find_deployed_champion", lambda: DeployedModel(MODEL, "abc"))
    monkeypatch.setattr(pull, "read_yaml_at", lambda commit, path: lock)
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/flights")
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(PROJECT / PARAMS_YAML, PARAMS_YAML)


@pytest.mark.usefixtures("promoted")
def test_promoted_model_is_put_into_dvcs_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "download_model", lambda api, digest: FILES)
    assert find_missing_champion() == MODEL
    assert "came from its release" in fetch_champion_from_release()
    assert find_missing_champion() == ""
    assert all(get_cache_path(row["md5"]).is_file() for row in OUTS)


@pytest.fixture
def signed(promoted: None, monkeypatch: pytest.MonkeyPatch, key: Key) -> None:
    """A release has the promoted model, and params.yaml asks for a signature by our key."""
    PARAMS_YAML.write_text(dump_yaml(read_yaml(PARAMS_YAML) | {"release": {"signed": key.command}}))
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


@pytest.mark.usefixtures("promoted")
def test_promoted_model_that_no_release_has_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "download_model", lambda api, digest: {})
    assert "trained again" in fetch_champion_from_release()
    assert not DVC_CACHE.exists()


@pytest.mark.usefixtures("promoted")
def test_unavailable_github_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> dict[str, bytes]:
        raise ServiceUnavailableError("GitHub does not answer", 999.0)

    monkeypatch.setattr(release, "download_model", fail)
    assert "could not be fetched" in fetch_champion_from_release()


@pytest.mark.usefixtures("promoted")
def test_without_a_champion_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "find_deployed_champion", lambda: None)
    assert find_missing_champion() == "" and fetch_champion_from_release() == ""


@pytest.mark.usefixtures("promoted")
def test_outside_of_github_no_release_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY")
    assert fetch_champion_from_release() == ""


class Dvc:
    """Stands in for DVC: it gives one result to every command, and records the commands. Git runs."""

    def __init__(self, code: int = 0, out: str = "", err: str = "") -> None:
        self.result = (code, out, err)
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if command[0] == "git":
            return subprocess.run(command, **options)
        self.commands.append(command[len(DVC_COMMAND) :])
        return subprocess.CompletedProcess(command, *self.result)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with params.yaml alone."""
    monkeypatch.chdir(tmp_path)
    run_git("init", "--quiet")
    shutil.copyfile(PROJECT / PARAMS_YAML, PARAMS_YAML)


@pytest.mark.usefixtures("folder")
def test_without_a_remote_the_cache_is_checked_out() -> None:
    dvc = Dvc()
    with use_runner(dvc):
        assert "no remote" in pull_from_remote("")
    assert dvc.commands == [["checkout", "--quiet", "--allow-missing"]]


@pytest.mark.usefixtures("folder")
def test_a_remote_that_lacks_something_stops_nothing() -> None:
    with use_runner(Dvc(1, err="ERROR: failed to pull 1 file")):
        assert pull_from_remote("store").endswith("failed to pull 1 file (store); the pipeline makes the rest")


@pytest.mark.usefixtures("folder")
def test_main_prints_what_was_fetched(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pull, "find_deployed_champion", lambda: None)
    with use_runner(Dvc(out="3 files fetched")):
        assert main() == 0
    assert "3 files fetched" in capsys.readouterr().out


def test_models_of_the_base_come_too_for_a_gate_without_access(here: Path, tmp_path: Path) -> None:
    run_dvc("remote", "add", "--default", "home", tmp_path / "remote")
    base = save("A remote")
    assert run_dvc("push").returncode == 0
    models = [get_cache_path(get_hashes(load_lock())[f"models/{name}"]) for name in FILES]
    shutil.rmtree(DVC_CACHE)
    Path("dvc.lock").unlink()  # the branch has another model
    main(base=base)
    assert all(path.is_file() for path in models)
