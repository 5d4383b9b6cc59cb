import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.core import deployments
from modelyard.core.dvc_lock import get_cache_path, get_hashes, hash_path
from modelyard.core.errors import IntegrityError
from modelyard.core.files import sha256
from modelyard.core.git_objects import read_yaml_at
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK, MODEL_FILE, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.process import run_git
from modelyard.core.yaml import dump_yaml, parse_yaml
from modelyard.inference import bundle, prepare
from modelyard.provenance import lineage
from tests.library.recorded import PERSON, save


def claim() -> dict[str, Any]:
    """Return what the repository claims of its champion."""
    champion = deployments.load_state("production")["champion"]
    return lineage.build_claim(champion["model"], champion["commit"])


def rewrite(path: Path, change: Callable[[Any], Any]) -> dict[str, Any]:
    """Commit a change of a YAML file, and return what that commit claims of the model."""
    before = parse_yaml(path.read_text())
    path.write_text(dump_yaml(change(before)))
    return lineage.build_claim(sha256(MODEL_FILE), save("Tamper"))


def other_commit() -> dict[str, Any]:
    return claim() | {"commit": run_git(*PERSON, "commit-tree", "HEAD^{tree}", "-m", "Elsewhere")}


def other_lock() -> dict[str, Any]:
    return claim() | {"dvc_lock": "f" * 64}


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
    return claim() | {"data": "f" * 64}


def model_bytes() -> Path:
    place = get_cache_path(get_hashes(read_yaml_at("HEAD", DVC_LOCK))[str(MODEL_FILE)])
    place.chmod(0o644)
    return place


def other_model() -> dict[str, Any]:
    model_bytes().write_bytes(b"another model")
    return claim()


def lost_model() -> dict[str, Any]:
    before = claim()
    for place in (model_bytes(), MODEL_FILE):
        place.unlink()
    return before


def swapped_model() -> dict[str, Any]:
    return claim() | {"model": "f" * 64}


@pytest.mark.usefixtures("here")
def test_verify_lineage_checks_every_link() -> None:
    assert lineage.verify_lineage(claim()) == list(lineage.LINKS)


def test_verify_bytes_compares_a_folder_with_dvc_lock(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    digest = hash_path(tmp_path)
    lineage.verify_bytes("data", "HEAD", str(tmp_path), digest, "claimed", strict=True)
    (tmp_path / "rows.csv").write_text("a\n2\n")
    with pytest.raises(IntegrityError) as failure:
        lineage.verify_bytes("data", "HEAD", str(tmp_path), digest, "claimed", strict=True)
    assert failure.value.link == "data"


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
def test_verify_lineage_names_the_link_that_was_tampered_with(tamper: Callable[[], dict[str, Any]], link: str) -> None:
    tampered = tamper()
    with pytest.raises(IntegrityError) as found:
        lineage.verify_lineage(tampered)
    assert found.value.link == link


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
    bundle.BUNDLE_JSON.write_text(bundle.BUNDLE_JSON.read_text().replace(before, sha256(DVC_LOCK)))
    assert prepare.load_or_build_bundle(params).dvc_lock == sha256(DVC_LOCK)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(
    ("path", "old", "new", "link"),
    [
        (DVC_LOCK, "schema:", "schema :", "dvc.lock"),
        (bundle.BUNDLE_JSON, '"dvc_lock": "', '"dvc_lock": "0', "dvc.lock"),
        (bundle.BUNDLE_JSON, '"model": "', '"model": "0', "model"),
        (MODEL_FILE, None, "", "model"),
        (PARAMS_YAML, "seed: 0", "seed: 1", "parameters"),
        (SCHEMA_YAML, "", "# another\n", "code"),
        (Path("src/flight_delays/features.py"), "", "# another\n", "code"),
    ],
)
def test_an_image_that_was_tampered_with_does_not_start(path: Path, old: str | None, new: str, link: str) -> None:
    path.write_text("" if old is None else path.read_text().replace(old, new, 1))
    with pytest.raises(IntegrityError) as failure:
        prepare.load_or_build_bundle(load_params())
    assert failure.value.link == link


@pytest.mark.usefixtures("here")
def test_verify_lineage_of_a_deployment_needs_no_bytes() -> None:
    assert lineage.verify_lineage(lost_model(), strict=False) == list(lineage.LINKS)


@pytest.mark.usefixtures("here")
def test_write_lineage_names_what_was_made_of_what() -> None:
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


@pytest.mark.usefixtures("here")
def test_verify_lineage_compares_data_that_are_nowhere_here() -> None:
    Path(load_params().data.path).unlink()
    made = lineage.build_claim(sha256(MODEL_FILE), save("Keep the data elsewhere"))
    assert lineage.verify_lineage(made, strict=False)
    with pytest.raises(IntegrityError) as found:
        lineage.verify_lineage(made | {"data": "f" * 64}, strict=False)
    assert found.value.link == "data"
