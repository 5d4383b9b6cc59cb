"""GitHub's REST API with the standard library alone: bounded patience, and a sentence where a token may not."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from modelyard.core.console import print_line

MAX_ATTEMPTS = 4
MAX_WAIT_SECONDS = 60.0  # seconds, of one wait
PAGE_SIZE = 100
BINARY_CONTENT_TYPE = "application/octet-stream"
T = TypeVar("T")


class ApiError(Exception):
    """GitHub said no: the status, its own words, and what a person can do about it."""

    def __init__(self, status: int, call: str, words: str) -> None:
        self.status = status
        cure = {
            401: "set GITHUB_TOKEN to a token that is valid",
            403: "give the job that right under `permissions:`, or ask an owner to allow it",
            404: "check that it exists and that the token may read it",
        }.get(status, "GitHub's answer says why")
        super().__init__(f"GitHub refused {call} with {status} ({words}); {cure}")


class ServiceUnavailableError(Exception):
    """GitHub cannot answer now; `after` is how long it asks to wait, in seconds, if it said so."""

    def __init__(self, sentence: str, after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_seconds = after


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that GitHub asks to wait."""
    if (after := headers.get("retry-after", "")).isdigit():
        return float(after)
    reset = headers.get("x-ratelimit-reset", "") if headers.get("x-ratelimit-remaining") == "0" else ""
    return max(0.0, float(reset) - time.time()) if reset.isdigit() else None


def retry_while_unavailable(operation: Callable[[], T]) -> T:
    """Try a whole operation again while GitHub is unavailable; it must look before it creates."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return operation()
        except ServiceUnavailableError as problem:
            pause = 2.0**attempt / 2 if problem.retry_after_seconds is None else problem.retry_after_seconds
            if attempt == MAX_ATTEMPTS or pause > MAX_WAIT_SECONDS:
                raise
            print_line(f"{problem}; trying again in {pause:.0f} s")
            time.sleep(pause)
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class GitHubClient:
    """One repository, as one token sees it."""

    repository: str
    token: str
    url: str = "https://api.github.com"

    @classmethod
    def from_environment(cls) -> "GitHubClient":
        """The repository, token and address that GitHub Actions sets."""
        url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
        return cls(os.environ.get("GITHUB_REPOSITORY", ""), os.environ.get("GITHUB_TOKEN", ""), url)

    @property
    def owner(self) -> str:
        """The account that the repository belongs to."""
        return self.repository.partition("/")[0]

    def call(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        """One call on the repository, or on a full address that GitHub gave; its JSON answer, or its bytes."""
        url = path if path.startswith(("https:", "http:")) else f"{self.url}/repos/{self.repository}{path}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {
            "User-Agent": "mlops-post",
            "X-GitHub-Api-Version": "2022-11-28",
            "Content-Type": BINARY_CONTENT_TYPE if isinstance(body, bytes) else "application/json",
            "Accept": BINARY_CONTENT_TYPE if raw else "application/vnd.github+json",
        }
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(url, data, headers, method=method)
        call = f"{method} {path.partition('?')[0]}"
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise self.build_error(error, call) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailableError(f"GitHub does not answer {call} ({error})") from None
        return content if raw else json.loads(content or b"null")

    @staticmethod
    def build_error(error: urllib.error.HTTPError, call: str) -> ApiError | ServiceUnavailableError:
        """What an HTTP error means: GitHub's own faults and its rate limits pass by waiting, nothing else does."""
        headers = {key.lower(): value for key, value in error.headers.items()}
        try:
            answer = json.loads(error.read())
            words = " · ".join([answer["message"], *(e["message"] for e in answer.get("errors", []))])
        except (ValueError, KeyError, TypeError):
            words = str(error.reason)
        limited = "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0"
        if error.code >= 500 or error.code == 429 or (error.code == 403 and limited):
            return ServiceUnavailableError(
                f"GitHub answers {call} with {error.code} ({words})", parse_retry_after(headers)
            )
        return ApiError(error.code, call, words)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Every row of a list, over all its pages."""
        sign = "&" if "?" in path else "?"
        for number in range(1, 101):
            rows = self.call("GET", f"{path}{sign}per_page={PAGE_SIZE}&page={number}")
            yield from rows
            if len(rows) < PAGE_SIZE:
                return

    def find(self, path: str) -> Any:
        """What is at a path, or None."""
        try:
            return self.call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
