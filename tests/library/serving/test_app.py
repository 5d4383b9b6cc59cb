import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from modelyard.core.params import LogParams, Params
from modelyard.core.predictions import Predictions, to_log_column
from modelyard.inference.bundle import BundleMismatchError, ModelBundle, compute_max_difference
from modelyard.inference.columns import LightFrame
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.serving import app
from tests.library.inference.conftest import mark_personal

JSON = [(b"content-type", b"application/json")]
KEY = "a-key-of-a-client"
BEARER = (b"authorization", f"bearer {KEY}".encode())


@pytest.fixture
def quick(params: Params) -> Params:
    """Parameters with small limits and a fast log."""
    rules = replace(params.serve, rows=500, megabytes=0.5, seconds=0.2, log=LogParams(seconds=0.01))
    return replace(params, serve=rules)


@pytest.fixture
def service(quick: Params, bundle: ModelBundle) -> app.Service:
    service = app.Service(quick, bundle, Path("logs"))
    service.self_test()
    return service


@pytest.fixture
def guarded(quick: Params, bundle: ModelBundle) -> app.Service:
    """A service that asks for a key."""
    keys = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in {"old": "other", "client": KEY}.items()}
    return app.Service(replace(quick, serve=replace(quick.serve, keys=keys)), bundle, Path("logs"))


Reply = tuple[int, dict[bytes, bytes], bytes]


async def send_request(
    service: app.Service,
    path: str,
    chunks: list[bytes],
    method: str = "POST",
    headers: list[tuple[bytes, bytes]] = JSON,
    delay: float = 0,
) -> Reply:
    """Send a request by ASGI, each chunk of its body after `delay` seconds; return status, headers and body."""
    left = list(chunks)
    sent = list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(delay)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await service({"type": "http", "path": path, "method": method, "headers": headers}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def decode_reply(reply: Reply) -> tuple[int, Any]:
    """Return the status and the value, or the text, of a reply."""
    status, headers, body = reply
    is_json = headers[b"content-type"] == b"application/json"
    return status, json.loads(body) if is_json else body.decode()


def get(service: app.Service, path: str) -> tuple[int, Any]:
    """Return the status and the value of a GET request."""
    return decode_reply(asyncio.run(send_request(service, path, [b""], "GET", [])))


def post(service: app.Service, path: str, value: Any, headers: list[tuple[bytes, bytes]] = JSON) -> tuple[int, Any]:
    """Return the status and the value of a POST request with a JSON value."""
    return decode_reply(asyncio.run(send_request(service, path, [encode(value)], "POST", headers)))


def encode(value: Any) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value).encode()


def read_log(service: app.Service, kind: str) -> list[dict[str, Any]]:
    """Close one of the service's logs and return its lines."""
    service.logs[kind].close()
    paths = sorted(service.logs[kind].folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_predict_returns_the_pipelines_predictions(service: app.Service) -> None:
    bundle = service.bundle
    status, found = post(service, "/predict", bundle.rows)
    assert status == 200
    assert compute_max_difference(found, bundle.answers) <= 1e-6
    assert [one["prediction"] for one in found] == [one["prediction"] for one in bundle.answers]
    assert {one["model"] for one in found} == {bundle.model}
    assert len({one["id"] for one in found}) == len(found)


def test_predict_returns_one_object_for_one_row(service: app.Service) -> None:
    status, found = post(service, "/predict", service.bundle.rows[0])
    assert status == 200
    assert found["prediction"] == service.bundle.answers[0]["prediction"]


def test_predict_of_no_rows(service: app.Service) -> None:
    assert post(service, "/predict", []) == (200, [])


def test_simultaneous_requests_get_their_own_predictions(service: app.Service) -> None:
    async def send_all() -> list[Reply]:
        return await asyncio.gather(*(send_request(service, "/predict", [encode(row)]) for row in service.bundle.rows))

    found = [decode_reply(reply)[1]["prediction"] for reply in asyncio.run(send_all())]
    assert found == [one["prediction"] for one in service.bundle.answers]


def test_many_rows_are_predicted_in_a_thread(service: app.Service) -> None:
    status, found = post(service, "/predict", (service.bundle.rows * 100)[:400])
    assert (status, len(found)) == (200, 400)


def test_features_that_fail_on_the_light_table_use_pandas(service: app.Service) -> None:
    predict = service.predictor

    def predict_with_pandas_only(table: Any) -> Predictions:
        if isinstance(table, LightFrame):
            raise AttributeError("loc")
        return predict(table)

    service.predictor = predict_with_pandas_only
    assert post(service, "/predict", service.bundle.rows)[1][0]["prediction"] == service.bundle.answers[0]["prediction"]
    assert "pandas_fallbacks_total 1.0" in get(service, "/metrics")[1]


def test_features_that_drop_a_row_give_nobody_anothers_prediction(service: app.Service) -> None:
    predict = service.predictor
    service.predictor = lambda table: predict(table).select_rows(slice(1, None))  # type: ignore[arg-type]
    rows = service.bundle.rows[:2]

    async def send_both() -> list[Reply]:
        return await asyncio.gather(*(send_request(service, "/predict", [encode(row)], "POST", JSON) for row in rows))

    assert [decode_reply(reply)[0] for reply in asyncio.run(send_both())] == [500, 500]


def test_light_table_can_be_switched_off(service: app.Service, quick: Params) -> None:
    without = replace(quick, serve=replace(quick.serve, light_table=False))
    assert service.uses_light_table
    assert not app.Service(without, service.bundle, Path("logs")).uses_light_table


@pytest.mark.parametrize(
    ("chunks", "options", "status"),
    [
        ([b"{"], {}, 400),
        ([b"[1]"], {}, 422),
        ([b"{}"], {}, 422),
        ([b"{}"], {"headers": []}, 415),
        ([b"{}"], {"headers": [(b"content-type", b"text/plain")]}, 415),
        ([b"{}"], {"headers": [*JSON, (b"content-length", b"99999999")]}, 413),
        ([b" " * 300_000] * 3, {}, 413),
        ([b"{"] * 20, {"delay": 0.05}, 408),
        ([b"{}"], {"method": "PUT"}, 405),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/feedback"])
def test_a_bad_request_gets_a_sentence(
    service: app.Service, path: str, chunks: list[bytes], options: dict[str, Any], status: int
) -> None:
    found, value = decode_reply(asyncio.run(send_request(service, path, chunks, **options)))
    assert found == status
    assert value["error"]


def test_a_content_type_may_name_a_charset(service: app.Service) -> None:
    headers = [(b"content-type", b"Application/JSON; charset=utf-8")]
    assert post(service, "/predict", service.bundle.rows, headers)[0] == 200


def test_too_many_rows_are_refused(service: app.Service) -> None:
    service.rules = replace(service.rules, rows=10)
    status, value = post(service, "/predict", service.bundle.rows[:1] * 11)
    assert status == 413
    assert "11 rows" in value["error"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ([BEARER], 200),
        ([], 401),
        ([(b"authorization", b"Bearer " + KEY[:-1].encode())], 401),
        ([(b"authorization", b"Bearer")], 401),
        ([(b"authorization", b"\xff\xfe \x00")], 401),
        ([(b"authorization", f"Basic {KEY}".encode())], 401),
        ([(b"authorization", f"Bearer {hashlib.sha256(KEY.encode()).hexdigest()}".encode())], 401),
    ],
)
def test_only_requests_with_a_key_are_answered(guarded: app.Service, sent: Any, status: int) -> None:
    row = [encode(guarded.bundle.rows[0])]
    found, headers, body = asyncio.run(send_request(guarded, "/predict", row, headers=[*JSON, *sent]))
    assert found == status
    assert status == 200 or headers[b"www-authenticate"] == b"Bearer"
    assert KEY.encode() not in body
    feedback = post(guarded, "/feedback", {"id": "x", "truth": 1}, [*JSON, *sent])
    assert feedback[0] == (202 if status == 200 else 401)


def test_keys_are_compared_in_constant_time(guarded: app.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = list[bytes]()
    monkeypatch.setattr(app.hmac, "compare_digest", lambda a, b: compared.append(b) or a == b)
    assert guarded.is_authorized(b"Bearer other")  # the first key: one that ends early would be seen
    assert guarded.is_authorized(BEARER[1])
    assert not guarded.is_authorized(b"")
    assert compared == guarded.keys * 3  # every key every time: a match ends nothing early


@pytest.mark.parametrize("path", ["/live", "/version", "/metrics", "/docs"])
def test_pages_without_rows_need_no_key(guarded: app.Service, path: str) -> None:
    assert get(guarded, path)[0] == 200


def test_a_flood_is_shed_and_nothing_is_lost(service: app.Service) -> None:
    service.rules = replace(service.rules, requests=20)
    row = [encode(service.bundle.rows[0])]

    async def send_all() -> list[Reply]:
        return await asyncio.gather(*(send_request(service, "/predict", row, delay=0.01) for _ in range(200)))

    replies = asyncio.run(send_all())
    statuses = [status for status, _, _ in replies]
    assert statuses.count(200) == 20
    assert statuses.count(503) == 180
    assert all(headers[b"retry-after"] == b"1" for status, headers, _ in replies if status == 503)
    assert service.active_requests == 0
    assert post(service, "/predict", service.bundle.rows)[0] == 200


@pytest.mark.usefixtures("project")
def test_personal_columns_are_in_no_log_and_in_no_example(quick: Params) -> None:
    name = quick.data.features[0]
    mark_personal(name)
    service = app.Service(quick, load_or_build_bundle(quick), Path("logs"))
    row = service.bundle.rows[0]
    assert post(service, "/predict", row)[0] == 200
    (line,) = read_log(service, "predictions")
    assert to_log_column(name) not in line
    assert {to_log_column(other) for other in row if other != name} <= set(line)
    body = get(service, "/openapi.json")[1]["paths"]["/predict"]["post"]["requestBody"]
    assert name not in body["content"]["application/json"]["example"]


@pytest.mark.parametrize("path", ["/nothing", "/predict/", "//"])
def test_an_unknown_page_is_404(service: app.Service, path: str) -> None:
    assert get(service, path)[0] == 404


def test_live_ready_version(service: app.Service) -> None:
    assert get(service, "/live") == (200, {"live": True})
    assert get(service, "/ready") == (200, {"ready": True})
    version = get(service, "/version")[1]
    assert {"model", "commit", "dvc_lock", "data", "verdict", "started"} <= set(version)
    assert version["model"] == service.bundle.model


def test_a_service_is_not_ready_before_its_self_test(quick: Params, service: app.Service) -> None:
    untested = app.Service(quick, service.bundle, Path("logs"))
    assert get(untested, "/ready") == (503, {"ready": False})


def test_head_has_no_body(service: app.Service) -> None:
    status, headers, body = asyncio.run(send_request(service, "/version", [b""], "HEAD", []))
    assert (status, body) == (200, b"")
    assert int(headers[b"content-length"]) > 2


def test_predictions_are_logged_with_their_rows(service: app.Service) -> None:
    row = service.bundle.rows[0]
    found = post(service, "/predict", row)[1]
    (line,) = read_log(service, "predictions")
    expected = {name: found[name] for name in ("id", "model", "prediction")}
    expected |= {f"p_{name}": probability for name, probability in found["probabilities"].items()}
    expected |= {to_log_column(name): value for name, value in row.items()}
    assert line.items() >= expected.items()


def test_feedback_is_logged(service: app.Service) -> None:
    assert post(service, "/feedback", {"id": "a", "truth": 1}) == (202, {"taken": 1})
    (line,) = read_log(service, "feedback")
    assert (line["id"], line["truth"]) == ("a", 1)


def test_a_shadow_logs_no_prediction(service: app.Service) -> None:
    assert post(service, "/predict", service.bundle.rows, [*JSON, (b"x-shadow", b"1")])[0] == 200
    assert read_log(service, "predictions") == []


def test_an_unwritable_log_fails_nothing(quick: Params, bundle: ModelBundle) -> None:
    Path("file").write_text("", encoding="utf-8")
    service = app.Service(quick, bundle, Path("file"))
    assert post(service, "/predict", service.bundle.rows)[0] == 200


def test_metrics_count(service: app.Service) -> None:
    post(service, "/predict", service.bundle.rows)
    post(service, "/predict", {})
    text = get(service, "/metrics")[1]
    assert f"rows_total {len(service.bundle.rows)}.0" in text
    assert 'requests_total{path="/predict",status="422"} 1.0' in text
    assert 'errors_total{kind="422"} 1.0' in text
    assert 'request_seconds_count{path="/predict"} 2.0' in text


def test_a_failure_is_500_without_details(service: app.Service) -> None:
    service.batcher.predict_rows = lambda _: 1 / 0  # type: ignore[assignment,return-value]
    status, value = post(service, "/predict", service.bundle.rows[0])
    assert status == 500
    assert "division" not in value["error"]


def test_flagged_rows_are_answered_marked_and_counted(quick: Params, service: app.Service) -> None:
    strange = service.bundle.rows[0] | {"temp": 1e12}
    assert post(service, "/predict", strange)[0] == 422
    flagging = replace(quick, serve=replace(quick.serve, outside="flag"))
    service = app.Service(flagging, service.bundle, Path("logs"))
    assert post(service, "/predict", strange)[1]["flags"] == ["temp"]
    assert 'flagged_values_total{column="temp"} 1.0' in get(service, "/metrics")[1]
    assert read_log(service, "predictions")[0]["flags"] == ["temp"]


def test_other_predictions_than_the_pipelines_refuse_to_start(quick: Params, bundle: ModelBundle) -> None:
    bundle.answers[0] = {"prediction": 99.0, "probabilities": {"0": 9.0, "1": 9.0}}
    with pytest.raises(BundleMismatchError):
        app.Service(quick, bundle, Path("logs")).self_test()


def test_stopping_writes_what_the_logs_hold(quick: Params, bundle: ModelBundle) -> None:
    slow = replace(quick, serve=replace(quick.serve, log=LogParams(seconds=60)))
    service = app.Service(slow, bundle, Path("logs"))
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(_: dict[str, Any]) -> None:
        service.logs["predictions"].append({"id": "last"})

    asyncio.run(service({"type": "lifespan"}, receive, send))
    assert read_log(service, "predictions")[0] == {"id": "last"}


def test_docs_load_nothing_from_elsewhere(service: app.Service) -> None:
    assert "http" not in get(service, "/docs")[1].replace("over HTTP", "").replace("HTTP", "")


def test_openapi_has_an_example_that_can_be_sent(service: app.Service) -> None:
    spec = get(service, "/openapi.json")[1]
    assert set(spec["components"]["schemas"]["Row"]["properties"]) >= set(service.bundle.rows[0])
    body = spec["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert post(service, "/predict", body["example"])[0] == 200


def test_openapi_refers_only_to_its_own_schemas(service: app.Service) -> None:
    text = json.dumps(get(service, "/openapi.json")[1])
    schemas = get(service, "/openapi.json")[1]["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= set(schemas)
