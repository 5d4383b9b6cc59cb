import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.params import LogParams
from modelyard.serving.prediction_log import LogWriter, PredictionRecord
from modelyard.serving.shadow import ShadowMirror
from modelyard.serving.telemetry import ServiceMetrics

OURS = PredictionRecord("1", 0, "ours", {"0": 0.9, "1": 0.1})


def count_outcomes(metrics: ServiceMetrics) -> dict[str, float]:
    """Return the number of mirrored rows by outcome."""
    samples = [sample for metric in metrics.shadow.collect() for sample in metric.samples]
    return {sample.labels["outcome"]: sample.value for sample in samples if sample.name.endswith("_total")}


def mirror_request(address: str, folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Mirror one request; return the outcomes, and the lines of the log."""
    metrics = ServiceMetrics([0.1, 0.9])
    log = LogWriter(folder, "shadow", LogParams(seconds=0.01), lambda _: None)
    ShadowMirror(address, log, metrics).send(b"{}", [OURS])
    for _ in range(100):
        if count_outcomes(metrics):
            break
        log.stop.wait(0.05)
    log.close()
    lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return count_outcomes(metrics), lines


def test_a_shadows_prediction_is_compared_and_logged(other_service: dict[str, Any], tmp_path: Path) -> None:
    probabilities = {"0": 0.4, "1": 0.6}
    other_service["answers"] = {"id": "2", "prediction": 1, "model": "theirs", "probabilities": probabilities}
    outcomes, (line,) = mirror_request(other_service["address"], tmp_path)
    assert outcomes == {"changed": 1.0}
    assert other_service["asked"] == [("1", b"{}")]
    expected = {"id": "1", "model": "ours", "shadow": "theirs", "prediction": 0, "shadow_prediction": 1}
    assert line.items() >= expected.items()
    assert (line["score"], line["shadow_score"]) == (0.1, 0.6)


def test_an_equal_prediction_is_counted(other_service: dict[str, Any], tmp_path: Path) -> None:
    probabilities = {"0": 0.8, "1": 0.2}
    other_service["answers"] = [{"id": "2", "prediction": 0, "model": "theirs", "probabilities": probabilities}]
    assert mirror_request(other_service["address"], tmp_path)[0] == {"answered": 1.0}


@pytest.mark.parametrize("status", [200, 422, 500])
def test_a_shadow_that_fails_is_counted(other_service: dict[str, Any], tmp_path: Path, status: int) -> None:
    other_service |= {"status": status, "answers": {"error": "no"}}
    assert mirror_request(other_service["address"], tmp_path)[0] == {"failed": 1.0}


@pytest.mark.parametrize(("address", "outcome"), [("127.0.0.1:9", "failed"), ("", "lost")])
def test_a_shadow_that_is_not_there_is_counted(tmp_path: Path, address: str, outcome: str) -> None:
    assert mirror_request(address, tmp_path)[0] == {outcome: 1.0}
