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
from prometheus_client import generate_latest

from . import pages
from .compile import current
from .config import Params, UserError, load_params
from .counters import Counters
from .log import Writer
from .predictor import SMALL, Answer, Passport, load_predictor
from .rows import Refused, Row, Rows
from .shadow import Shadow

Scope = dict[str, Any]
Headers = dict[bytes, bytes]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Reply = tuple[int, bytes, bytes]  # status, content type, body
Said = tuple[Any, dict[str, float] | None]  # prediction, probabilities

JSON = b"application/json"
VERSION = ("model", "commit", "dvc_lock", "data", "verdict", "engine", "light", "reason", "difference", "versions")


class Reading(msgspec.Struct, omit_defaults=True):
    """The answer to one row."""

    id: str
    prediction: Any
    model: str
    probabilities: dict[str, float] | None = None
    flags: list[str] | None = None


class Truth(msgspec.Struct, forbid_unknown_fields=True):
    """What came true, by the id of the answer."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    truth: str | int | float | bool


class Together:
    """Rows of requests that arrive together are answered together: 16 rows cost hardly more than one."""

    def __init__(self, answer: Callable[[list[Row]], list[Said]]) -> None:
        self.answer = answer
        self.waiting: list[tuple[list[Row], asyncio.Future[list[Said]]]] = []

    def ask(self, rows: list[Row]) -> "asyncio.Future[list[Said]]":
        """The answers to these rows, given in the event loop's next round."""
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self.flush)
        future: asyncio.Future[list[Said]] = loop.create_future()
        self.waiting.append((rows, future))
        return future

    def flush(self) -> None:
        """Answer all that wait; where that fails, each by itself: nobody fails for another's row."""
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
        self.counters, self.together = Counters(passport.quantiles), Together(self.answer)
        kinds = ("predictions", "feedback", "shadow")
        self.logs = {kind: Writer(logs, kind, params.serve.log, self.counters.lost.inc) for kind in kinds}
        self.shadow = Shadow(os.environ.get("SHADOW", ""), self.logs["shadow"], self.counters)
        self.boot, self.count, self.encode = os.urandom(6).hex(), itertools.count(), msgspec.json.Encoder().encode
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self.version = self.encode({name: getattr(passport, name) for name in VERSION} | {"started": started})
        spec = pages.openapi(self.rows.type, Reading, Truth, passport)
        fixed = {"/version": (JSON, self.version), "/live": (JSON, b'{"live":true}')}
        fixed |= {"/openapi.json": (JSON, self.encode(spec)), "/docs": (b"text/html; charset=utf-8", pages.page(spec))}
        self.fixed = {path: (200, kind, body) for path, (kind, body) in fixed.items()}
        self.posts = {"/predict": self.predict, "/feedback": self.feedback}
        self.is_ready = False

    def answer(self, rows: list[Row]) -> list[Said]:
        """Prediction and probabilities of each row."""
        predictions, chances = self.light(rows) if self.passport.light else self.predictor(self.rows.frame(rows))
        if chances is None or self.names is None:
            return [(value, None) for value in predictions.tolist()]
        said = zip(predictions.tolist(), chances.tolist(), strict=True)
        return [(value, dict(zip(self.names, part, strict=True))) for value, part in said]

    def light(self, rows: list[Row]) -> Answer:
        """The answers by way of the light table; should features() fail on that, by way of pandas."""
        try:
            return self.predictor(self.rows.table(rows))
        except Exception:
            return self.predictor(self.rows.frame(rows))

    def prove(self) -> None:
        """Answer the passport's rows; other answers than the pipeline's are a `UserError`."""
        rows, _, _ = self.rows.decode(self.encode(self.passport.rows))
        for (value, chances), right in zip(self.answer(rows), self.passport.answers, strict=True):
            theirs = right.get("probabilities") or {"": right["prediction"]}
            mine = chances or {"": value}
            if any(abs(mine[name] - number) > 1e-5 * max(1, abs(number)) for name, number in theirs.items()):
                raise UserError(
                    "refusing to start: the model answers its own rows otherwise here than where it was made"
                )
        self.is_ready = True

    async def predict(self, headers: Headers, body: bytes) -> Reply:
        """Answer one row, or a list of them."""
        rows, many, flags = self.rows.decode(body)
        if len(rows) > self.rules.rows:
            raise Refused(f"{len(rows):,} rows; send at most {self.rules.rows:,}, or score them as a file", 413)
        if not rows:
            return 200, JSON, b"[]"
        found = await (self.together.ask(rows) if len(rows) <= SMALL else asyncio.to_thread(self.answer, rows))
        readings = self.note(rows, found, flags, b"x-shadow" in headers)
        if b"x-mirror" in headers:
            self.shadow.send(body, readings)
        return 200, JSON, self.encode(readings if many else readings[0])

    def note(self, rows: list[Row], found: list[Said], flags: list[list[str]] | None, shadow: bool) -> list[Reading]:
        """The answers with their ids, logged and counted; what is answered as a shadow is logged by who asked."""
        model, now, readings = self.passport.model, datetime.now(UTC), []
        for place, (row, (value, chances)) in enumerate(zip(rows, found, strict=True)):
            marks = (flags[place] or None) if flags else None
            reading = Reading(f"{self.boot}{next(self.count):x}", value, model, chances, marks)
            readings.append(reading)
            if not shadow:
                about = {"id": reading.id, "time": now, "model": model, "prediction": value, "flags": marks}
                self.logs["predictions"].append(about, self.rows.logged(row), chances)
        self.counters.answered(
            [v if c is None else c[self.names[-1]] for v, c in found] if self.names else [v for v, _ in found]
        )
        for column in itertools.chain.from_iterable(flags or ()):
            self.counters.flags.labels(column).inc()
        return readings

    async def feedback(self, _: Headers, body: bytes) -> Reply:
        """Take the truth of earlier answers; monitoring joins them by their ids."""
        try:
            found = msgspec.json.decode(body, type=Truth | list[Truth])
        except msgspec.ValidationError as problem:
            raise Refused(str(problem)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise Refused(f"the body is not JSON: {problem}", 400) from None
        truths = found if isinstance(found, list) else [found]
        now = datetime.now(UTC)
        for one in truths:
            self.logs["feedback"].append({"id": one.id, "truth": one.truth, "time": now})
        return 202, JSON, self.encode({"taken": len(truths)})

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """The body, when it is JSON, not too long and not too slow."""
        kind = headers.get(b"content-type", b"")
        if kind != JSON and kind.partition(b";")[0].strip().lower() != JSON:
            raise Refused("send Content-Type: application/json", 415)
        most = int(self.rules.megabytes * 2**20)
        body, more = b"", int(headers.get(b"content-length", b"0")) <= most
        try:
            async with asyncio.timeout(self.rules.seconds):
                while more and len(body) <= most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused("the client left", 499)
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if not more and len(body) <= most:
                        return body
        except TimeoutError:
            raise Refused(f"the body took longer than {self.rules.seconds:g} s", 408) from None
        raise Refused(f"a body may have {self.rules.megabytes:g} MB", 413)

    async def reply(self, scope: Scope, receive: Receive) -> Reply:
        """The reply to any request, bad ones included."""
        path, method = scope["path"], scope["method"]
        try:
            if handle := self.posts.get(path):
                if method != "POST":
                    raise Refused("use POST", 405)
                headers = dict(scope["headers"])
                return await handle(headers, await self.read(headers, receive))
            if path not in self.fixed and path not in ("/ready", "/metrics"):
                raise Refused("there is no such page; see /docs", 404)
            if method not in ("GET", "HEAD"):
                raise Refused("use GET", 405)
            if path == "/metrics":
                return 200, b"text/plain; version=0.0.4; charset=utf-8", generate_latest(self.counters.registry)
            if path == "/ready":
                return (200 if self.is_ready else 503), JSON, self.encode({"ready": self.is_ready})
            return self.fixed[path]
        except Refused as problem:
            self.counters.errors.labels(str(problem.status)).inc()
            said = {"error": str(problem), "field": problem.field, "row": problem.row}
            return problem.status, JSON, self.encode({key: value for key, value in said.items() if value is not None})
        except Exception:
            logging.exception("a request failed")
            self.counters.errors.labels("500").inc()
            return 500, JSON, b'{"error":"the service failed; its log says why"}'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self.live_and_stop(receive, send)
        start = time.perf_counter()
        status, kind, body = await self.reply(scope, receive)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        if status == 405:
            headers.append((b"allow", b"POST" if scope["path"] in self.posts else b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        known = scope["path"] in self.posts or status == 200
        self.counters.request(scope["path"] if known else "other", status, time.perf_counter() - start)

    async def live_and_stop(self, receive: Receive, send: Send) -> None:
        """Start when the server does; when it stops, write what the logs still hold."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.is_ready = False
        for log in self.logs.values():
            await asyncio.to_thread(log.close)
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

    from .wire import Wire

    service = load_service(Path(logs))
    if check:
        return 0
    host, _, port = bind.rpartition(":")
    passport = service.passport
    print(f"{'serve':<10}{passport.model[:12]} by {passport.engine} on http://{bind} (see /docs)", flush=True)
    uvicorn.run(
        service,
        host=host,
        port=int(port),
        http=Wire,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=20,
    )
    return 0
