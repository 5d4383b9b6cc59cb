import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.core import deployments
from modelyard.core.dvc_lock import get_cache_path, get_hashes
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.git_objects import read_yaml_at
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK, MODEL_FILE, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.process import run_git
from modelyard.delivery import chain
from modelyard.inference import bundle, prepare
from modelyard.provenance import lineage
from modelyard.tracking import store
from tests.library.support import ROOT, TEMPLATE

LIBRARY = Path("packages/modelyard/src/modelyard")
LINKS = ["commit", "dvc.lock", "parameters", "code", "data", "model"]
PERSON = ("-c", "user.name=A Person", "-c", "user.email=person@example.org")


def save(message: str) -> str:
    """Commit everything; the commit."""
    run_git("add", "--all")
    run_git(*PERSON, "commit", "--quiet", "--allow-empty", "--message", message)
    return run_git("rev-parse", "HEAD")


@pytest.fixture(scope="module")
def recorded(piped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose dvc.lock DVC itself wrote, with its model promoted to production."""
    folder = tmp_path_factory.mktemp("recorded") / "project"
    shutil.copytree(piped, folder)
    shutil.copytree(ROOT / LIBRARY, folder / LIBRARY, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TEMPLATE / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    for name in (".gitignore", ".dvcignore"):
        shutil.copyfile(TEMPLATE / name, folder / name)
    with contextlib.chdir(folder):
        run_git("init", "--quiet")
        subprocess.run([sys.executable, "-m", "dvc", "commit", "--force", "--quiet"], check=True)
        commit = save("Learn")
        champion = {"model": sha256(MODEL_FILE), "commit": commit, "image": None}
        deployments.write_state("production", {"champion": champion, "candidate": None, "weight": 0, "mirror": False})
        marks = {"from": None, "to": champion["model"], "action": "promote", "verdict": "better", "verdict_sha256": "e"}
        deployments.append_history({"environment": "production", **marks})
        save("Promote")
    return folder


@pytest.fixture
def here(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, for one test, as the current folder."""
    shutil.copytree(recorded, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield tmp_path / "project"


def told() -> dict[str, Any]:
    champion = deployments.load_state("production")["champion"]
    return lineage.build_claim(champion["model"], champion["commit"])


@pytest.mark.usefixtures("here")
def test_every_link_of_a_true_chain_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert lineage.verify_lineage(told()) == LINKS
    assert chain.main(env="production") == 0
    assert f"9 links hold: deploy file, history, verdict, {', '.join(LINKS)}" in capsys.readouterr().out
    assert chain.main(model=sha256(MODEL_FILE)[:12]) == 0


def rewrite(path: Path, change: Callable[[Any], Any]) -> dict[str, Any]:
    """The chain as a commit tells it in which a file was changed, and whose dvc.lock was made to fit."""
    before = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(change(before)))
    return lineage.build_claim(sha256(MODEL_FILE), save("Tamper"))


def other_commit() -> dict[str, Any]:
    return told() | {"commit": run_git(*PERSON, "commit-tree", "HEAD^{tree}", "-m", "Elsewhere")}


def other_lock() -> dict[str, Any]:
    return told() | {"dvc_lock": "f" * 64}


def false_lock() -> dict[str, Any]:
    def change(lock: dict[str, Any]) -> dict[str, Any]:
        dep = next(d for d in lock["stages"]["evaluate"]["deps"] if d["path"] == str(MODEL_FILE))
        dep["md5"] = "f" * 32
        return lock

    return rewrite(DVC_LOCK, change)


def other_parameter() -> dict[str, Any]:
    return rewrite(Path("params.yaml"), lambda params: params | {"seed": 4711})


def other_code() -> dict[str, Any]:
    path = Path("src/flight_delays/features.py")
    path.write_text(path.read_text() + "\n")
    return lineage.build_claim(sha256(MODEL_FILE), save("Tamper"))


def other_schema() -> dict[str, Any]:
    SCHEMA_YAML.write_text(SCHEMA_YAML.read_text() + "\n")
    return lineage.build_claim(sha256(MODEL_FILE), save("Tamper"))


def other_data() -> dict[str, Any]:
    path = Path(load_params().data.path)
    path.write_bytes(path.read_bytes() + b"\n")
    return lineage.build_claim(sha256(MODEL_FILE), save("Tamper"))


def other_facts() -> dict[str, Any]:
    return told() | {"data": "f" * 64}


def model_bytes() -> Path:
    place = get_cache_path(get_hashes(read_yaml_at("HEAD", DVC_LOCK))[str(MODEL_FILE)])
    place.chmod(0o644)
    return place


def other_model() -> dict[str, Any]:
    model_bytes().write_bytes(b"another model")
    return told()


def lost_model() -> dict[str, Any]:
    there = told()
    for place in (model_bytes(), MODEL_FILE):
        place.unlink()
    return there


def swapped_model() -> dict[str, Any]:
    return told() | {"model": "f" * 64}


TAMPERED = [
    (other_commit, "commit"),
    (other_lock, "dvc.lock"),
    (false_lock, "dvc.lock"),
    (other_parameter, "parameters"),
    (other_code, "code"),
    (other_schema, "code"),
    (other_data, "data"),
    (other_facts, "data"),
    (other_model, "model"),
    (lost_model, "model"),
    (swapped_model, "model"),
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("tamper", "link"), TAMPERED, ids=lambda value: getattr(value, "__name__", value))
def test_a_tampered_link_is_named(tamper: Callable[[], dict[str, Any]], link: str) -> None:
    tampered = tamper()
    with pytest.raises(lineage.IntegrityError) as found:
        lineage.verify_lineage(tampered)
    assert found.value.link == link and f"`{link}` does not hold" in str(found.value)


@pytest.fixture
def shipped(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of an image of it, as the current one."""
    prepare.load_or_build_bundle(load_params())
    for name in ("src", "models"):
        shutil.copytree(here / name, tmp_path / "app" / name)
    for path in (PARAMS_YAML, SCHEMA_YAML, DVC_LOCK):
        shutil.copyfile(here / path, tmp_path / "app" / path)
    monkeypatch.chdir(tmp_path / "app")


@pytest.mark.usefixtures("shipped")
def test_an_image_that_is_what_its_lock_says_starts() -> None:
    assert prepare.load_or_build_bundle(load_params()).model == sha256(MODEL_FILE)


@pytest.mark.usefixtures("shipped")
def test_a_number_that_dvc_writes_otherwise_is_the_same_one() -> None:
    params, before = load_params(), sha256(DVC_LOCK)
    for path, written in ((PARAMS_YAML, "1.0e-5"), (DVC_LOCK, "1e-05")):
        path.write_text(path.read_text().replace("seed: 0", f"seed: {written}"))
    assert "seed: 1e-05" in DVC_LOCK.read_text()
    bundle.BUNDLE.write_text(bundle.BUNDLE.read_text().replace(before, sha256(DVC_LOCK)))
    assert prepare.load_or_build_bundle(params).dvc_lock == sha256(DVC_LOCK)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(
    ("path", "old", "new", "link"),
    [
        (DVC_LOCK, "schema:", "schema :", "dvc.lock"),
        (bundle.BUNDLE, '"dvc_lock": "', '"dvc_lock": "0', "dvc.lock"),
        (bundle.BUNDLE, '"model": "', '"model": "0', "model"),
        (MODEL_FILE, None, "", "model"),
        (PARAMS_YAML, "seed: 0", "seed: 1", "parameters"),
        (SCHEMA_YAML, "", "# another\n", "code"),
        (Path("src/flight_delays/features.py"), "", "# another\n", "code"),
    ],
)
def test_an_image_that_was_tampered_with_does_not_start(path: Path, old: str | None, new: str, link: str) -> None:
    path.write_text("" if old is None else path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=f"the link `{link}` does not hold"):
        prepare.load_or_build_bundle(load_params())


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("change", ["tags.model", "tags.data", "tags.dvc_lock", "params.seed"])
def test_a_run_that_was_changed_in_mlflow_is_found(capsys: pytest.CaptureFixture[str], change: str) -> None:
    store.main()
    assert chain.main(env="production") == 0 and "MLflow run" in capsys.readouterr().out
    table, _, name = change.partition(".")
    with contextlib.closing(sqlite3.connect(store.STORE_FOLDER / "mlflow.db")) as found_store:
        assert found_store.execute(f"UPDATE {table} SET value = 'tampered' WHERE key = '{name}'").rowcount == 1
        found_store.commit()
    with pytest.raises(lineage.IntegrityError, match="`MLflow run`"):
        chain.main(env="production")


@pytest.mark.usefixtures("here")
def test_bytes_that_are_nowhere_stop_no_deployment() -> None:
    assert lineage.verify_lineage(lost_model(), strict=False) == LINKS


class Engine:
    """An environment that answers with a chain, from an image of the commit's own files; one of them may be changed."""

    SLOTS = ("champion", "candidate")
    ISOLATED_RUN, REVISION_LABEL = ("run",), "revision"

    def __init__(self) -> None:
        self.there, self.Environment = told(), lambda *_: self  # pylint: disable=invalid-name
        self.labels = {label: self.there[key] for key, label in LABELS.items()}
        path = "src/flight_delays/features.py"
        self.files = {path: sha256(Path(path)), str(MODEL_FILE): sha256(MODEL_FILE), "models/other.json": "-"}

    def get_through_proxy(self, path: str) -> Any:
        return self.there

    def image(self, slot: str) -> str:
        return "1234"

    def get_image_id(self, image: str) -> str:
        return image

    def run_docker(self, *arguments: str) -> str:
        return json.dumps(self.labels if arguments[0] == "image" else self.files)


LABELS = {"model": "model", "data": "data", "dvc_lock": "dvc-lock", "commit": "revision"}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("changed", "link"),
    [
        ([], ""),
        ([("there", "model")], "service"),
        ([("labels", "model")], "image"),
        ([("labels", "revision")], "image"),
        ([("files", "src/other.py")], "image"),
        ([("files", str(MODEL_FILE))], "image"),
        ([("there", "dvc_lock"), ("labels", "dvc-lock")], "deploy file"),
        ([("there", "data"), ("labels", "data")], "data"),
    ],
)
def test_what_runs_is_followed_to_its_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: list[tuple[str, str]], link: str
) -> None:
    engine = Engine()
    for part, key in changed:
        getattr(engine, part)[key] = "f" * 64
    Path("compose.yaml").touch()
    monkeypatch.setattr(chain, "docker", engine)
    monkeypatch.setattr(chain, "image", engine)
    if link:
        with pytest.raises(lineage.IntegrityError, match=f"`{link}`"):
            chain.main(env="production")
    else:
        assert chain.main(env="production") == 0
        assert "11 links hold: service, image" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_an_image_that_the_deploy_file_does_not_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    champion = deployments.load_state("production")["champion"] | {"image": "5678"}
    deployments.write_state("production", deployments.load_state("production") | {"champion": champion})
    save("Another image")
    Path("compose.yaml").touch()
    monkeypatch.setattr(chain, "docker", Engine())
    monkeypatch.setattr(chain, "image", Engine())
    with pytest.raises(lineage.IntegrityError, match="`image`"):
        chain.main(env="production")


@pytest.mark.usefixtures("here")
def test_a_champion_that_no_history_names_is_found() -> None:
    champion = deployments.load_state("production")["champion"] | {"model": "f" * 64}
    deployments.write_state("production", deployments.load_state("production") | {"champion": champion})
    with pytest.raises(lineage.IntegrityError, match="`deploy file`"):
        chain.main(env="production")
    save("By hand")
    with pytest.raises(lineage.IntegrityError, match="`history`"):
        chain.main(env="production")


@pytest.mark.usefixtures("here")
def test_a_champion_without_a_verdict_is_found() -> None:
    deployments.HISTORY_FILE.write_text(deployments.HISTORY_FILE.read_text().replace('"promote"', '"rollback"'))
    save("By hand")
    with pytest.raises(lineage.IntegrityError, match="`verdict`"):
        chain.main(env="production")


@pytest.mark.usefixtures("here")
def test_a_model_that_nobody_promoted_is_one_sentence() -> None:
    with pytest.raises(UserError, match="does not say on which verdict abc"):
        chain.main(model="abc")


@pytest.mark.usefixtures("here")
def test_the_statement_names_what_was_made_of_what() -> None:
    lineage.write_lineage("registry.example.com/x@sha256:" + "d" * 64)
    found = json.loads(lineage.LINEAGE_JSON.read_text())
    assert [one["digest"]["sha256"] for one in found["subject"]] == [sha256(MODEL_FILE), "d" * 64]
    sources = {one["name"]: one["digest"] for one in found["predicate"]["buildDefinition"]["resolvedDependencies"]}
    data = load_params().data.path
    assert sources["commit"] == {"gitCommit": run_git("rev-parse", "HEAD")}
    assert all(
        sources[str(path)] == {"sha256": sha256(Path(path))} for path in (DVC_LOCK, SCHEMA_YAML, data, "params.yaml")
    )
    assert "src" in sources and "requirements/dev.txt" in sources
    assert {"pypi"} == {one["purl"][4:8] for one in json.loads(lineage.ENVIRONMENT_SBOM.read_text())["components"]}
