from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import UserError
from modelyard.delivery import deploy, rollback
from tests.library.delivery.test_deploy import RULES, A, B, Fake, environment, image, wanted

__all__ = ["environment"]  # a fixture


def test_rollback_goes_to_the_champion_before() -> None:
    history = [wanted(A), wanted(B), wanted(B)]
    assert rollback.find_previous_state(history)["champion"] == wanted(A)["champion"]


def test_rollback_of_a_trial_keeps_the_champion() -> None:
    assert rollback.find_previous_state([wanted(A), wanted(A, B, weight=50)]) == wanted(A)


def test_rollback_without_a_past_says_so() -> None:
    for history in ([], [wanted(A)]):
        with pytest.raises(UserError, match="nothing else ran here"):
            rollback.find_previous_state(history)


def test_rollback_is_fast_and_says_so_in_the_files(
    environment: Fake, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = list[Any]()
    monkeypatch.setattr(rollback, "Environment", lambda *_: environment)
    monkeypatch.setattr(rollback, "record_champion", lambda *arguments: moved.append(arguments))
    for model in (A, B):
        deploy.deploy_state(environment, wanted(model), RULES)
    environment.steps.clear()
    rollback.main("staging")
    assert environment.steps == [0, ("candidate", image(A)), 100, ("champion", image(A)), 0, 0]
    assert moved[0][:2] == ("staging", A) and moved[0][2] == {"action": "rollback"}
