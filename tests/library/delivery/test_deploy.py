import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from modelyard.core import deployments
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import DeployParams, ServiceLevels
from modelyard.core.paths import MODEL_FILE, PARAMS_YAML
from modelyard.delivery import deploy
from modelyard.delivery.docker import DockerError, Environment
from tests.library.support import FORGED, Key

A, B = "a" * 64, "b" * 64
RULES = DeployParams(seconds=0.01, patience=0.5)


def image(model: str) -> str:
    return f"{'flight-delays'}:{model[:12]}"


def wanted(champion: str = A, candidate: str | None = None, **more: Any) -> deploy.DeploymentState:
    slots = {"champion": champion, "candidate": candidate}
    state: dict[str, Any] = {
        slot: model and {"model": model, "commit": "c", "image": None} for slot, model in slots.items()
    }
    return {**state, "weight": 0, "mirror": False, **more}


class Fake(Environment):
    """An environment without an engine: what runs, who gets what, and what a service's numbers are."""

    def __init__(self) -> None:  # pylint: disable=super-init-not-called
        self.env, self.project, self.values = "staging", "x-staging", {"ADDRESS": "here", "FRONT": "front"}
        self.slots, self.percent, self.files, self.steps = dict[str, str](), 0, dict[str, str](), list[Any]()
        self.restarts = 0
        self.metrics = ["process_start_time_seconds 1.0\n"]

    def image(self, service: str) -> str | None:
        return self.slots.get(service)

    def up(self, service: str, image: str) -> None:
        self.steps.append((service, image))
        self.slots[service] = self.values[service.upper()] = image

    def down(self, service: str) -> None:
        self.slots.pop(service, None)

    def share(self, percent: int) -> None:
        self.percent = percent
        self.steps.append(percent)

    def mirror(self, on: bool) -> None:
        self.steps += ["mirror"] if on else []

    def read_proxy_servers(self) -> dict[str, tuple[str, bool, int]]:
        return {"candidate": ("", True, self.percent), "champion": ("", True, 100 - self.percent)}

    def is_reached_by_proxy(self, slot: str) -> bool:
        return True

    def at(self, slot: str) -> str:
        return f"{slot}:8000"

    def ask(self, address: str, path: str) -> str:
        if address.partition(":")[0] not in self.slots:
            raise DockerError("no such container")
        return self.metrics[0] if len(self.metrics) == 1 else self.metrics.pop(0)

    def inspect(self, service: str, form: str) -> str:
        return str(self.restarts) if "RestartCount" in form else "restarting"

    def answers(self, slot: str) -> bool:
        return slot in self.slots

    def start_proxy(self) -> None:
        pass

    def compose(self, *arguments: str) -> str:
        return "its last words"

    def write_state_file(self, name: str, text: str) -> None:
        self.files[name] = text

    def recall(self, name: str) -> str:
        return self.files.get(name, "")

    def get_through_proxy(self, path: str) -> Any:
        slot = "candidate" if self.percent == 100 else "champion"
        return {"model": {image(A): A, image(B): B}[self.slots[slot]]}


def engine(probed: str) -> Any:
    """What answers for the engine: an image's labels, and what a probe found."""

    def docker(*arguments: str) -> str:
        if arguments[0] == "image":
            return json.dumps({"model": {image(A): A, image(B): B}.get(arguments[-1], "")})
        return probed

    return docker


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Fake:
    @contextmanager
    def lock(*_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(deploy, "lock_environment", lock)
    monkeypatch.setattr(deploy, "verify_lineage", lambda told, strict: [])
    monkeypatch.setattr(deploy, "get_image_id", lambda image: image)
    monkeypatch.setattr(deploy, "run_docker", engine('{"difference": 0.0, "errors": 0, "requests": 9, "p99": 1.0}'))
    monkeypatch.setattr(deploy.signal, "signal", lambda *_: None)
    return Fake()


def test_the_first_champion_gets_everything(environment: Fake) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    assert environment.slots == {"champion": image(A)} and environment.percent == 0


def test_another_champion_comes_in_steps_and_takes_over(environment: Fake) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    environment.steps.clear()
    deploy.deploy_state(environment, wanted(B), RULES)
    assert environment.steps == [0, ("candidate", image(B)), 10, 50, 100, ("champion", image(B)), 0, 0]
    assert environment.slots == {"champion": image(B)}


def test_a_candidate_stays_at_its_weight_and_goes_on_from_there(environment: Fake) -> None:
    deploy.deploy_state(environment, wanted(A, B, weight=10), RULES)
    assert environment.percent == 10
    environment.steps.clear()
    deploy.deploy_state(environment, wanted(A, B, weight=100, mirror=True), RULES)
    assert environment.steps == [50, 100, "mirror"]


def test_running_it_again_changes_nothing(environment: Fake) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    before = dict(environment.slots)
    environment.steps.clear()
    deploy.deploy_state(environment, wanted(A), RULES)
    assert environment.slots == before and environment.steps == [0]


def bucket(count: int, **more: float) -> str:
    """Metrics of so many requests."""
    lines = {f"requests_total{brace('path', '/predict', 'status', '200')}": count, "process_start_time_seconds": 1.0}
    for le, share in (("0.01", 0.5), ("0.5", 0.995), ("+Inf", 1.0)):
        lines[f"request_seconds_bucket{brace('le', le, 'path', '/predict')}"] = count * share
    return "\n".join(f"{name} {value}" for name, value in {**lines, **more}.items())


def brace(*pairs: str) -> str:
    texts = [f'{name}="{value}"' for name, value in zip(pairs[::2], pairs[1::2], strict=True)]
    return "{" + ",".join(texts) + "}"


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (bucket(100, **{f"requests_total{brace('path', '/predict', 'status', '500')}": 5.0}), "failed 5 of 105"),
        (bucket(100), "needs 500 ms"),
        (bucket(0, process_start_time_seconds=2.0), "died and was started again"),
    ],
)
def test_a_breach_goes_back_by_itself(environment: Fake, after: str, said: str) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    environment.metrics = [bucket(0), after]
    with pytest.raises(UserError, match=f"{said}.*went back"):
        deploy.deploy_state(environment, wanted(A, B, weight=50), RULES)
    assert environment.slots == {"champion": image(A)} and environment.percent == 0
    assert len(deploy.read_deployed_states(environment)) == 1


def test_slow_answers_within_the_level_are_no_breach(environment: Fake) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    environment.metrics = [bucket(0), bucket(100)]
    deploy.deploy_state(environment, wanted(A, B, weight=10), replace(RULES, levels=ServiceLevels(milliseconds=500)))
    assert environment.percent == 10


def test_a_failed_first_deploy_leaves_nothing(environment: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "run_docker", engine('{"difference": null, "said": "no"}'))
    with pytest.raises(UserError, match="otherwise than the pipeline"):
        deploy.deploy_state(environment, wanted(A), RULES)
    assert environment.slots == {} and deploy.read_deployed_states(environment) == []


def test_an_interrupt_goes_back(environment: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "watch_candidate", interrupted)
    with pytest.raises(UserError, match="interrupted"):
        deploy.deploy_state(environment, wanted(B), RULES)
    assert environment.slots == {"champion": image(A)} and environment.percent == 0


def test_once_it_took_over_an_interrupt_keeps_what_answers(environment: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    plain = deploy.wait_until_ready

    def wait(environment: Any, slot: str, rules: DeployParams) -> None:
        if slot == "champion":
            raise KeyboardInterrupt
        plain(environment, slot, rules)

    monkeypatch.setattr(deploy, "wait_until_ready", wait)
    with pytest.raises(UserError, match="interrupted"):
        deploy.deploy_state(environment, wanted(B), RULES)
    assert environment.percent == 100 and environment.slots["candidate"] == image(B)


def test_an_answer_that_takes_all_the_time_gets_a_look(environment: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.slots["champion"] = image(A)
    looks = [False, True]
    monkeypatch.setattr(environment, "answers", lambda slot: not time.sleep(RULES.patience))
    monkeypatch.setattr(environment, "is_reached_by_proxy", lambda slot: looks.pop(0))
    deploy.wait_until_ready(environment, "champion", RULES)
    assert not looks


@pytest.mark.parametrize(("restarts", "said"), [(0, "was not ready within 0.5 s"), (3, "ends again and again")])
def test_what_is_never_ready_is_told_with_its_last_words(environment: Fake, restarts: int, said: str) -> None:
    environment.restarts = restarts
    facts = f"{said}.* after {restarts} restarts; /ready does not answer; the proxy does not reach it; its last words"
    with pytest.raises(UserError, match=facts):
        deploy.wait_until_ready(environment, "candidate", RULES)


def test_an_image_of_another_model_is_refused(environment: Fake) -> None:
    state = wanted(A)
    state["champion"]["image"] = image(B)
    with pytest.raises(UserError, match="holds the model bbbb"):
        deploy.deploy_state(environment, state, RULES)


@pytest.mark.usefixtures("project")
def test_an_image_whose_chain_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "run_docker", engine(""))
    with pytest.raises(UserError, match="`commit` does not hold"):
        deploy.resolve_image({"model": A, "image": None}, RULES)


def test_an_image_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def docker(*_: str) -> str:
        raise DockerError("no such image")

    monkeypatch.setattr(deploy, "run_docker", docker)
    with pytest.raises(UserError, match="make image"):
        deploy.resolve_image({"model": A, "image": None}, RULES)


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("x:latest", {}, "is not registry/x@sha256"),
        ("registry/x@sha256:1", {deploy.REVISION_LABEL: "d"}, "built from d"),
    ],
)
def test_only_the_registrys_image_of_that_commit_is_trusted(name: str, labels: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        deploy.verify_image_origin(name, labels, {"commit": "c"}, "registry/x")


def test_only_what_the_gate_let_pass_is_trusted() -> None:
    told = {deploy.REVISION_LABEL: "c", "verdict": "block"}
    with pytest.raises(UserError, match="verdict block"):
        deploy.verify_image_origin("registry/x@sha256:1", told, {"commit": "c"}, "registry/x")
    deploy.verify_image_origin("registry/x@sha256:1", {**told, "verdict": "pass"}, {"commit": "c"}, "registry/x")


def test_an_image_is_deployed_only_where_its_signature_holds(key: Key) -> None:
    key.sign(b"x@sha256:1", "image")
    check = "printf %s '{image}' | openssl dgst -sha256 -verify key.pub -signature image.sig"
    command = ["sh", "-c", f"cd {key.folder}; {check}"]
    deploy.verify_signature("x@sha256:1", "deploy.signed", command, image="x@sha256:1")
    with pytest.raises(UserError, match="x@sha256:2 is not signed"):
        deploy.verify_signature("x@sha256:2", "deploy.signed", command, image="x@sha256:2")
    with pytest.raises(UserError, match="install what it names"):
        deploy.verify_signature("x@sha256:1", "deploy.signed", [str(key.folder / "none")])


@pytest.fixture
def champion(environment: Fake, project: Path, monkeypatch: pytest.MonkeyPatch, key: Key) -> deploy.DeploymentState:
    """What a deploy file names; the image holds this folder's model, and params.yaml asks for our key's signature."""
    assert environment
    found = {"model": sha256(project / MODEL_FILE), "commit": "c", "image": None}
    PARAMS_YAML.write_text(
        yaml.safe_dump(yaml.safe_load(PARAMS_YAML.read_text()) | {"release": {"signed": key.command}})
    )

    def docker(*words: str) -> str:
        if words[0] == "cp":
            shutil.copy(MODEL_FILE, words[-1])
        return json.dumps({"model": found["model"]}) if words[0] == "image" else "box"

    monkeypatch.setattr(deploy, "run_docker", docker)
    return found


def test_a_model_that_our_key_signed_is_deployed(champion: deploy.DeploymentState, key: Key) -> None:
    key.sign(MODEL_FILE.read_bytes(), champion["model"])
    assert deploy.resolve_image(champion, RULES) == image(champion["model"])
    MODEL_FILE.write_bytes(b"another model")
    with pytest.raises(UserError, match="says that it holds"):
        deploy.resolve_image(champion, RULES)


@pytest.mark.parametrize("how", FORGED)
def test_a_model_that_our_key_did_not_sign_is_not_deployed(
    champion: deploy.DeploymentState, key: Key, other_key: Key, how: str
) -> None:
    key.forge(how, MODEL_FILE.read_bytes(), champion["model"], other_key)
    with pytest.raises(UserError, match=f"the model {champion['model'][:12]} is not signed as params.yaml"):
        deploy.resolve_image(champion, RULES)


def test_a_second_command_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def docker(*_: str) -> str:
        raise DockerError('docker run: the container name "x-lock" is already in use')

    monkeypatch.setattr(deploy, "run_docker", docker)
    with pytest.raises(UserError, match="another command works on staging"), deploy.lock_environment(Fake(), 1):
        pass


@pytest.mark.usefixtures("project")
def test_an_environment_without_a_champion_says_what_to_do() -> None:
    deployments.write_state("staging", {"champion": None})
    with pytest.raises(UserError, match="make promote ENV=staging"):
        deploy.main("staging")
