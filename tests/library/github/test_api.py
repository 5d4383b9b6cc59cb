import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from modelyard.github import api as github_api
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError, retry_while_unavailable


class Server(HTTPServer):
    """Gives the answers that a test queued, and records the requests."""

    answers: list[tuple[int, dict[str, str], Any]]
    asked: list[tuple[str, str]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        status, headers, body = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        found.answers, found.asked = [], []
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def api(server: Server) -> GitHubClient:
    return GitHubClient("acme/flights", "secret", f"http://127.0.0.1:{server.server_port}")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(github_api.time, "sleep", found.append)
    return found


def test_request_names_the_repository_and_the_token(server: Server, api: GitHubClient) -> None:
    server.answers = [(200, {}, {"id": 1})]
    assert api.request("GET", "/issues/1") == {"id": 1}
    assert server.asked == [("/repos/acme/flights/issues/1", "Bearer secret")]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_retry_waits_until_github_is_back(server: Server, api: GitHubClient, pauses: list[float], status: int) -> None:
    server.answers = [(status, {}, {}), (status, {}, {}), (200, {}, [])]
    assert retry_while_unavailable(lambda: api.request("GET", "/issues")) == []
    assert pauses == [1, 2]


def test_retry_waits_as_long_as_github_asks(server: Server, api: GitHubClient, pauses: list[float]) -> None:
    server.answers = [(403, {"Retry-After": "7"}, {}), (200, {}, [])]
    assert retry_while_unavailable(lambda: api.request("GET", "/issues")) == []
    assert pauses == [7]


@pytest.mark.parametrize("after", ["3600", ""])
def test_retry_ends_after_a_minute_or_four_attempts(
    server: Server, api: GitHubClient, pauses: list[float], after: str
) -> None:
    server.answers = [(429, {"Retry-After": after}, {})] * 9
    with pytest.raises(ServiceUnavailableError):
        retry_while_unavailable(lambda: api.request("GET", "/issues"))
    assert sum(pauses) <= 60 and len(server.asked) <= github_api.MAX_ATTEMPTS


def test_refusal_names_the_cure_and_is_not_tried_again(server: Server, api: GitHubClient, pauses: list[float]) -> None:
    server.answers = [(403, {}, {"message": "Resource not accessible by integration"})]
    with pytest.raises(ApiError, match=r"Resource not accessible.*permissions:") as error:
        retry_while_unavailable(lambda: api.request("GET", "/issues"))
    assert error.value.status == 403
    assert pauses == []


def test_no_answer_is_unavailable(pauses: list[float]) -> None:
    with pytest.raises(ServiceUnavailableError, match="does not answer GET /issues"):
        retry_while_unavailable(lambda: GitHubClient("a/b", "t", "http://127.0.0.1:9").request("GET", "/issues"))
    assert len(pauses) == github_api.MAX_ATTEMPTS - 1


def test_rows_come_from_all_pages(server: Server, api: GitHubClient) -> None:
    full = [{"id": number} for number in range(github_api.PAGE_SIZE)]
    server.answers = [(200, {}, full), (200, {}, full[:1])]
    assert len(list(api.iterate_rows("/issues?state=open"))) == github_api.PAGE_SIZE + 1
    assert server.asked[1][0].endswith("state=open&per_page=100&page=2")


def test_get_or_none_of_nothing_is_none(server: Server, api: GitHubClient) -> None:
    server.answers = [(404, {}, {"message": "Not Found"})]
    assert api.get_or_none("/git/ref/heads/none") is None
