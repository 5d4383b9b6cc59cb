from typing import Any

import pytest

from modelyard.core import deployments
from modelyard.core.errors import IntegrityError, UserError
from modelyard.core.params import DeployParams
from modelyard.delivery import deploy
from modelyard.delivery.docker import DockerError
from modelyard.delivery.image_checks import ImageOriginError
from tests.library.delivery.conftest import set_engine
from tests.library.delivery.fake_environment import RULES, A, B, FakeEnvironment, image, wanted, write_metrics


def test_first_champion_gets_all_traffic(environment: FakeEnvironment) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    assert environment.slots == {"champion": image(A)}
    assert environment.percent == 0


def test_another_champion_comes_in_steps_and_takes_over(environment: FakeEnvironment) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    environment.steps.clear()
    deploy.deploy_state(environment, wanted(B), RULES)
    assert environment.steps == [0, ("candidate", image(B)), 10, 50, 100, ("champion", image(B)), 0, 0]
    assert environment.slots == {"champion": image(B)}


def test_candidate_keeps_its_weight_and_continues_from_there(environment: FakeEnvironment) -> None:
    deploy.deploy_state(environment, wanted(A, B, weight=10), RULES)
    assert environment.percent == 10
    environment.steps.clear()
    deploy.deploy_state(environment, wanted(A, B, weight=100, mirror=True), RULES)
    assert environment.steps == [50, 100, "mirror"]


def test_same_state_again_changes_nothing(environment: FakeEnvironment) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    before = dict(environment.slots)
    environment.steps.clear()
    deploy.deploy_state(environment, wanted(A), RULES)
    assert environment.slots == before
    assert environment.steps == [0]


def test_breach_of_a_level_goes_back_and_is_not_remembered(environment: FakeEnvironment) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    environment.metrics = [write_metrics(0), write_metrics(100)]
    with pytest.raises(UserError, match=r"needs 500 ms.*went back"):
        deploy.deploy_state(environment, wanted(A, B, weight=50), RULES)
    assert environment.slots == {"champion": image(A)}
    assert environment.percent == 0
    assert len(deploy.read_deployed_states(environment)) == 1


def test_first_deployment_that_fails_leaves_nothing(
    environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_engine(monkeypatch, '{"difference": null, "said": "no"}')
    with pytest.raises(UserError, match="does not answer as the pipeline"):
        deploy.deploy_state(environment, wanted(A), RULES)
    assert environment.slots == {}
    assert deploy.read_deployed_states(environment) == []


def test_interrupt_goes_back(environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "run_canary", interrupt)
    with pytest.raises(UserError, match="interrupted"):
        deploy.deploy_state(environment, wanted(B), RULES)
    assert environment.slots == {"champion": image(A)}
    assert environment.percent == 0


def test_interrupt_after_the_take_over_keeps_what_answers(
    environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)

    def interrupt(_: Any, slot: str, rules: DeployParams) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "wait_until_ready", interrupt)
    with pytest.raises(UserError, match="interrupted"):
        deploy.deploy_state(environment, wanted(B), RULES)
    assert environment.percent == 100
    assert environment.slots["candidate"] == image(B)


def test_image_of_another_model_is_refused(environment: FakeEnvironment) -> None:
    state = wanted(A)
    state["champion"]["image"] = image(B)
    with pytest.raises(UserError, match="holds the model bbbb"):
        deploy.deploy_state(environment, state, RULES)
    with pytest.raises(ImageOriginError):
        deploy.apply_state(environment, state, RULES, fast=False)


def test_model_that_answers_is_checked(environment: FakeEnvironment) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    deploy.check_live_model(environment, wanted(A))
    with pytest.raises(IntegrityError) as failure:
        deploy.check_live_model(environment, wanted(B))
    assert failure.value.link == "service"


def test_second_command_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_docker(*_: str) -> str:
        raise DockerError("docker run", 'the container name "x_staging-lock" is already in use')

    monkeypatch.setattr(deploy, "run_docker", run_docker)
    with pytest.raises(deploy.LockedEnvironmentError) as failure, deploy.lock_environment(FakeEnvironment(), 1):
        pass
    assert (failure.value.env, failure.value.container) == ("staging", "x_staging-lock")


@pytest.mark.usefixtures("project")
def test_main_without_a_champion_says_what_to_do() -> None:
    deployments.write_state("staging", {"champion": None})
    with pytest.raises(deploy.NoChampionError, match="make promote ENV=staging"):
        deploy.main("staging")
