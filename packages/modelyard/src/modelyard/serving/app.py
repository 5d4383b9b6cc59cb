"""Verb: the model answers over HTTP: rows checked by schema.yaml, every answer logged, measured and named."""

import asyncio
import hashlib
import hmac
import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from prometheus_client import generate_latest

from modelyard.core.errors import UserError
from modelyard.core.params import Params
from modelyard.core.predictions import to_probability_column
from modelyard.inference.bundle import ModelBundle, PredictionDict, compute_max_difference
from modelyard.inference.predictor import load_predictor
from modelyard.inference.request import RequestDecoder, RequestError, Row, build_row_type, decode_body
from modelyard.serving import openapi
from modelyard.serving.batching import MicroBatcher
from modelyard.serving.prediction_log import LogWriter, Reading
from modelyard.serving.shadow import ShadowMirror
from modelyard.serving.telemetry import ServiceMetrics

Scope = dict[str, Any]
Headers = dict[bytes, bytes]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Response = tuple[int, bytes, bytes]  # status, content type, body
JSON_CONTENT_TYPE = b"application/json"
MICRO_BATCH_ROWS = 256  # rows that are answered together with others'; more in a thread of their own
STATUS_HEADERS = {401: (b"www-authenticate", b"Bearer"), 503: (b"retry-after", b"1")}  # what goes along with a status
VERSION_FIELDS = (
    "model",
    "commit",
    "dvc_lock",
    "data",
    "verdict",
    "engine",
    "light",
    "reason",
    "difference",
    "versions",
)


class Truth(msgspec.Struct, forbid_unknown_fields=True):
    """What came true, by the id of the answer."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    truth: str | int | float | bool


FEEDBACK_DECODER = msgspec.json.Decoder(Truth | list[Truth])


class Service:
    """The ASGI application around one model."""

    def __init__(self, params: Params, passport: ModelBundle, logs: Path) -> None:
        self.rules, self.passport = params.serve, passport
        self.rows = RequestDecoder(params.data, passport.dtypes, params.serve.outside == "flag")
        self.predictor = load_predictor(passport)
        self.counters, self.batcher = ServiceMetrics(passport.quantiles), MicroBatcher(self.answer)
        kinds = ("predictions", "feedback", "shadow")
        self.logs = {kind: LogWriter(logs, kind, params.serve.log, self.counters.lost.inc) for kind in kinds}
        self.shadow = ShadowMirror(os.environ.get("MODELYARD_SHADOW", ""), self.logs["shadow"], self.counters)
        self.active_requests, self.keys = 0, [bytes.fromhex(key) for key in self.rules.keys.values()]
        self.id_prefix, self.count, self.encode = os.urandom(6).hex(), itertools.count(), msgspec.json.Encoder().encode
        started = datetime.now(UTC).isoformat(timespec="seconds")
        about = {name: getattr(passport, name) for name in VERSION_FIELDS} | {"started": started}
        example = {name: value for name, value in passport.rows[0].items() if name not in self.rows.personal}
        spec = openapi.build_openapi(
            build_row_type(self.rows.columns, described=True), Reading, Truth, passport, example
        )
        fixed = {"/version": about, "/live": {"live": True}, "/openapi.json": spec}
        self.static_responses: dict[str, Response] = {
            path: (200, JSON_CONTENT_TYPE, self.encode(value)) for path, value in fixed.items()
        }
        self.static_responses["/docs"] = (
            200,
            b"text/html; charset=utf-8",
            Path(__file__).with_name("docs.html").read_bytes(),
        )
        self.post_handlers = {"/predict": self.predict, "/feedback": self.feedback}
        self.is_ready = False

    def answer(self, rows: list[Row]) -> list[PredictionDict]:
        """Prediction and probabilities of each row; should features() fail on a light table, by way of pandas."""
        if self.passport.light:
            try:
                return self.passport.to_response(self.predictor(self.rows.table(rows)))
            except Exception:
                logging.debug("by way of pandas", exc_info=True)
        return self.passport.to_response(self.predictor(self.rows.frame(rows)))

    def self_test(self) -> None:
        """Answer the passport's rows; other answers than the pipeline's are a `UserError`."""
        found = self.answer(self.rows.decode(self.encode(self.passport.rows)))
        if not compute_max_difference(found, self.passport.answers) <= 1e-5:
            raise UserError("refusing to start: the model answers its own rows otherwise here than where it was made")
        self.is_ready = True

    async def predict(self, headers: Headers, body: bytes) -> Response:
        """Answer one row, or a list of them."""
        rows = self.rows.decode(body)
        if len(rows) > self.rules.rows:
            raise RequestError(f"{len(rows):,} rows; send at most {self.rules.rows:,}, or score them as a file", 413)
        if not rows:
            return 200, JSON_CONTENT_TYPE, b"[]"
        marks = self.rows.check(rows)
        found = await (
            self.batcher.ask(rows) if len(rows) <= MICRO_BATCH_ROWS else asyncio.to_thread(self.answer, rows)
        )
        readings = self.record_predictions(rows, found, marks, b"x-shadow" in headers)
        if b"x-mirror" in headers:
            self.shadow.send(body, readings, headers.get(b"authorization", b""))
        return 200, JSON_CONTENT_TYPE, self.encode(readings if body.lstrip()[:1] == b"[" else readings[0])

    def record_predictions(
        self, rows: list[Row], found: list[PredictionDict], marks: list[list[str]], shadow: bool
    ) -> list[Reading]:
        """The answers with their ids, logged and counted; what is answered as a shadow is logged by who asked."""
        model, now, readings = self.passport.model, datetime.now(UTC), []
        for row, said, flags in zip(rows, found, marks, strict=True):
            chances = said.get("probabilities")
            reading = Reading(
                f"{self.id_prefix}{next(self.count):x}", said["prediction"], model, chances, flags or None
            )
            readings.append(reading)
            if not shadow:
                about = {"id": reading.id, "time": now, "model": model, "prediction": reading.prediction}
                about |= {to_probability_column(name): chance for name, chance in (chances or {}).items()}
                self.logs["predictions"].append(about | {"flags": reading.flags}, self.rows.to_log_row(row))
            self.counters.scores.observe(reading.score)
            for column in flags:
                self.counters.flags.labels(column).inc()
        self.counters.rows.inc(len(rows))
        return readings

    async def feedback(self, _: Headers, body: bytes) -> Response:
        """Take the truth of earlier answers; monitoring joins them by their ids."""
        truths, now = decode_body(FEEDBACK_DECODER, body), datetime.now(UTC)
        for one in truths:
            self.logs["feedback"].append(one, {"time": now})
        return 202, JSON_CONTENT_TYPE, self.encode({"taken": len(truths)})

    def is_authorized(self, sent: bytes) -> bool:
        """Whether this is one of the keys; how long that takes does not tell how much of it was right."""
        scheme, _, key = sent.partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        found = sum(hmac.compare_digest(digest, one) for one in self.keys)  # all of them, where `any` would stop
        return scheme.lower() == b"bearer" and found > 0

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """The body, when it is JSON, not too long and not too slow."""
        kind = headers.get(b"content-type", b"")
        if kind != JSON_CONTENT_TYPE and kind.partition(b";")[0].strip().lower() != JSON_CONTENT_TYPE:
            raise RequestError("send Content-Type: application/json", 415)
        most = int(self.rules.megabytes * 2**20)
        body, more = b"", int(headers.get(b"content-length", b"0")) <= most
        try:
            async with asyncio.timeout(self.rules.seconds):
                while more and len(body) <= most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError("the client left", 499)
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if not more and len(body) <= most:
                        return body
        except TimeoutError:
            raise RequestError(f"the body took longer than {self.rules.seconds:g} s", 408) from None
        raise RequestError(f"a body may have {self.rules.megabytes:g} MB", 413)

    async def handle(self, scope: Scope, receive: Receive) -> Response:
        """The reply to a good request; a bad one is refused."""
        path, method = scope["path"], scope["method"]
        if handle := self.post_handlers.get(path):
            if method != "POST":
                raise RequestError("use POST", 405)
            headers = dict(scope["headers"])
            if self.keys and not self.is_authorized(headers.get(b"authorization", b"")):
                raise RequestError("send Authorization: Bearer <key>, with a key that this service knows", 401)
            if self.active_requests >= self.rules.requests:
                raise RequestError("too many requests at once; try again in a second", 503)
            self.active_requests += 1
            try:
                return await handle(headers, await self.read(headers, receive))
            finally:
                self.active_requests -= 1
        if path not in self.static_responses and path not in ("/ready", "/metrics"):
            raise RequestError("there is no such page; see /docs", 404)
        if method not in ("GET", "HEAD"):
            raise RequestError("use GET", 405)
        if path == "/metrics":
            return 200, b"text/plain; version=0.0.4; charset=utf-8", generate_latest(self.counters.registry)
        if path == "/ready":
            return (200 if self.is_ready else 503), JSON_CONTENT_TYPE, self.encode({"ready": self.is_ready})
        return self.static_responses[path]

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """The reply to any request, bad ones included."""
        try:
            return await self.handle(scope, receive)
        except RequestError as problem:
            status, said = problem.status, {"error": str(problem), "field": problem.field, "row": problem.row}
        except Exception:
            logging.exception("a request failed")
            status, said = 500, {"error": "the service failed; its log says why"}
        self.counters.errors.labels(str(status)).inc()
        return status, JSON_CONTENT_TYPE, self.encode({key: value for key, value in said.items() if value is not None})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self.handle_lifespan(receive, send)
        start = time.perf_counter()
        status, kind, body = await self.respond(scope, receive)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        if status == 405:
            headers.append((b"allow", b"POST" if scope["path"] in self.post_handlers else b"GET, HEAD"))
        elif status in STATUS_HEADERS:
            headers.append(STATUS_HEADERS[status])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        known = scope["path"] in self.post_handlers or status == 200
        count, seconds = self.counters.of(scope["path"] if known else "other", status)
        count.inc()
        seconds.observe(time.perf_counter() - start)

    async def handle_lifespan(self, receive: Receive, send: Send) -> None:
        """Start when the server does; when it stops, write what the logs still hold."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.is_ready = False
        for log in self.logs.values():
            await asyncio.to_thread(log.close)
        await send({"type": "lifespan.shutdown.complete"})
