import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from modelyard.core.errors import IntegrityError, SettingError
from modelyard.core.files import sha256
from modelyard.core.params import DeployParams
from modelyard.core.paths import MODEL_FILE, PARAMS_YAML
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.delivery import docker, image_checks
from modelyard.delivery.docker import DockerError
from modelyard.delivery.image import REVISION_LABEL
from modelyard.provenance.signing import SignatureError, verify_signature
from tests.library.delivery.conftest import set_engine
from tests.library.delivery.fake_environment import RULES, A, B, FakeEnvironment, image
from tests.library.support import FORGED, Key

REPOSITORY = "registry/x"


@pytest.mark.usefixtures("project")
def test_image_whose_chain_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_engine(monkeypatch, "")
    with pytest.raises(IntegrityError) as failure:
        image_checks.resolve_image({"model": A, "image": None}, RULES)
    assert failure.value.link == "commit"


def test_image_that_is_missing_names_the_verb_that_builds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_docker(*_: str) -> str:
        raise DockerError("docker image", "no such image")

    monkeypatch.setattr(docker, "run_docker", run_docker)
    with pytest.raises(image_checks.MissingImageError, match="make image") as failure:
        image_checks.resolve_image({"model": A, "image": None}, RULES)
    assert failure.value.image == image(A)


@pytest.mark.parametrize(
    ("name", "labels", "problem"),
    [
        ("x:latest", {}, "is not registry/x@sha256"),
        ("registry/x@sha256:1", {REVISION_LABEL: "d"}, "was built from d"),
        ("registry/x@sha256:1", {REVISION_LABEL: "c", "verdict": "block"}, "has the verdict block"),
    ],
)
def test_image_of_another_origin_is_refused(name: str, labels: dict[str, str], problem: str) -> None:
    with pytest.raises(image_checks.ImageOriginError) as failure:
        image_checks.verify_image_origin(name, labels, {"commit": "c"}, REPOSITORY)
    assert failure.value.problem.startswith(problem)


def test_image_that_the_gate_let_pass_is_allowed() -> None:
    labels = {REVISION_LABEL: "c", "verdict": "pass"}
    image_checks.verify_image_origin("registry/x@sha256:1", labels, {"commit": "c"}, REPOSITORY)


def test_signature_of_an_image_must_hold(key: Key) -> None:
    key.sign(b"x@sha256:1", "image")
    check = "printf %s '{image}' | openssl dgst -sha256 -verify key.pub -signature image.sig"
    command = ["sh", "-c", f"cd {key.folder}; {check}"]
    verify_signature("x@sha256:1", "deploy.signed", command, image="x@sha256:1")
    with pytest.raises(SignatureError) as failure:
        verify_signature("x@sha256:2", "deploy.signed", command, image="x@sha256:2")
    assert (failure.value.subject, failure.value.setting) == ("x@sha256:2", "deploy.signed")


@pytest.mark.usefixtures("environment")
def test_no_image_is_deployed_without_its_signature() -> None:
    chosen = {"model": A, "commit": "c", "image": None}
    assert image_checks.resolve_image(chosen, replace(RULES, signed=["test", "{image}", "=", image(A)]))
    with pytest.raises(SignatureError) as failure:
        image_checks.resolve_image(chosen, replace(RULES, signed=["test", "{image}", "=", "another"]))
    assert (failure.value.subject, failure.value.setting) == (image(A), "deploy.signed")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("rules", "named", "problem"),
    [(replace(RULES, repository=REPOSITORY), None, "is not registry/x@sha256"), (RULES, image(B), "holds the model")],
    ids=["another repository", "another model"],
)
def test_no_image_of_another_origin_or_model_is_deployed(rules: DeployParams, named: str | None, problem: str) -> None:
    with pytest.raises(image_checks.ImageOriginError) as failure:
        image_checks.resolve_image({"model": A, "commit": "c", "image": named}, rules)
    assert failure.value.problem.startswith(problem)


def test_signature_command_that_is_missing_is_named(key: Key) -> None:
    with pytest.raises(SettingError, match="install what it names"):
        verify_signature("x@sha256:1", "deploy.signed", [str(key.folder / "none")])


@pytest.fixture
def champion(environment: FakeEnvironment, project: Path, monkeypatch: pytest.MonkeyPatch, key: Key) -> dict[str, Any]:
    """What a deploy file names; the image holds this folder's model, and params.yaml asks for our key's signature."""
    assert environment
    chosen = {"model": sha256(project / MODEL_FILE), "commit": "c", "image": None}
    PARAMS_YAML.write_text(dump_yaml(read_yaml(PARAMS_YAML) | {"release": {"signed": key.command}}))

    def run_docker(*words: str) -> str:
        if words[0] == "cp":
            shutil.copy(MODEL_FILE, words[-1])
        return json.dumps({"model": chosen["model"]}) if words[0] == "image" else "box"

    for module in (docker, image_checks):
        monkeypatch.setattr(module, "run_docker", run_docker)
    return chosen


def test_model_that_our_key_signed_is_deployed(champion: dict[str, Any], key: Key) -> None:
    key.sign(MODEL_FILE.read_bytes(), champion["model"])
    assert image_checks.resolve_image(champion, RULES) == image(champion["model"])


def test_model_that_is_not_what_the_label_says_is_refused(champion: dict[str, Any], key: Key) -> None:
    key.sign(MODEL_FILE.read_bytes(), champion["model"])
    MODEL_FILE.write_bytes(b"another model")
    with pytest.raises(image_checks.ImageOriginError, match="is labelled with the model"):
        image_checks.resolve_image(champion, RULES)


@pytest.mark.parametrize("how", FORGED)
def test_model_that_our_key_did_not_sign_is_refused(
    champion: dict[str, Any], key: Key, other_key: Key, how: str
) -> None:
    key.forge(how, MODEL_FILE.read_bytes(), champion["model"], other_key)
    with pytest.raises(SignatureError) as failure:
        image_checks.resolve_image(champion, RULES)
    assert failure.value.subject == f"the model {champion['model'][:12]}"
