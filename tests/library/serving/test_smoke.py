import json
from typing import Any

import pytest

from modelyard.inference.bundle import ModelBundle
from modelyard.serving import smoke


@pytest.fixture(autouse=True)
def _give_the_bundles_predictions(bundle: ModelBundle, other_service: dict[str, Any]) -> None:
    other_service["answers"] = [{**answer, "model": "m"} for answer in bundle.answers]


def test_equal_predictions_have_no_difference(other_service: dict[str, Any]) -> None:
    assert smoke.probe_service(other_service["address"], 0, 0)["difference"] == 0


def test_load_is_measured(other_service: dict[str, Any]) -> None:
    found = smoke.probe_service(other_service["address"], 0.2, 2)
    assert found["requests"] > 0
    assert found["errors"] == 0
    assert found["p99"] > 0


def test_a_service_that_refuses(other_service: dict[str, Any]) -> None:
    other_service |= {"status": 503, "answers": "busy"}
    assert smoke.probe_service(other_service["address"], 0, 0) == {"difference": None, "said": "busy"}


def test_smoke_prints_json(other_service: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke.main(other_service["address"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 0
