"""The harness itself: what it pretends must be what GitHub does."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.template.actlab import workflows
from tests.template.actlab.fakegithub import FakeGitHub
from tests.template.actlab.lab import GitHub, git

PIN = "0" * 40
Make = Callable[..., GitHub]

CACHES = f"""
name: CI
on: [push, pull_request]
permissions: {{}}
jobs:
  job:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@{PIN}
      - id: cache
        uses: actions/cache/restore@{PIN}
        with: {{path: store, key: "k-${{{{ hashFiles('key') }}}}", restore-keys: k-}}
      - run: mkdir -p store && cat store/* && cp key store/$(cat key) || true
      - uses: actions/cache/save@{PIN}
        with: {{path: store, key: "k-${{{{ hashFiles('key') }}}}"}}
"""

POSTS = """
name: Post
on: [pull_request]
permissions: {}
env: {URL: "${{ github.api_url }}/repos/acme/demo/issues/1/comments"}
jobs:
  read:
    runs-on: ubuntu-latest
    permissions: {contents: read}
    env: {TOKEN: "${{ github.token }}"}
    steps:
      - run: curl -s -o out -w "%{http_code}" -d "{}" -H "Authorization:Bearer $TOKEN" $URL
  write:
    runs-on: ubuntu-latest
    permissions: {pull-requests: write}
    env: {TOKEN: "${{ secrets.GITHUB_TOKEN }}"}
    steps:
      - run: curl -s -o out -w "%{http_code}" -d "{}" -H "Authorization:Bearer $TOKEN" $URL
"""


@pytest.fixture
def repository(tmp_path: Path) -> Make:
    """A bare repository with one workflow on main, and a clone of it in which branches are made."""

    def make(workflow: str, api: FakeGitHub | None = None) -> GitHub:
        clone = tmp_path / "clone"
        (clone / ".github/workflows").mkdir(parents=True)
        (clone / ".github/workflows/ci.yml").write_text(workflow)
        (clone / "key").write_text("one\n")
        git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
        git(clone, "init", "-q", "-b", "main")
        git(clone, "remote", "add", "origin", tmp_path / "origin.git")
        commit(clone, "main", "one\n")
        return GitHub(tmp_path / "origin.git", tmp_path, api)

    return make


def commit(clone: Path, branch: str, text: str) -> None:
    """A commit on a branch that changes the file `key`, pushed."""
    git(clone, "switch", "-qC", branch)
    (clone / "key").write_text(text)
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", text.strip())
    git(clone, "push", "-q", "origin", branch)


@pytest.fixture
def api() -> Iterator[FakeGitHub]:
    """A fake API, running."""
    with FakeGitHub() as fake:
        yield fake


def call(url: str, token: str = "t", data: object = None) -> tuple[int, object]:
    """Status and JSON of one call."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers)


def test_a_pull_request_reads_the_caches_of_main_but_main_never_reads_its(repository: Make, tmp_path: Path) -> None:
    github = repository(CACHES)
    assert "not found" in github.push().job("job").log
    commit(tmp_path / "clone", "branch", "two\n")
    assert "restored from key" in github.pull_request("branch").job("job").log
    git(tmp_path / "clone", "switch", "-q", "main")
    commit(tmp_path / "clone", "main", "two\n")
    again = github.push().job("job")
    assert again.outputs["cache"]["hit"] == "false"  # main's own older entry, not the pull request's


def test_an_entry_of_a_cache_is_never_written_over(repository: Make) -> None:
    github = repository(CACHES)
    github.push()
    assert "the key exists" in github.push().job("job").annotations[0]["message"]


def test_every_job_has_a_token_of_its_own_and_only_its_rights(repository: Make, api: FakeGitHub) -> None:
    run = repository(POSTS, api).pull_request("main")
    assert "403" in run.job("read").log and "201" in run.job("write").log
    assert run.tokens["token:ci/write"] == {"pull-requests": "write"}
    assert len(api.rows("/repos/acme/demo/issues/1/comments")) == 1


def test_a_fork_may_only_read(repository: Make, api: FakeGitHub) -> None:
    run = repository(POSTS, api).pull_request("main", fork="mallory/demo")
    assert "403" in run.job("write").log and not api.rows("/repos/acme/demo/issues/1/comments")


def test_a_pull_request_in_conflict_starts_nothing(repository: Make, tmp_path: Path) -> None:
    github = repository(CACHES)
    commit(tmp_path / "clone", "branch", "two\n")
    git(tmp_path / "clone", "switch", "-q", "main")
    commit(tmp_path / "clone", "main", "three\n")
    assert not github.pull_request("branch").jobs


def test_an_action_without_a_double_is_an_error(repository: Make) -> None:
    with pytest.raises(LookupError, match="no double for"):
        repository(CACHES.replace("actions/checkout", "someone/else")).push()


def test_failures_are_answered_as_often_as_asked(api: FakeGitHub) -> None:
    api.fail(429, "/issues", times=1, headers={"Retry-After": "1"})
    status, headers = call(f"{api.url}/repos/a/b/issues")
    assert status == 429 and isinstance(headers, dict) and headers["Retry-After"] == "1"
    assert call(f"{api.url}/repos/a/b/issues") == (200, [])


def test_an_api_that_is_down_closes_the_connection(api: FakeGitHub) -> None:
    api.down = True
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        call(f"{api.url}/repos/a/b")


def test_a_list_comes_in_pages(api: FakeGitHub) -> None:
    for number in range(5):
        api.new("/repos/a/b/issues/1/comments", body=str(number))
    _, page = call(f"{api.url}/repos/a/b/issues/1/comments?per_page=2&page=3")
    assert isinstance(page, list) and [row["body"] for row in page] == ["4"]


def test_no_token_may_change_nothing(api: FakeGitHub) -> None:
    assert call(f"{api.url}/repos/a/b/issues", token="", data={"title": "x"})[0] == 401


@pytest.mark.parametrize(
    ("on", "event", "starts"),
    [
        ("push", "push", True),
        (["push"], "pull_request", False),
        ({"push": {"branches": ["main"]}}, "push", True),
        ({"push": {"branches": ["release/**"]}}, "push", False),
        ({"push": {"paths": ["data/**"]}}, "push", True),
        ({"push": {"paths": ["src/*"]}}, "push", False),
        ({"push": {"paths-ignore": ["**.md", "data/**"]}}, "push", False),
    ],
)
def test_on_decides_what_an_event_starts(on: object, event: str, starts: bool) -> None:
    workflow = {"on": on}
    assert workflows.triggered(workflow, event, {}, "refs/heads/main", ["data/raw/x.csv"]) is starts
