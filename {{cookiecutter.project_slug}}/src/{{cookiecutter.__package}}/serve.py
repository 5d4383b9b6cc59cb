"""Verb: the model answers over HTTP: rows checked by schema.yaml, every answer logged, measured and named."""

import asyncio
import gc
import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from .config import Params, UserError, load_params
from .log import Writer
from .predictor import Passport, current, load_predictor
from .rows import Refused, Row, Rows

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Reply = tuple[int, bytes, bytes]  # status, content type, body

SMALL = 256  # more rows than this are answered in a thread, so that others need not wait
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
JSON = b"application/json"


class Truth(msgspec.Struct, forbid_unknown_fields=True):
    """What came true for an answer, by its id."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    truth: str | int | float | bool


class Reading(msgspec.Struct, omit_defaults=True):
    """The answer to one row."""

    id: str
    prediction: Any
    model: str
    probabilities: dict[str, float] | None = None
    flags: list[str] | None = None


class Metrics:
    """What Prometheus reads."""

    def __init__(self, passport: Passport) -> None:
        self.registry = registry = CollectorRegistry()
        self.seconds = Histogram("request_seconds", "Time to answer", ["path"], buckets=BUCKETS, registry=registry)
        self.requests = Counter("requests", "Requests by path and status", ["path", "status"], registry=registry)
        self.errors = Counter("errors", "Requests refused or failed, by kind", ["kind"], registry=registry)
        self.rows = Counter("rows", "Rows answered", registry=registry)
        self.flags = Counter("flagged_values", "Values outside schema.yaml", ["column"], registry=registry)
        self.lost = Counter("log_lines_lost", "Lines that the log could not take", registry=registry)
        scores = passport.quantiles if len(passport.quantiles) > 1 else (0.5,)
        self.scores = Histogram("score", "Last class's probability, or the number", buckets=scores, registry=registry)


class Together:
    """Rows of requests that arrive together are answered together: 16 rows cost hardly more than one."""

    def __init__(self, answer: Callable[[list[Row]], list[Any]]) -> None:
        self.answer = answer
        self.waiting: list[tuple[list[Row], asyncio.Future[list[Any]]]] = []

    def ask(self, rows: list[Row]) -> "asyncio.Future[list[Any]]":
        """The answers to these rows, given in the event loop's next round."""
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self.flush)
        future: asyncio.Future[list[Any]] = loop.create_future()
        self.waiting.append((rows, future))
        return future

    def flush(self) -> None:
        """Answer all that wait; where that fails, each by itself, so that nobody fails for another's row."""
        waiting, self.waiting = self.waiting, []
        try:
            found = iter(self.answer([row for rows, _ in waiting for row in rows]))
        except Exception as problem:
            if len(waiting) == 1:
                waiting[0][1].set_exception(problem)
                return
            for one in waiting:
                self.waiting = [one]
                self.flush()
            return
        for rows, future in waiting:
            part = list(itertools.islice(found, len(rows)))
            if not future.done():
                future.set_result(part)


class Service:
    """The ASGI application around one model."""

    def __init__(self, params: Params, passport: Passport, logs: Path) -> None:
        self.rules, self.passport = params.serve, passport
        self.rows = Rows(params.data, passport.dtypes, params.serve.outside == "flag")
        self.predictor = load_predictor(passport)
        self.names = None if passport.classes is None else [str(name) for name in passport.classes]
        self.metrics, self.together = Metrics(passport), Together(self.answer)
        self.log = Writer(logs, "predictions", params.serve.log, self.metrics.lost.inc)
        self.truths = Writer(logs, "feedback", params.serve.log, self.metrics.lost.inc)
        self.boot, self.count = os.urandom(6).hex(), itertools.count()
        self.encode = msgspec.json.Encoder().encode
        self.version = self.identity()
        self.routes: dict[str, tuple[str, Callable[[Scope, bytes], Awaitable[Reply]]]] = {
            "/predict": ("POST", self.predict),
            "/feedback": ("POST", self.feedback),
            "/live": ("GET", self.live),
            "/ready": ("GET", self.ready),
            "/version": ("GET", self.live),
            "/metrics": ("GET", self.scrape),
        }
        self.is_ready = False

    def identity(self) -> dict[str, Any]:
        """What /version says: promise three, and since when."""
        told = ("model", "commit", "dvc_lock", "data", "verdict", "engine", "reason", "difference", "versions")
        started = datetime.now(UTC).isoformat(timespec="seconds")
        return {name: getattr(self.passport, name) for name in told} | {"started": started}

    def answer(self, rows: list[Row]) -> list[tuple[Any, dict[str, float] | None]]:
        """Prediction and probabilities of each row."""
        predictions, chances = self.predictor(self.rows.frame(rows))
        if chances is None or self.names is None:
            return [(value, None) for value in predictions.tolist()]
        names = self.names
        return [
            (value, dict(zip(names, part, strict=True)))
            for value, part in zip(predictions.tolist(), chances.tolist(), strict=True)
        ]

    def prove(self) -> None:
        """Answer the passport's rows once; another answer than the pipeline's is a `UserError`."""
        rows, _, _ = self.rows.decode(msgspec.json.encode(self.passport.rows))
        for (value, chances), right in zip(self.answer(rows), self.passport.answers, strict=True):
            pairs = [(value, right["prediction"])] if chances is None else list(
                zip(chances.values(), right["probabilities"].values(), strict=True)
            )
            if any(abs(mine - theirs) > 1e-5 * max(1, abs(theirs)) for mine, theirs in pairs):
                raise UserError("refusing to start: the model answers its own rows differently here than where it was made")
        self.is_ready = True

    async def predict(self, scope: Scope, body: bytes) -> Reply:
        """Answer one row or a list of them."""
        rows, many, flags = self.rows.decode(body)
        if len(rows) > self.rules.rows:
            raise Refused(f"{len(rows):,} rows; send at most {self.rules.rows:,} at a time, or use batch scoring", 413)
        found = await (self.together.ask(rows) if len(rows) <= SMALL else asyncio.to_thread(self.answer, rows))
        model, now = self.passport.model, datetime.now(UTC)
        readings = []
        for place, (row, (value, chances)) in enumerate(zip(rows, found, strict=True)):
            name = f"{self.boot}{next(self.count):x}"
            marks = flags[place] or None if flags else None
            readings.append(Reading(name, value, model, chances, marks))
            about = {"id": name, "time": now, "model": model, "prediction": value, "flags": marks}
            about |= {f"p_{key}": chance for key, chance in (chances or {}).items()}
            self.log.append(about, row)
            self.metrics.scores.observe(value if chances is None else list(chances.values())[-1])
        self.metrics.rows.inc(len(rows))
        for column in itertools.chain.from_iterable(flags or ()):
            self.metrics.flags.labels(column).inc()
        return 200, JSON, self.encode(readings if many else readings[0])

    async def feedback(self, scope: Scope, body: bytes) -> Reply:
        """Take the truth of an answer given earlier; it is joined by its id when monitoring reads the log."""
        try:
            found = msgspec.json.decode(body, type=Truth | list[Truth])
        except msgspec.ValidationError as problem:
            raise Refused(str(problem)) from None
        truths = found if isinstance(found, list) else [found]
        now = datetime.now(UTC)
        for one in truths:
            self.truths.append({"id": one.id, "truth": one.truth, "time": now})
        return 202, JSON, self.encode({"taken": len(truths)})

    async def live(self, scope: Scope, body: bytes) -> Reply:
        """Who answers; that it answers at all is the news."""
        return 200, JSON, self.encode(self.version)

    async def ready(self, scope: Scope, body: bytes) -> Reply:
        """Whether it has answered its own rows correctly and is not stopping."""
        return (200 if self.is_ready else 503), JSON, self.encode({"ready": self.is_ready})

    async def scrape(self, scope: Scope, body: bytes) -> Reply:
        """The numbers for Prometheus."""
        return 200, b"text/plain; version=0.0.4; charset=utf-8", generate_latest(self.metrics.registry)

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The body, when it is JSON, not too long and not too slow."""
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != JSON:
            raise Refused("send Content-Type: application/json", 415)
        most = int(self.rules.megabytes * 2**20)
        if int(headers.get(b"content-length", b"0")) > most:
            raise Refused(f"a body may have {self.rules.megabytes} MB", 413)
        body, more = b"", True
        try:
            async with asyncio.timeout(self.rules.seconds):
                while more and len(body) <= most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused("the client left", 499)
                    body, more = body + message.get("body", b""), message.get("more_body", False)
        except TimeoutError:
            raise Refused(f"the body took more than {self.rules.seconds} s", 408) from None
        if len(body) > most:
            raise Refused(f"a body may have {self.rules.megabytes} MB", 413)
        return body

    async def reply(self, scope: Scope, receive: Receive) -> Reply:
        """The reply to any request, the bad ones included."""
        method, handle = self.routes.get(scope["path"], ("", None))
        try:
            if handle is None:
                raise Refused("there is no such page; see /docs", 404)
            if scope["method"] != method:
                raise Refused(f"use {method}", 405)
            return await handle(scope, await self.read(scope, receive) if method == "POST" else b"")
        except Refused as problem:
            self.metrics.errors.labels(f"{problem.status}").inc()
            said = {"error": str(problem), "field": problem.field, "row": problem.row}
            return problem.status, JSON, self.encode({k: v for k, v in said.items() if v is not None})
        except Exception:
            logging.exception("a request failed")
            self.metrics.errors.labels("500").inc()
            return 500, JSON, b'{"error":"the service failed; its log says why"}'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            return await self.live_and_stop(receive, send)
        start = time.perf_counter()
        status, kind, body = await self.reply(scope, receive)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        path = scope["path"] if scope["path"] in self.routes else "other"
        self.metrics.requests.labels(path, status).inc()
        self.metrics.seconds.labels(path).observe(time.perf_counter() - start)

    async def live_and_stop(self, receive: Receive, send: Send) -> None:
        """Start when the server does; when it stops, write what the log still holds."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.is_ready = False
        await asyncio.to_thread(self.log.close)
        await asyncio.to_thread(self.truths.close)
        await send({"type": "lifespan.shutdown.complete"})


def load_service(logs: Path) -> Service:
    """The service around the model in this folder, after it proved itself."""
    params = load_params()
    service = Service(params, current(params), logs)
    service.prove()
    gc.collect()
    gc.freeze()  # what start-up made stays: the collector need not look at it again
    return service


def main(bind: str = "127.0.0.1:8000", logs: str = "logs", check: bool = False) -> int:
    """Answer on BIND (host:port), log to the folder LOGS; with --check only prove that it could."""
    import uvicorn

    host, _, port = bind.rpartition(":")
    service = load_service(Path(logs))
    if check:
        return 0
    print(f"{'serve':<10}{service.passport.model[:12]} by {service.passport.engine} on http://{bind} (see /docs)", flush=True)
    uvicorn.run(service, host=host, port=int(port), access_log=False, log_level="warning", timeout_graceful_shutdown=20)
    return 0
