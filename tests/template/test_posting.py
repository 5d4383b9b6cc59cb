"""Posting over HTTP, against an API that refuses, limits, breaks, and says what a token may not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.template.actlab.fakegithub import FakeGitHub
from tests.template.support import Bake, run

REPOSITORY = "/repos/acme/flights"
VERDICT = {
    "version": 1,
    "verdict": "better",
    "decision": "pass",
    "unattended": "open",
    "sentence": "Better than the champion.",
    "champion": {"model": "a" * 64},
    "candidate": {"model": "b" * 64},
}
Post = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    clone = tmp_path / "clone"
    run("git", "init", "--quiet", "--initial-branch", "main", clone, cwd=tmp_path)
    (clone / "dvc.lock").write_text("stages: {}\n")
    run("git", "add", "--all", cwd=clone)
    run("git", "commit", "--quiet", "--message", "start", cwd=clone)
    run("git", "clone", "--quiet", "--bare", clone, tmp_path / "origin.git", cwd=tmp_path)
    return tmp_path / "origin.git"


@pytest.fixture
def api(origin: Path) -> Iterator[FakeGitHub]:
    with FakeGitHub(origin) as fake:
        yield fake


@pytest.fixture
def post(bake: Bake, tmp_path: Path, origin: Path, api: FakeGitHub) -> Post:
    """Runs the posting command as the posting job does: nothing installed, values in variables."""
    found = tmp_path / "run"
    (found / "reports").mkdir(parents=True)
    (found / "reports/verdict.json").write_text(json.dumps(VERDICT))
    (found / "reports/report.md").write_text("# Better\n")
    (tmp_path / "pyproject.toml").write_text(bake().read("pyproject.toml"))
    (found / "dvc.lock").write_text("stages: {train: {}}\n")
    sha = run("git", "rev-parse", "main", cwd=origin).strip()

    def inner(what: str, command: str = "post", **env: str) -> "subprocess.CompletedProcess[str]":
        settings = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(bake().path / "packages/modelyard/src"),
            "PYTHONDONTWRITEBYTECODE": "1",  # the rendered project is shared
            "GITHUB_API_URL": api.url,
            "GITHUB_REPOSITORY": "acme/flights",
            "GITHUB_TOKEN": "token",
            "MODELYARD_WHAT": what,
            "MODELYARD_FOLDER": str(found),
            "MODELYARD_NUMBER": "7",
            "MODELYARD_SHA": sha,
            "MODELYARD_BRANCH": "retrain",
        }
        words = [sys.executable, "-S", "-m", "modelyard", command]
        return subprocess.run(words, env=settings | env, cwd=tmp_path, capture_output=True, text=True, check=False)

    return inner


def comments(api: FakeGitHub) -> list[str]:
    return [row["body"] for row in api.rows(f"{REPOSITORY}/issues/7/comments")]


def test_comment_and_status_in_one_go(post: Post, api: FakeGitHub) -> None:
    assert post("comment status").returncode == 0
    assert len(comments(api)) == 1 and len(api.posted("/comments")) == 1
    assert [call["path"] for call in api.calls if "statuses" in call["path"]]


def test_comment_twice_is_one_comment(post: Post, api: FakeGitHub) -> None:
    post("comment")
    post("comment", MODELYARD_SHA="d" * 40)
    assert len(comments(api)) == 1 and "d" * 12 in comments(api)[0]


def test_comment_is_found_behind_a_hundred_others(post: Post, api: FakeGitHub) -> None:
    for number in range(150):
        api.new(f"{REPOSITORY}/issues/7/comments", body=str(number), user={"login": "octocat"})
    post("comment")
    post("comment")
    assert len(comments(api)) == 151


@pytest.mark.parametrize("status", [500, 502, 429])
def test_comment_arrives_once_after_a_fault(post: Post, api: FakeGitHub, status: int) -> None:
    api.fail(status, "/comments", method="POST", headers={"Retry-After": "1"})
    done = post("comment")
    assert done.returncode == 0 and len(comments(api)) == 1
    assert "trying again in 1 s" in done.stdout


def test_rate_limit_that_lasts_too_long_is_not_waited_for(post: Post, api: FakeGitHub) -> None:
    api.fail(403, "/comments", times=9, headers={"Retry-After": "3600"})
    done = post("comment")
    assert done.returncode == 1 and "::error title=Not posted (comment)" in done.stdout


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_refusal_is_one_sentence_and_the_rest_goes_on(post: Post, api: FakeGitHub, status: int) -> None:
    api.fail(status, "/comments", times=9)
    done = post("comment status")
    assert done.returncode == 1 and f"with {status} (made to fail)" in done.stdout
    assert len([call for call in api.calls if "/statuses/" in call["path"]]) == 1


def test_api_that_is_down_is_said_so(post: Post, api: FakeGitHub) -> None:
    api.down = True
    done = post("status")
    assert done.returncode == 1 and "GitHub does not answer" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_a_token_nothing_is_tried(post: Post, api: FakeGitHub) -> None:
    done = post("comment status", GITHUB_TOKEN="")
    assert done.returncode == 0 and not api.calls and "::warning" in done.stdout


def test_pull_makes_branch_commit_and_pull_request_and_keeps_them(post: Post, api: FakeGitHub, origin: Path) -> None:
    assert post("pull dispatch").returncode == 0
    first = run("git", "rev-parse", "retrain", cwd=origin)
    assert "train" in run("git", "show", "retrain:dvc.lock", cwd=origin)
    assert post("pull").returncode == 0
    assert run("git", "rev-parse", "retrain", cwd=origin) == first
    assert len(api.rows(f"{REPOSITORY}/pulls")) == 1
    assert api.posted("/pull-request.yml/dispatches") == [{"ref": "retrain"}]


def test_issue_is_one_until_it_is_closed(post: Post, api: FakeGitHub) -> None:
    for what in ("issue", "issue", "close", "issue"):
        assert post(what).returncode == 0
    assert [row["state"] for row in api.rows(f"{REPOSITORY}/issues")] == ["closed", "open"]


def test_release_keeps_the_promoted_model_once(post: Post, api: FakeGitHub, tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "deploy").mkdir()
    (tmp_path / "run/model.skops").write_bytes(b"model")
    (tmp_path / "run/rows.npy").write_bytes(b"rows")
    digest = hashlib.sha256(b"model").hexdigest()
    champion = f"champion: {{model: {digest}, commit: abc, image: null}}\n"
    (tmp_path / "deploy/production.yaml").write_text(f"# a comment\n{champion}candidate: null\n")
    assert [post("", command="release").returncode for _ in "12"] == [0, 0]
    (release,) = api.rows(f"{REPOSITORY}/releases")
    assert release["tag_name"] == f"model-{digest}"
    assert len(api.rows(f"{REPOSITORY}/releases/{release['id']}/assets")) == 2


def test_release_of_another_model_than_the_promoted_is_not_made_whole(
    post: Post, api: FakeGitHub, tmp_path: Path
) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "run/model.skops").write_bytes(b"another")
    (tmp_path / "run/rows.npy").write_bytes(b"rows")
    (tmp_path / "deploy/production.yaml").write_text(f"champion:\n  model: {'a' * 64}\n")
    assert "nothing was kept" in post("", command="release").stdout
    assert not api.posted("/releases")
