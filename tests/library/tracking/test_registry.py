from pathlib import Path

import pytest

from modelyard.core import deployments
from modelyard.tracking import registry

A, B = "a" * 64, "b" * 64
FILE = "champion: null\ncandidate: null\nweight: 0\nmirror: false\n"


@pytest.fixture(autouse=True)
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nothing is deployed."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Path("deploy").mkdir()
    Path("deploy/production.yaml").write_text(FILE)


def set_champion(model: str) -> None:
    deployments.write_state("production", {**deployments.load_state("production"), "champion": {"model": model}})


def test_expected_digests_have_the_model_before_the_champion() -> None:
    for before, model in ((None, A), (A, B)):
        line = {"environment": "production", "from": before, "to": model, "action": "promote"}
        deployments.append_history(line)
    set_champion(B)
    assert registry.get_expected_digests("production") == {"champion": B, "challenger": None, "previous": A}


def test_main_shows_where_mlflow_disagrees(capsys: pytest.CaptureFixture[str]) -> None:
    set_champion(A)
    assert registry.main() == 1
    assert f"champion    {A[:12]}  (MLflow: none)" in capsys.readouterr().out


def test_sync_aliases_names_a_model_that_mlflow_does_not_know() -> None:
    (problem,) = registry.sync_aliases("production", {"champion": A}, {})
    assert A[:12] in problem and "alias champion was not moved" in problem


def test_sync_aliases_removes_an_alias_without_a_model() -> None:
    assert registry.sync_aliases("production", {"champion": None}, {}) == []
    assert registry.get_mlflow_digests("production")["champion"] is None
