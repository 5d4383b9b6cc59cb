import asyncio
import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from modelyard.core.errors import UserError
from modelyard.core.params import LogParams, Params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.predictions import to_log_column
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.serving import app, batching, server

JSON = [(b"content-type", b"application/json")]


@pytest.fixture
def quick(params: Params) -> Params:
    rules = replace(params.serve, rows=500, megabytes=0.5, seconds=0.2, log=LogParams(seconds=0.01))
    return replace(params, serve=rules)


@pytest.fixture
def service(quick: Params, project: Path) -> app.Service:
    service = app.Service(quick, load_or_build_bundle(quick), project / "logs")
    service.self_test()
    return service


async def talk(service: app.Service, path: str, chunks: list[bytes], method: str, headers: Any, wait: float) -> Any:
    """One request by ASGI: status, headers and body of the reply."""
    parts, sent = list(chunks), list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await service({"type": "http", "path": path, "method": method, "headers": headers}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def ask(service: app.Service, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
    method = more.get("method", "GET" if body is None else "POST")
    chunks = body if isinstance(body, list) and body and isinstance(body[0], bytes) else [json.dumps(body).encode()]
    told = asyncio.run(talk(service, path, chunks, method, more.get("headers", JSON), more.get("wait", 0)))
    return told[0], json.loads(told[2]) if told[1][b"content-type"] == b"application/json" else told[2].decode()


def lines(service: app.Service, kind: str) -> list[dict[str, Any]]:
    service.logs[kind].close()
    paths = sorted(service.logs[kind].folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_predict_answers_as_the_pipeline_does(service: app.Service) -> None:
    passport = service.passport
    status, answers = ask(service, "/predict", passport.rows)
    assert status == 200 and len({answer["id"] for answer in answers}) == len(answers)
    assert all(answer["model"] == passport.model for answer in answers)
    for answer, right in zip(answers, passport.answers, strict=True):
        assert answer["prediction"] == pytest.approx(right["prediction"])
        assert answer.get("probabilities") == pytest.approx(right.get("probabilities"), abs=1e-6)


def test_predict_one_row_is_one_object(service: app.Service) -> None:
    status, answer = ask(service, "/predict", service.passport.rows[0])
    assert (
        status == 200
        and answer["prediction"] == ask(service, "/predict", service.passport.rows[:1])[1][0]["prediction"]
    )
    assert ask(service, "/predict", []) == (200, [])


def test_requests_that_come_together_each_get_their_own(service: app.Service) -> None:
    async def together() -> Any:
        bodies = [json.dumps(row).encode() for row in service.passport.rows]
        return await asyncio.gather(*(talk(service, "/predict", [body], "POST", JSON, 0) for body in bodies))

    found = [json.loads(told[2])["prediction"] for told in asyncio.run(together())]
    assert found == pytest.approx([answer["prediction"] for answer in service.passport.answers])


def test_one_bad_row_fails_alone(service: app.Service) -> None:
    plain, bad = service.answer, service.rows.decode(json.dumps(service.passport.rows[0]).encode())[0]

    def answer(rows: list[Any]) -> Any:
        if bad in rows:
            raise RuntimeError
        return plain(rows)

    async def both() -> Any:
        together = batching.MicroBatcher(answer)
        good = service.rows.decode(json.dumps(service.passport.rows[-1]).encode())
        return await asyncio.gather(together.ask([bad]), together.ask(good), return_exceptions=True)

    first, second = asyncio.run(both())
    assert isinstance(first, RuntimeError) and len(second) == 1


def test_many_rows_are_answered_in_a_thread(service: app.Service) -> None:
    rows = (service.passport.rows * 100)[:400]
    status, answers = ask(service, "/predict", rows)
    assert status == 200 and len(answers) == 400


@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        ([b"{"], {}, 400),
        ([b"[1]"], {}, 422),
        ([b"{}"], {}, 422),
        ([b"{}"], {"headers": []}, 415),
        ([b"{}"], {"headers": [(b"content-type", b"text/plain")]}, 415),
        ([b"{}"], {"headers": [*JSON, (b"content-length", b"99999999")]}, 413),
        ([b" " * 300_000] * 3, {}, 413),
        ([b"{"] * 20, {"wait": 0.05}, 408),
        ([b"{}"], {"method": "PUT"}, 405),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/feedback"])
def test_a_bad_request_gets_a_sentence(service: app.Service, path: str, body: Any, more: Any, status: int) -> None:
    found, said = ask(service, path, body, **more)
    assert found == status and said["error"]


def test_a_charset_is_no_other_type(service: app.Service) -> None:
    headers = [(b"content-type", b"Application/JSON; charset=utf-8")]
    assert ask(service, "/predict", service.passport.rows, headers=headers)[0] == 200


def test_too_many_rows_are_refused(service: app.Service) -> None:
    service.rules = replace(service.rules, rows=10)
    status, said = ask(service, "/predict", service.passport.rows[:1] * 11)
    assert status == 413 and "11 rows" in said["error"]


KEY = "a-key-of-a-client"
BEARER = (b"authorization", f"bearer {KEY}".encode())


@pytest.fixture
def guarded(quick: Params, project: Path) -> app.Service:
    keys = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in {"old": "other", "client": KEY}.items()}
    params = replace(quick, serve=replace(quick.serve, keys=keys))
    return app.Service(params, load_or_build_bundle(params), project / "logs")


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
def test_only_who_has_a_key_is_answered(guarded: app.Service, sent: Any, status: int) -> None:
    row = [json.dumps(guarded.passport.rows[0]).encode()]
    found, headers, body = asyncio.run(talk(guarded, "/predict", row, "POST", [*JSON, *sent], 0))
    assert found == status and (status == 200 or headers[b"www-authenticate"] == b"Bearer")
    assert KEY.encode() not in body
    assert ask(guarded, "/feedback", {"id": "x", "truth": 1}, headers=[*JSON, *sent])[0] in (202, 401)


def test_keys_are_compared_in_constant_time(guarded: app.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[bytes]()
    monkeypatch.setattr(app.hmac, "compare_digest", lambda a, b: seen.append(b) or a == b)
    assert guarded.is_authorized(BEARER[1]) and not guarded.is_authorized(b"")
    assert seen == guarded.keys * 2  # every key every time: a match ends nothing early


def test_pages_without_rows_need_no_key(guarded: app.Service) -> None:
    assert [ask(guarded, path)[0] for path in ("/live", "/version", "/metrics", "/docs")] == [200] * 4


def test_a_flood_is_shed_and_nothing_is_lost(service: app.Service) -> None:
    service.rules = replace(service.rules, requests=20)
    row = [json.dumps(service.passport.rows[0]).encode()]

    async def flood() -> Any:
        return await asyncio.gather(*(talk(service, "/predict", row, "POST", JSON, 0.01) for _ in range(200)))

    told = asyncio.run(flood())
    statuses = [status for status, _, _ in told]
    assert statuses.count(200) == 20 and statuses.count(503) == 180
    assert all(headers[b"retry-after"] == b"1" for status, headers, _ in told if status == 503)
    assert service.active_requests == 0 and ask(service, "/predict", service.passport.rows)[0] == 200


def test_personal_columns_are_in_no_log_and_in_no_example(quick: Params, project: Path) -> None:
    name = quick.data.features[0]
    schema = yaml.safe_load(SCHEMA_YAML.read_text())
    schema["columns"][name]["personal"] = True
    SCHEMA_YAML.write_text(yaml.safe_dump(schema))
    service = app.Service(quick, load_or_build_bundle(quick), project / "logs")
    row = service.passport.rows[0]
    assert ask(service, "/predict", row)[0] == 200
    (line,) = lines(service, "predictions")
    assert to_log_column(name) not in line and {to_log_column(other) for other in row if other != name} <= set(line)
    body = ask(service, "/openapi.json")[1]["paths"]["/predict"]["post"]["requestBody"]
    assert name not in body["content"]["application/json"]["example"]


@pytest.mark.parametrize("path", ["/nothing", "/predict/", "//"])
def test_a_page_that_is_not_there_is_404(service: app.Service, path: str) -> None:
    assert ask(service, path)[0] == 404


def test_live_ready_version(service: app.Service) -> None:
    assert ask(service, "/live") == (200, {"live": True})
    assert ask(service, "/ready") == (200, {"ready": True})
    told = ask(service, "/version")[1]
    assert {"model", "commit", "dvc_lock", "data", "verdict", "started"} <= set(told)
    assert told["model"] == service.passport.model


def test_head_has_no_body(service: app.Service) -> None:
    status, headers, body = asyncio.run(talk(service, "/version", [b""], "HEAD", [], 0))
    assert (status, body) == (200, b"") and int(headers[b"content-length"]) > 2


def test_the_log_holds_rows_answers_and_truths(service: app.Service) -> None:
    row = service.passport.rows[0]
    answer = ask(service, "/predict", row)[1]
    assert ask(service, "/feedback", {"id": answer["id"], "truth": 1}) == (202, {"taken": 1})
    (line,) = lines(service, "predictions")
    assert {line[key] for key in ("id", "model")} == {answer["id"], answer["model"]}
    assert line["prediction"] == answer["prediction"]
    assert line.items() >= {to_log_column(name): value for name, value in row.items()}.items()
    assert {name: line[f"p_{name}"] for name in answer.get("probabilities", {})} == answer.get("probabilities", {})
    assert [(truth["id"], truth["truth"]) for truth in lines(service, "feedback")] == [(answer["id"], 1)]


def test_a_shadow_logs_no_prediction(service: app.Service) -> None:
    assert ask(service, "/predict", service.passport.rows, headers=[*JSON, (b"x-shadow", b"1")])[0] == 200
    assert lines(service, "predictions") == []


def test_an_unwritable_log_fails_nothing(quick: Params, project: Path) -> None:
    (project / "file").write_text("")
    service = app.Service(quick, load_or_build_bundle(quick), project / "file")
    service.self_test()
    assert ask(service, "/predict", service.passport.rows)[0] == 200


def test_metrics_count(service: app.Service) -> None:
    ask(service, "/predict", service.passport.rows)
    ask(service, "/predict", {})
    text = ask(service, "/metrics")[1]
    assert f"rows_total {len(service.passport.rows)}.0" in text
    assert 'requests_total{path="/predict",status="422"} 1.0' in text
    assert 'errors_total{kind="422"} 1.0' in text
    assert 'request_seconds_count{path="/predict"} 2.0' in text


def test_a_fault_is_500_and_says_nothing_of_the_inside(service: app.Service) -> None:
    service.batcher.answer = lambda _: 1 / 0  # type: ignore[assignment,return-value]
    status, said = ask(service, "/predict", service.passport.rows[0])
    assert status == 500 and "division" not in said["error"]


def test_flagged_rows_are_answered_marked_and_counted(quick: Params, service: app.Service, project: Path) -> None:
    numbers = [c for c in service.rows.columns if c.is_required and c.type is float and not c.accepts(1e12)]
    if not numbers:
        pytest.skip("no column of numbers has a range")
    strange = service.passport.rows[0] | {numbers[0].name: 1e12}
    assert ask(service, "/predict", strange)[0] == 422
    flagging = replace(quick, serve=replace(quick.serve, outside="flag"))
    service = app.Service(flagging, load_or_build_bundle(quick), project / "logs")
    assert ask(service, "/predict", strange)[1]["flags"] == [numbers[0].name]
    counted = 'flagged_values_total{column="' + numbers[0].name + '"} 1.0'
    assert counted in ask(service, "/metrics")[1]
    assert lines(service, "predictions")[0]["flags"] == [numbers[0].name]


def test_another_answer_than_the_pipelines_refuses_to_start(quick: Params, project: Path) -> None:
    passport = load_or_build_bundle(quick)
    first = passport.answers[0]
    first["prediction"] = None
    passport.answers[0] = {"prediction": 99.0, "probabilities": dict.fromkeys(first.get("probabilities", {}), 9.0)}
    if "probabilities" not in first:
        passport.answers[0] = {"prediction": 1e9}
    with pytest.raises(UserError, match="refusing to start"):
        app.Service(quick, passport, project / "logs").self_test()


def test_stopping_writes_what_waits(quick: Params, project: Path) -> None:
    slow = replace(quick, serve=replace(quick.serve, log=LogParams(seconds=60)))
    service = app.Service(slow, load_or_build_bundle(quick), project / "logs")
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(asked)}

    async def send(_: dict[str, Any]) -> None:
        service.logs["predictions"].append({"id": "last"})

    asyncio.run(service({"type": "lifespan"}, receive, send))
    assert lines(service, "predictions")[0] == {"id": "last"}


def test_the_page_shows_a_real_row_and_needs_nothing_from_elsewhere(service: app.Service) -> None:
    page, spec = ask(service, "/docs")[1], ask(service, "/openapi.json")[1]
    assert "http" not in page.replace("over HTTP", "").replace("HTTP", "")
    assert set(spec["components"]["schemas"]["Row"]["properties"]) >= set(service.passport.rows[0])
    body = spec["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert ask(service, "/predict", body["example"])[0] == 200


def test_a_later_module_is_there_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "colorsys", server.LazyModule("colorsys"))
    later = importlib.import_module("colorsys")
    assert isinstance(later, server.LazyModule)
    assert later.rgb_to_hsv(1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)
    assert not isinstance(sys.modules["colorsys"], server.LazyModule)


@pytest.mark.parametrize("bind", ["8000", ":8000", "127.0.0.1:http", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_one_sentence(bind: str) -> None:
    with pytest.raises(UserError, match="write host:port"):
        server.main(bind)
