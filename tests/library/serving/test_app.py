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
OTHER_KEY = "another-clients-key"
LABELLER_KEY = "the-key-of-who-labels"
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
    """A service that asks for a key; the client's own stands last."""
    return open_guarded(quick, bundle)


def open_guarded(params: Params, bundle: ModelBundle, **rules: Any) -> app.Service:
    """Return a service that knows three keys; `labeller` may give feedback for every prediction."""
    texts = {"other": OTHER_KEY, "labeller": LABELLER_KEY, "client": KEY}
    keys = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in texts.items()}
    rules = {"keys": keys, "feedback_for_all": ["labeller"]} | rules
    return app.Service(replace(params, serve=replace(params.serve, **rules)), bundle, Path("logs"))


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
    """Close the service's logs of one kind and return their lines."""
    for name, log in service.logs.items():
        if name.startswith(kind):
            log.close()
    paths = sorted(service.folder.glob(f"{kind}-*.jsonl"))
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
    feedback = post(guarded, "/feedback", [], [*JSON, *sent])
    assert feedback[0] == (202 if status == 200 else 401)


def ask_with(key: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request with a key."""
    return [*JSON, (b"authorization", f"Bearer {key}".encode())]


def test_feedback_is_taken_from_the_key_that_asked(guarded: app.Service) -> None:
    records = post(guarded, "/predict", guarded.bundle.rows[:2], ask_with(KEY))[1]
    truths = [{"id": record["id"], "truth": 1} for record in records]
    status, value = post(guarded, "/feedback", truths, ask_with(OTHER_KEY))
    assert (status, value["field"], value["row"]) == (403, "id", 0)
    assert post(guarded, "/feedback", truths, ask_with(KEY))[0] == 202
    assert [line["key"] for line in read_log(guarded, "feedback")] == ["client"] * 2
    assert [line["key"] for line in read_log(guarded, "predictions")] == ["client"] * 2


def test_feedback_is_refused_whole_where_one_id_is_anothers(guarded: app.Service) -> None:
    own = post(guarded, "/predict", guarded.bundle.rows[0], ask_with(KEY))[1]["id"]
    others = post(guarded, "/predict", guarded.bundle.rows[0], ask_with(OTHER_KEY))[1]["id"]
    truths = [{"id": own, "truth": 1}, {"id": others, "truth": 1}]
    assert post(guarded, "/feedback", truths, ask_with(KEY))[1]["row"] == 1
    assert read_log(guarded, "feedback") == []


def test_feedback_for_every_prediction_needs_that_right(guarded: app.Service) -> None:
    record = post(guarded, "/predict", guarded.bundle.rows[0], ask_with(KEY))[1]
    assert post(guarded, "/feedback", {"id": record["id"], "truth": 1}, ask_with(LABELLER_KEY))[0] == 202
    assert read_log(guarded, "feedback")[0]["key"] == "labeller"


def test_a_restarted_service_still_knows_who_asked(guarded: app.Service, quick: Params) -> None:
    record = post(guarded, "/predict", guarded.bundle.rows[0], ask_with(KEY))[1]
    restarted = open_guarded(quick, guarded.bundle)
    truth = {"id": record["id"], "truth": 1}
    assert post(restarted, "/feedback", truth, ask_with(OTHER_KEY))[0] == 403
    assert post(restarted, "/feedback", truth, ask_with(KEY))[0] == 202


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


@pytest.mark.usefixtures("project")
def test_a_log_of_personal_columns_alone_is_json(quick: Params) -> None:
    bundle = load_or_build_bundle(quick)
    for name in bundle.rows[0]:
        mark_personal(name)
    service = app.Service(quick, load_or_build_bundle(quick), Path("logs"))
    found = post(service, "/predict", service.bundle.rows[0])[1]
    (line,) = read_log(service, "predictions")
    assert line["id"] == found["id"]
    assert not set(line) & {to_log_column(name) for name in service.bundle.rows[0]}


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


@pytest.mark.parametrize("truth", ["x" * 1001, "x" * 400_000])
def test_a_long_truth_is_refused(service: app.Service, truth: str) -> None:
    status, value = post(service, "/feedback", {"id": "a", "truth": truth})
    assert (status, value["field"]) == (422, "truth")
    assert read_log(service, "feedback") == []


def test_too_many_truths_are_refused(service: app.Service) -> None:
    assert post(service, "/feedback", [{"id": "a", "truth": 1}] * 501)[0] == 413


def flood_with_feedback(service: app.Service, key: str, requests: int = 40) -> list[int]:
    """Repeat a key's truths of 100 predictions, each write in turn; return the statuses."""
    records = post(service, "/predict", service.bundle.rows[:1] * 100, ask_with(key))[1]
    truths = [{"id": record["id"], "truth": "x" * 900} for record in records]
    statuses = []
    for _ in range(requests):
        statuses.append(post(service, "/feedback", truths, ask_with(key))[0])
        for kind, log in service.logs.items():
            if kind.startswith("feedback"):
                log.write(log.encode_queue())
    return statuses


def test_a_flood_of_feedback_takes_no_other_keys_room_and_deletes_nothing(quick: Params, bundle: ModelBundle) -> None:
    rules = LogParams(seconds=60, megabytes=1, files=3)  # a megabyte for each of the three keys
    service = open_guarded(quick, bundle, log=rules)
    first = post(service, "/predict", bundle.rows[0], ask_with(KEY))[1]["id"]
    assert post(service, "/feedback", {"id": first, "truth": 1}, ask_with(KEY))[0] == 202
    statuses = flood_with_feedback(service, KEY)
    assert statuses[0] == 202 and statuses[-1] == 507
    other = post(service, "/predict", bundle.rows[0], ask_with(OTHER_KEY))[1]["id"]
    assert post(service, "/feedback", {"id": other, "truth": 0}, ask_with(OTHER_KEY))[0] == 202
    lines = read_log(service, "feedback")
    assert {(first, 1), (other, 0)} <= {(line["id"], line["truth"]) for line in lines}
    paths = service.folder.glob("feedback-*")
    assert sum(path.stat().st_size for path in paths) <= 2 << 20


def test_feedback_that_the_queue_cannot_take_is_not_said_to_be_taken(quick: Params, bundle: ModelBundle) -> None:
    rules = LogParams(seconds=60, queue=3)
    service = app.Service(replace(quick, serve=replace(quick.serve, log=rules)), bundle, Path("logs"))
    truths = [{"id": "a", "truth": 1}] * 2
    assert [post(service, "/feedback", truths)[0] for _ in range(2)] == [202, 503]
    assert len(read_log(service, "feedback")) == 2


def test_long_rows_do_not_wait_beyond_the_logs_size(quick: Params, bundle: ModelBundle) -> None:
    rules = LogParams(seconds=60, megabytes=1)
    service = app.Service(replace(quick, serve=replace(quick.serve, log=rules)), bundle, Path("logs"))
    padding = b" " * 300_000
    body = encode(bundle.rows[0]) + padding
    for _ in range(10):
        assert decode_reply(asyncio.run(send_request(service, "/predict", [body])))[0] == 200
    assert "log_lines_lost_total 7.0" in get(service, "/metrics")[1]


def test_a_shadow_logs_no_prediction(quick: Params, bundle: ModelBundle) -> None:
    service = app.Service(quick, bundle, Path("logs"), is_internal=True)
    assert post(service, "/predict", bundle.rows, [*JSON, (b"x-shadow", b"1")])[0] == 200
    assert read_log(service, "predictions") == []


def test_a_client_cannot_be_answered_without_a_line_in_the_log(service: app.Service) -> None:
    headers = [*JSON, (b"x-shadow", b"1"), (b"x-mirror", b"1")]
    assert post(service, "/predict", service.bundle.rows, headers)[0] == 200
    assert len(read_log(service, "predictions")) == len(service.bundle.rows)
    assert "shadow_rows_total{" not in get(service, "/metrics")[1]


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
