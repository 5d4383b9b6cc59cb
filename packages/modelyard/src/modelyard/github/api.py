"""A client of GitHub's REST API that waits while GitHub is unavailable, with the standard library alone."""

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
from modelyard.core.errors import UserError

API_URL = "https://api.github.com"
API_VERSION = "2022-11-28"
MAX_ATTEMPTS = 4
MAX_WAIT_SECONDS = 60.0  # of one wait
MAX_PAGES = 100
PAGE_SIZE = 100
BINARY_CONTENT_TYPE = "application/octet-stream"
CURES = {
    401: "set GITHUB_TOKEN to a token that is valid",
    403: "give the job that right under `permissions:`, or ask an owner to allow it",
    404: "check that it exists and that the token may read it",
}
T = TypeVar("T")


class ApiError(UserError):
    """GitHub refused a request.

    Parameters
    ----------
    status
        The HTTP status.
    call
        The method and path of the request.
    message
        GitHub's own message.
    """

    def __init__(self, status: int, call: str, message: str) -> None:
        cure = CURES.get(status, "GitHub's message says why")
        super().__init__(f"GitHub refused {call} with {status} ({message}); {cure}")
        self.status = status


class ServiceUnavailableError(UserError):
    """A service cannot answer now; trying again later may help.

    Parameters
    ----------
    sentence
        What does not answer.
    retry_after_seconds
        How long the service asks to wait, if it says so.
    """

    def __init__(self, sentence: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_seconds = retry_after_seconds


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that GitHub asks to wait, or None where it does not say.

    Parameters
    ----------
    headers
        The headers of a response, their names in lower case.
    """
    after = headers.get("retry-after", "")
    if after.isdigit():
        return float(after)
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(0.0, float(reset) - time.time())
    return None


def retry_while_unavailable(operation: Callable[[], T]) -> T:
    """Run an operation, and run it again while the service is unavailable.

    Parameters
    ----------
    operation
        What to run. It runs from its beginning each time, so it must look before it creates.

    Returns
    -------
    T
        What the operation returns.

    Raises
    ------
    ServiceUnavailableError
        If the service is still unavailable after four attempts, or asks to wait longer than a minute.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return operation()
        except ServiceUnavailableError as problem:
            pause = problem.retry_after_seconds
            if pause is None:
                pause = 2.0 ** (attempt - 1)
            if attempt == MAX_ATTEMPTS or pause > MAX_WAIT_SECONDS:
                raise
            print_line(f"{problem}; trying again in {pause:.0f} s")
            time.sleep(pause)
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class GitHubClient:
    """One repository as one token sees it.

    Attributes
    ----------
    repository
        Owner and name, such as `acme/flights`.
    token
        The token, or an empty text.
    url
        The address of the API.
    """

    repository: str
    token: str
    url: str = API_URL

    @classmethod
    def from_environment(cls) -> "GitHubClient":
        """Return the client for the repository, token and address that GitHub Actions sets."""
        url = os.environ.get("GITHUB_API_URL") or API_URL
        return cls(os.environ.get("GITHUB_REPOSITORY", ""), os.environ.get("GITHUB_TOKEN", ""), url)

    @property
    def owner(self) -> str:
        """The account that the repository belongs to."""
        return self.repository.partition("/")[0]

    def request(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        """Send one request.

        Parameters
        ----------
        method
            The HTTP method.
        path
            A path below the repository, or a full address that GitHub gave.
        body
            Bytes, or a value that is sent as JSON.
        raw
            Whether to return the response's bytes instead of its JSON.

        Returns
        -------
        Any
            The JSON value, or the bytes.

        Raises
        ------
        ApiError
            If GitHub refuses.
        ServiceUnavailableError
            If GitHub does not answer, fails, or limits the rate.
        """
        call = f"{method} {path.partition('?')[0]}"
        try:
            with urllib.request.urlopen(self.build_request(method, path, body, raw), timeout=30) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            raise translate_http_error(error, call) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailableError(f"GitHub does not answer {call} ({error})") from None
        return content if raw else json.loads(content or b"null")

    def build_request(self, method: str, path: str, body: Any, raw: bool) -> urllib.request.Request:
        """Return the HTTP request with its address, headers and content."""
        is_address = path.startswith(("https:", "http:"))
        url = path if is_address else f"{self.url}/repos/{self.repository}{path}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {
            "User-Agent": "modelyard",
            "X-GitHub-Api-Version": API_VERSION,
            "Content-Type": BINARY_CONTENT_TYPE if isinstance(body, bytes) else "application/json",
            "Accept": BINARY_CONTENT_TYPE if raw else "application/vnd.github+json",
        }
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return urllib.request.Request(url, data, headers, method=method)

    def iterate_rows(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield every row of a list, over all its pages."""
        sign = "&" if "?" in path else "?"
        for number in range(1, MAX_PAGES + 1):
            rows = self.request("GET", f"{path}{sign}per_page={PAGE_SIZE}&page={number}")
            yield from rows
            if len(rows) < PAGE_SIZE:
                return

    def get_or_none(self, path: str) -> Any:
        """Return what is at a path, or None where there is nothing."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise


def translate_http_error(error: urllib.error.HTTPError, call: str) -> ApiError | ServiceUnavailableError:
    """Return the exception for an HTTP error: waiting helps against GitHub's faults and rate limits, nothing else."""
    headers = {key.lower(): value for key, value in error.headers.items()}
    message = read_error_message(error)
    is_limited = "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0"
    if error.code >= 500 or error.code == 429 or (error.code == 403 and is_limited):
        sentence = f"GitHub answers {call} with {error.code} ({message})"
        return ServiceUnavailableError(sentence, parse_retry_after(headers))
    return ApiError(error.code, call, message)


def read_error_message(error: urllib.error.HTTPError) -> str:
    """Return GitHub's message with those of its details, or the HTTP reason where the response holds none."""
    try:
        content = json.loads(error.read())
        messages = [content["message"], *(detail["message"] for detail in content.get("errors", []))]
        return " · ".join(messages)
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
