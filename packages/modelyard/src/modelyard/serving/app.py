"""The service: an ASGI application that predicts rows, and logs and measures every prediction."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from prometheus_client import generate_latest

from modelyard.core.errors import HookError
from modelyard.core.params import Params
from modelyard.core.predictions import to_probability_column
from modelyard.core.project import Project
from modelyard.inference.bundle import (
    BundleMismatchError,
    ModelBundle,
    PredictionDict,
    compute_max_difference,
    to_response,
)
from modelyard.inference.predictor import load_predictor
from modelyard.inference.request import RequestDecoder, RequestError, Row, build_row_type, decode_body, restore_names
from modelyard.serving import openapi
from modelyard.serving.batching import MicroBatcher
from modelyard.serving.clients import Client, ClientRegistry, make_ids, may_give_feedback
from modelyard.serving.prediction_log import LINE_BYTES, LogWriter, PredictionRecord
from modelyard.serving.shadow import ShadowMirror
from modelyard.serving.telemetry import ServiceMetrics

Scope = dict[str, Any]
Headers = dict[bytes, bytes]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Response = tuple[int, bytes, bytes]  # status, content type, body
JSON_CONTENT_TYPE = b"application/json"
HTML_CONTENT_TYPE = b"text/html; charset=utf-8"
METRICS_CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
TOLERANCE = 1e-5
MICRO_BATCH_ROWS = 256  # a request with more rows is predicted in a thread of its own
LOG_KINDS = ("predictions", "shadow")
PROBABILITY_BYTES = 50  # of one class in a line of the log
FEEDBACK_BYTES = 100  # of a line of feedback, besides what the client sent
MAX_TRUTH_CHARACTERS = 1000
STATUS_HEADERS = {401: (b"www-authenticate", b"Bearer"), 503: (b"retry-after", b"1")}
VERSION_FIELDS = (
    "model",
    "commit",
    "dvc_lock",
    "data",
    "verdict",
    "engine",
    "light",
    "light_reason",
    "reason",
    "difference",
    "versions",
)


class Truth(msgspec.Struct, forbid_unknown_fields=True):
    """The true outcome of one prediction, by the prediction's id."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    truth: Annotated[str, msgspec.Meta(max_length=MAX_TRUTH_CHARACTERS)] | int | float | bool


FEEDBACK_DECODER = msgspec.json.Decoder(Truth | list[Truth])


def strip_parameters(content_type: bytes) -> bytes:
    """Return a content type in lower case, without parameters such as a charset."""
    return content_type.partition(b";")[0].strip().lower()


class Service:
    """The ASGI application of one model.

    Parameters
    ----------
    params
        The parameters; the block `serve` sets the limits.
    bundle
        The model's bundle.
    logs
        The folder of the logs.
    shadow
        host:port of a shadow that gets copies of requests; empty for none.
    is_internal
        Whether clients reach the service only through a proxy that removes X-Mirror and X-Shadow from their requests.
        Elsewhere both are ignored: whoever sends X-Shadow would be answered without a line in the log.
    """

    def __init__(
        self, params: Params, bundle: ModelBundle, logs: Path, shadow: str = "", is_internal: bool = False
    ) -> None:
        self.rules = params.serve
        self.bundle = bundle
        self.decoder = RequestDecoder(params.data, bundle.dtypes, params.serve.outside == "flag")
        self.predictor = load_predictor(bundle)
        self.uses_light_table = bundle.light and params.serve.light_table
        self.metrics = ServiceMetrics(bundle.quantiles)
        self.batcher = MicroBatcher(self.predict_rows)
        self.folder = logs
        self.logs = {kind: LogWriter(logs, kind, self.rules.log, self.metrics.lost_lines.inc) for kind in LOG_KINDS}
        self.shadow = ShadowMirror(shadow, self.logs["shadow"], self.metrics)
        self.clients = ClientRegistry(self.rules)
        self.probability_columns = {str(name): to_probability_column(name) for name in bundle.classes or ()}
        self.is_internal = is_internal
        self.line_bytes = LINE_BYTES + PROBABILITY_BYTES * len(self.probability_columns)
        self.active_requests = 0
        self.encode = msgspec.json.Encoder().encode
        self.static_responses = self.build_static_responses()
        self.post_handlers = {"/predict": self.predict, "/feedback": self.feedback}
        self.is_ready = False

    def build_static_responses(self) -> dict[str, Response]:
        """Return the responses by path that never change."""
        started = datetime.now(UTC).isoformat(timespec="seconds")
        version = {name: getattr(self.bundle, name) for name in VERSION_FIELDS} | {"started": started}
        personal = self.decoder.personal
        example = {name: value for name, value in self.bundle.rows[0].items() if name not in personal}
        row_type = build_row_type(self.decoder.columns, described=True)
        spec = openapi.build_openapi(row_type, PredictionRecord, Truth, self.bundle, example)
        docs = Path(__file__).with_name("docs.html").read_bytes()
        return {
            "/live": self.make_json_response({"live": True}),
            "/version": self.make_json_response(version),
            "/openapi.json": (200, JSON_CONTENT_TYPE, restore_names(self.encode(spec))),
            "/docs": (200, HTML_CONTENT_TYPE, docs),
        }

    def make_json_response(self, value: Any, status: int = 200) -> Response:
        """Return a response whose body is the value as JSON."""
        return status, JSON_CONTENT_TYPE, self.encode(value)

    def predict_rows(self, rows: list[Row]) -> list[PredictionDict]:
        """Return the prediction for each row; if `features()` fails on the light table, pandas is used."""
        if self.uses_light_table:
            try:
                return self.predict_table(self.decoder.to_light_frame(rows), len(rows))
            except Exception:  # features() is the project's own code and may raise anything
                logging.debug("features() failed on the light table", exc_info=True)
                self.metrics.pandas_fallbacks.inc()
        return self.predict_table(self.decoder.to_dataframe(rows), len(rows))

    def predict_table(self, table: Any, count: int) -> list[PredictionDict]:
        """Return the predictions for a table of `count` rows.

        Raises
        ------
        HookError
            `features()` gave fewer or more rows: a batch holds several clients' rows, and nobody may get another's.
        """
        predictions = to_response(self.predictor(table))
        if len(predictions) != count:
            problem = f"returns {len(predictions)} rows for {count}; it must return one row for each row of raw"
            raise HookError(f"src/{Project.load().package}/features.py", "features", problem)
        return predictions

    def self_test(self) -> None:
        """Predict the bundle's rows, and become ready.

        Raises
        ------
        BundleMismatchError
            The predictions are not the pipeline's.
        """
        found = self.predict_rows(self.decoder.decode(self.encode(self.bundle.rows)))
        difference = compute_max_difference(found, self.bundle.answers)
        if not difference <= TOLERANCE:
            problem = f"the predictions for the bundle's own rows differ by {difference:.1e} from those in the bundle"
            raise BundleMismatchError(problem)
        self.is_ready = True

    async def predict(self, client: Client, headers: Headers, body: bytes) -> Response:
        """Return the prediction for one row, or a list of predictions for a list of rows."""
        rows = self.decoder.decode(body)
        self.check_row_count(len(rows))
        if not rows:
            return 200, JSON_CONTENT_TYPE, b"[]"
        flags = self.decoder.find_violations(rows)
        if len(rows) <= MICRO_BATCH_ROWS:
            predictions = await self.batcher.submit(rows)
        else:
            predictions = await asyncio.to_thread(self.predict_rows, rows)
        records = self.make_records(predictions, flags, make_ids(len(rows), client))
        if not (self.is_internal and b"x-shadow" in headers):
            self.log_predictions(rows, records, client.name, self.line_bytes + len(body) // len(rows))
        if self.is_internal and b"x-mirror" in headers:
            self.shadow.send(body, records, headers.get(b"authorization", b""))
        is_list = body.lstrip()[:1] == b"["
        return 200, JSON_CONTENT_TYPE, self.encode(records if is_list else records[0])

    def check_row_count(self, count: int) -> None:
        """Raise a `RequestError` if a request has too many rows."""
        if count > self.rules.rows:
            raise RequestError(f"{count:,} rows; send at most {self.rules.rows:,}, or score them as a file", 413)

    def make_records(
        self, predictions: list[PredictionDict], flags: list[list[str]], ids: list[str]
    ) -> list[PredictionRecord]:
        """Return the predictions with ids and flags, and count them."""
        model = self.bundle.model
        records = []
        for prediction, columns, prediction_id in zip(predictions, flags, ids, strict=True):
            record = PredictionRecord(
                prediction_id,
                prediction["prediction"],
                model,
                prediction.get("probabilities"),
                columns or None,
            )
            records.append(record)
            self.metrics.scores.observe(record.score)
            for column in columns:
                self.metrics.flags.labels(column).inc()
        self.metrics.rows.inc(len(records))
        return records

    def log_predictions(self, rows: list[Row], records: list[PredictionRecord], key: str | None, size: int) -> None:
        """Log the rows, of about `size` bytes each, with their predictions and the name of the key that asked.

        A shadow does not, since the sender logs its predictions.
        """
        now = datetime.now(UTC)
        log = self.logs["predictions"]
        for row, record in zip(rows, records, strict=True):
            line = {"id": record.id, "time": now, "model": record.model, "prediction": record.prediction}
            for name, probability in (record.probabilities or {}).items():
                line[self.probability_columns[name]] = probability
            line["flags"] = record.flags
            if key is not None:
                line["key"] = key
            log.append(line, self.decoder.to_log_row(row), size=size)

    async def feedback(self, client: Client, _: Headers, body: bytes) -> Response:
        """Log true outcomes, all or none of a request; monitoring joins them with the predictions by their ids."""
        truths = decode_body(FEEDBACK_DECODER, body)
        self.check_row_count(len(truths))
        for number, truth in enumerate(truths):
            if not may_give_feedback(client, truth.id):
                raise RequestError("this key did not ask for the prediction with this id", 403, "id", number)
        origin = {"time": datetime.now(UTC)} | ({} if client.name is None else {"key": client.name})
        log = self.get_feedback_log(client)
        size = FEEDBACK_BYTES + len(client.name or "") + len(body) // max(len(truths), 1)
        if not log.has_room(size * len(truths)):
            raise RequestError("the log has no room for more feedback of this key; ask who runs the service", 507)
        if not log.can_queue(len(truths), size):
            raise RequestError("too much feedback at once; try again in a second", 503)
        for truth in truths:
            log.append(truth, origin, size=size)
        return self.make_json_response({"taken": len(truths)}, 202)

    def get_feedback_log(self, client: Client) -> LogWriter:
        """Return the log of a client's feedback, which has its share of the files: a flood takes nobody else's room.

        Nothing is deleted from it, since whoever repeats a truth often enough would else delete older ones.
        """
        kind = self.clients.get_feedback_kind(client)
        if kind not in self.logs:
            rules = self.rules.log
            quota = (rules.files * rules.megabytes << 20) // max(len(self.rules.keys), 1)
            self.logs[kind] = LogWriter(self.folder, kind, rules, self.metrics.lost_lines.inc, quota)
        return self.logs[kind]

    async def read_body(self, headers: Headers, receive: Receive) -> bytes:
        """Return the body of a request.

        Raises
        ------
        RequestError
            The body is not JSON (415), too long (413), too slow (408), or the client left (499).
        """
        content_type = headers.get(b"content-type", b"")
        if content_type != JSON_CONTENT_TYPE and strip_parameters(content_type) != JSON_CONTENT_TYPE:
            raise RequestError("send Content-Type: application/json", 415)
        max_bytes = int(self.rules.megabytes * 2**20)
        if int(headers.get(b"content-length", b"0")) > max_bytes:
            raise RequestError(f"a body may have {self.rules.megabytes:g} MB", 413)
        try:
            async with asyncio.timeout(self.rules.seconds):
                return await self.receive_body(receive, max_bytes)
        except TimeoutError:
            raise RequestError(f"the body took longer than {self.rules.seconds:g} s", 408) from None

    async def receive_body(self, receive: Receive, max_bytes: int) -> bytes:
        """Return the joined parts of a body; a longer one is refused."""
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError("the client left", 499)
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > max_bytes:
                raise RequestError(f"a body may have {self.rules.megabytes:g} MB", 413)
        return body

    async def handle(self, scope: Scope, receive: Receive) -> Response:
        """Return the response to a request, or raise `RequestError`."""
        path = scope["path"]
        if path in self.post_handlers:
            return await self.handle_post(scope, receive)
        if path not in self.static_responses and path not in ("/ready", "/metrics"):
            raise RequestError("there is no such page; see /docs", 404)
        if scope["method"] not in ("GET", "HEAD"):
            raise RequestError("use GET", 405)
        if path == "/metrics":
            return 200, METRICS_CONTENT_TYPE, generate_latest(self.metrics.registry)
        if path == "/ready":
            return self.make_json_response({"ready": self.is_ready}, 200 if self.is_ready else 503)
        return self.static_responses[path]

    async def handle_post(self, scope: Scope, receive: Receive) -> Response:
        """Return the response of /predict or /feedback, if the key is right and not too many requests are active."""
        if scope["method"] != "POST":
            raise RequestError("use POST", 405)
        headers = dict(scope["headers"])
        client = self.clients.find_client(headers.get(b"authorization", b""))
        if client is None:
            raise RequestError("send Authorization: Bearer <key>, with a key that this service knows", 401)
        if self.active_requests >= self.rules.requests:
            raise RequestError("too many requests at once; try again in a second", 503)
        self.active_requests += 1
        try:
            body = await self.read_body(headers, receive)
            return await self.post_handlers[scope["path"]](client, headers, body)
        finally:
            self.active_requests -= 1

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Return the response to any request: a refused or failed one gets a sentence and is counted."""
        try:
            return await self.handle(scope, receive)
        except RequestError as problem:
            status = problem.status
            error = {"error": str(problem), "field": problem.field, "row": problem.row}
        except Exception:
            logging.exception("a request failed")
            status = 500
            error = {"error": "the service failed; its log says why"}
        self.metrics.errors.labels(str(status)).inc()
        return self.make_json_response({key: value for key, value in error.items() if value is not None}, status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or the server's lifespan, as ASGI asks."""
        if scope["type"] != "http":
            return await self.handle_lifespan(receive, send)
        start = time.perf_counter()
        path = scope["path"]
        status, content_type, body = await self.respond(scope, receive)
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        if status == 405:
            headers.append((b"allow", b"POST" if path in self.post_handlers else b"GET, HEAD"))
        elif status in STATUS_HEADERS:
            headers.append(STATUS_HEADERS[status])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        is_known = path in self.post_handlers or status == 200
        requests, seconds = self.metrics.request_metrics(path if is_known else "other", status)
        requests.inc()
        seconds.observe(time.perf_counter() - start)

    async def handle_lifespan(self, receive: Receive, send: Send) -> None:
        """Start when the server starts; when it stops, write all that the logs still hold."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.is_ready = False
        for log in self.logs.values():
            await asyncio.to_thread(log.close)
        await send({"type": "lifespan.shutdown.complete"})
