from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import UserError
from modelyard.delivery import deploy, rollback
from tests.library.delivery.fake_environment import RULES, A, B, FakeEnvironment, image, wanted


def test_previous_state_has_the_champion_before() -> None:
    history = [wanted(A), wanted(B), wanted(B)]
    assert rollback.find_previous_state(history)["champion"] == wanted(A)["champion"]


def test_previous_state_of_a_trial_keeps_the_champion() -> None:
    assert rollback.find_previous_state([wanted(A), wanted(A, B, weight=50)]) == wanted(A)


@pytest.mark.parametrize("history", [[], [wanted(A)]])
def test_previous_state_without_a_past_is_refused(history: list[Any]) -> None:
    with pytest.raises(UserError, match="ran nothing else"):
        rollback.find_previous_state(history)


@pytest.mark.usefixtures("project")
def test_main_goes_back_at_once_and_records_it(environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Any] = []
    monkeypatch.setattr(rollback, "Environment", lambda *_: environment)
    monkeypatch.setattr(rollback, "record_champion", lambda *arguments: recorded.append(arguments))
    for model in (A, B):
        deploy.deploy_state(environment, wanted(model), RULES)
    environment.steps.clear()
    rollback.main("staging")
    assert environment.steps == [0, ("candidate", image(A)), 100, ("champion", image(A)), 0, 0]
    env, model, entry, _ = recorded[0]
    assert (env, model, entry) == ("staging", A, {"action": "rollback"})
    assert Path("deploy/staging.yaml").exists()
