"""GitHub's REST API on loopback: records calls, holds tokens to their rights, fails when told."""

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .gitdata import BOT, GitData

LISTS = ("issues", "comments", "statuses", "pulls", "labels", "releases", "rulesets", "assets")
# Which right a change needs, by the end of its path; one of several suffices.
RIGHTS = [
    (r"/issues/\d+/comments|/issues/comments/\d+", ("issues", "pull-requests")),
    (r"/issues(/\d+(/labels)?)?|/labels", ("issues",)),
    (r"/pulls(/\d+)?", ("pull-requests",)),
    (r"/statuses/\w+", ("statuses",)),
    (r"/git/.*|/releases.*|/dispatches", ("contents",)),
    (r"/actions/.*", ("actions",)),
    (r"/attestations", ("attestations",)),
]
ADMINISTRATION = ("administration",)  # which no job's token can have
NOT_PERMITTED = "GitHub Actions is not permitted to create or approve pull requests."

Answer = tuple[int, Any]


@dataclass
class Failure:
    """An answer to give instead of the true one, a number of times."""

    status: int
    path: str = ""
    method: str = ""
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "made to fail"

    def fits(self, method: str, path: str) -> bool:
        """Whether this call is to fail now; counts it when it is."""
        hit = self.times > 0 and self.method in ("", method) and bool(re.search(self.path, path))
        self.times -= hit
        return hit


def needed(path: str) -> tuple[str, ...]:
    """The rights of which one is needed for what lies at a path."""
    end = re.sub("^/repos/[^/]+/[^/]+", "", path)
    found = (names for pattern, names in RIGHTS if re.fullmatch(pattern, end))
    return next(found, ADMINISTRATION)


class FakeGitHub:
    """A store of collections: POST makes an object, GET reads, PATCH, PUT and DELETE change one.

    Git objects and branches are real ones in `origin`; `tokens` says what each token may do, and
    a token that is not in it may do everything.
    """

    def __init__(self, origin: Path | None = None) -> None:
        self.origin = origin
        self.calls: list[dict[str, Any]] = []
        self.store: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, dict[str, str]] = {}
        self.failures: list[Failure] = []
        self.down = False
        self._last_id = 0
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "FakeGitHub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fail(self, status: int, path: str = "", **options: Any) -> None:
        """Answer the next matching calls with an error status."""
        self.failures.append(Failure(status, path, **options))

    def new(self, collection: str, **fields: Any) -> dict[str, Any]:
        """Put an object into a collection, for a POST or as a test's starting point."""
        self._last_id += 1
        item = {"id": self._last_id, "state": "open", "user": dict(BOT), **fields}
        if collection.endswith(("/issues", "/pulls")):  # these two share their numbers
            item["number"] = 1 + sum(bool(re.search(r"/(issues|pulls)/\d+$", path)) for path in self.store)
            item["labels"] = [{"name": label} for label in item.get("labels", [])]
        key = f"{collection}/{item.get('number', item['id'])}"
        item["html_url"] = item["url"] = self.url + key
        if collection.endswith("/releases"):
            item["upload_url"] = f"{self.url}{key}/assets{{?name,label}}"
        self.store[key] = item
        return item

    def rows(self, collection: str) -> list[dict[str, Any]]:
        """The objects of a collection, the oldest first."""
        return [item for key, item in self.store.items() if key.rpartition("/")[0] == collection]

    def posted(self, ending: str) -> list[Any]:
        """The bodies of the calls that changed something at a path with this ending."""
        return [c["body"] for c in self.calls if c["method"] != "GET" and c["path"].endswith(ending)]

    def writers(self) -> dict[str, set[str]]:
        """Which token changed which paths."""
        found: dict[str, set[str]] = {}
        for call in self.calls:
            if call["method"] != "GET":
                found.setdefault(call["token"], set()).add(call["path"])
        return found

    def answer(self, method: str, url: str, body: Any, token: str) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers for one call."""
        parts = urlsplit(url)
        path, query = re.sub("^/api/v3", "", parts.path).rstrip("/"), parse_qs(parts.query)
        with self._lock:
            call = {"method": method, "path": path, "query": query, "body": body, "token": token}
            self.calls.append(call)
            for failure in self.failures:
                if failure.fits(method, path):
                    return failure.status, {"message": failure.message}, failure.headers
            refusal = self.refusal(method, path, token)
            status, found = refusal or self.serve(method, path, query, body)
            return status, found, {}

    def refusal(self, method: str, path: str, token: str) -> Answer | None:
        """401 without a token, 403 where the token's rights do not reach, as GitHub says it."""
        if not token:
            return (401, {"message": "Requires authentication"}) if method != "GET" else None
        if method == "GET" or token not in self.tokens:
            return None
        if any(self.tokens[token].get(name) == "write" for name in needed(path)):
            return None
        return 403, {"message": "Resource not accessible by integration"}

    def serve(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        """Do what the call asks for."""
        if "/git/" in path and self.origin:
            return GitData(self.origin).serve(method, path.split("/git/")[1], body)
        comment = re.search(r"/issues(/comments/\d+)$", path)  # its own path does not name its issue
        path = next((p for p in self.store if comment and p.endswith(comment[1])), path)
        if method == "POST":
            if path.endswith("/dispatches"):
                return 204, None
            return 201, self.new(path, **(body if isinstance(body, dict) else {"content": body, **first(query)}))
        if method == "PUT":  # a setting: it is there once it is set
            self.store.setdefault(path, {})
        if path in self.store:
            return self.one(method, path, body)
        return self.read(path, query) if method == "GET" else (404, {"message": "Not Found"})

    def one(self, method: str, path: str, body: Any) -> Answer:
        """Read, change or delete one object."""
        if method == "DELETE":
            self.store.pop(path)
            return 204, None
        self.store[path].update(body or {})
        return 200, self.store[path]

    def read(self, path: str, query: dict[str, list[str]]) -> Answer:
        """A page of a collection, a release by its tag, or the repository itself."""
        name = path.rpartition("/")[2]
        if "/releases/tags/" in path:
            found = [r for r in self.rows(path.split("/tags/")[0]) if r["tag_name"] == name]
            return (200, found[0]) if found else (404, {"message": "Not Found"})
        if name in LISTS:
            return 200, self.page(path, first(query))
        repository = re.fullmatch("/repos/([^/]+)/([^/]+)", path)
        if not repository:
            return 404, {"message": "Not Found"}
        full = f"{repository[1]}/{repository[2]}"
        return 200, {"full_name": full, "default_branch": "main", "owner": {"login": repository[1]}}

    def page(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """The rows of a collection that the query names: labels, state, head, page."""
        labels = set(query.get("labels", "").split(",")) - {""}
        rows = [row for row in self.rows(path) if labels <= {x["name"] for x in row.get("labels", [])}]
        if path.endswith(("/issues", "/pulls")):
            state, head = query.get("state", "open"), query.get("head", "").rpartition(":")[2]
            rows = [row for row in rows if state in ("all", row["state"])]
            rows = [row for row in rows if not head or row.get("head") == head]
        size, number = int(query.get("per_page", 30)), int(query.get("page", 1))
        return rows[size * (number - 1) : size * number]


def first(query: dict[str, list[str]]) -> dict[str, str]:
    """Each parameter's first value."""
    return {key: values[0] for key, values in query.items()}


def handler(fake: FakeGitHub) -> type[BaseHTTPRequestHandler]:
    """The HTTP side: bytes in, bytes out; when down, the connection is closed without a word."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Stay quiet."""

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fake.down:
                self.close_connection = True
                return
            plain = self.headers.get("Content-Type") == "application/octet-stream"
            body = raw if plain else json.loads(raw) if raw else None
            token = (self.headers.get("Authorization") or "").split(" ")[-1]
            status, found, headers = fake.answer(self.command, self.path, body, token)
            wants_bytes = self.headers.get("Accept") == "application/octet-stream"
            self.send_response(status)
            for key, value in {
                "Content-Type": "application/json; charset=utf-8",
                **headers,
            }.items():
                self.send_header(key, value)
            self.end_headers()
            if wants_bytes and isinstance(found, dict) and "content" in found:
                self.wfile.write(found["content"])
            elif found is not None:
                self.wfile.write(json.dumps(found, default=lambda data: f"{len(data)} bytes").encode())

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815

    return Handler
