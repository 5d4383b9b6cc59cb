"""The service holds every row to schema.yaml: each rule of it, and not just the types."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.params import Params
from modelyard.inference.bundle import ModelBundle
from modelyard.serving.app import Service

BROKEN = {
    "isin": "nowhere",
    "str_matches": "-",
    "greater_than_or_equal_to": -(10**12),
    "less_than_or_equal_to": 10**12,
}


@pytest.fixture
def service(params: Params, bundle: ModelBundle) -> Service:
    service = Service(params, bundle, Path("logs"))
    service.self_test()
    return service


def predict(service: Service, value: Any) -> tuple[int, Any]:
    """Return the status and the value that the service sends for a JSON value."""
    sent = list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(value).encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "path": "/predict", "method": "POST", "headers": headers}
    asyncio.run(service(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def list_broken_values(service: Service) -> dict[tuple[str, str], Any]:
    """Return for each rule of a column a value of the right type that breaks it."""
    return {
        (column.name, check): BROKEN[check]
        for column in service.decoder.columns
        for check in column.checks
        if column.name in service.bundle.rows[0]
    }


def test_a_row_that_breaks_a_rule_is_refused_with_its_field(service: Service) -> None:
    rows = service.bundle.rows[:3]
    assert predict(service, rows)[0] == 200
    broken = list_broken_values(service)
    assert {check for _, check in broken} == {*BROKEN}
    for (name, check), value in broken.items():
        status, answer = predict(service, [rows[0], rows[1] | {name: value}, rows[2]])
        assert (status, answer["field"], answer["row"]) == (422, name, 1)
        assert check in answer["error"]


@pytest.mark.parametrize("change", [{"stranger": 1}, {"temp": "warm"}, {"origin": None}, {"temp": [1]}], ids=str)
def test_a_row_of_other_columns_or_types_is_refused_with_its_field(service: Service, change: dict[str, Any]) -> None:
    row = service.bundle.rows[0]
    status, answer = predict(service, [row, row | change])
    assert (status, answer["field"], answer["row"]) == (422, *change, 1)
    assert answer["error"]
