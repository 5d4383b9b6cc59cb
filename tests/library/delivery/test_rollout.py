import time

import pytest
from msgspec.structs import replace

from modelyard.core.params import ServiceLevels
from modelyard.delivery import deploy, rollout
from tests.library.delivery.fake_environment import (
    RULES,
    A,
    B,
    FakeEnvironment,
    brace,
    image,
    wanted,
    write_metrics,
)

FAILED = f"requests_total{brace(path='/predict', status='500')}"


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        (write_metrics(100, **{FAILED: 5.0}), "failed 5 of 105 requests"),
        (write_metrics(100), "needs 500 ms"),
        (write_metrics(0, process_start_time_seconds=2.0), "died and was started again"),
    ],
)
def test_watch_candidate_sees_a_breach(environment: FakeEnvironment, after: str, problem: str) -> None:
    environment.slots["candidate"] = image(B)
    environment.metrics = [write_metrics(0), after]
    with pytest.raises(rollout.RolloutError) as failure:
        rollout.watch_candidate(environment, RULES)
    assert failure.value.problem.startswith(problem)


def test_watch_candidate_sees_one_that_does_not_answer(environment: FakeEnvironment) -> None:
    with pytest.raises(rollout.RolloutError, match="the candidate died"):
        rollout.watch_candidate(environment, RULES)


def test_slow_answers_within_the_level_are_no_breach(environment: FakeEnvironment) -> None:
    deploy.deploy_state(environment, wanted(A), RULES)
    environment.metrics = [write_metrics(0), write_metrics(100)]
    rules = replace(RULES, levels=ServiceLevels(milliseconds=500))
    deploy.deploy_state(environment, wanted(A, B, weight=10), rules)
    assert environment.percent == 10


def test_wait_until_ready_looks_again_after_a_look_that_took_all_the_time(
    environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.slots["champion"] = image(A)
    looks = [False, True]
    monkeypatch.setattr(environment, "is_slot_ready", lambda slot: not time.sleep(RULES.patience))
    monkeypatch.setattr(environment, "is_reached_by_proxy", lambda slot: looks.pop(0))
    rollout.wait_until_ready(environment, "champion", RULES)
    assert not looks


@pytest.mark.parametrize(("restarts", "problem"), [(0, "was not ready within 0.5 s"), (3, "ends again and again")])
def test_wait_until_ready_describes_what_never_is(environment: FakeEnvironment, restarts: int, problem: str) -> None:
    environment.restarts = restarts
    facts = f"{problem}.* after {restarts} restarts; /ready does not answer; the proxy does not reach it; its last log"
    with pytest.raises(rollout.RolloutError, match=facts):
        rollout.wait_until_ready(environment, "candidate", RULES)
