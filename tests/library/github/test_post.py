import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard.core.errors import OptionError
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError
from modelyard.github.post import GitHubPoster, PostingRefusedError, main, try_action

VERDICT = {
    "version": 1,
    "verdict": "better",
    "decision": "pass",
    "unattended": "open",
    "sentence": "Better than the champion: roc_auc 0.72 against 0.70.",
    "champion": {"model": "a" * 64},
    "candidate": {"model": "b" * 64},
}
BOT = "github-actions[bot]"


@dataclass(frozen=True)
class Memory(GitHubClient):
    """GitHub as a dictionary of what lies at each path."""

    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    things: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)

    def request(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        path = path.partition("?")[0]
        self.calls.append((method, path, body))
        if f"{method} {path}" in self.refused:
            raise ApiError(self.refused[f"{method} {path}"], f"{method} {path}", "no")
        if method == "GET" and path not in self.things and path not in self.lists:
            raise ApiError(404, path, "Not Found")
        if method == "GET":
            return self.things.get(path, self.lists.get(path))
        return {"number": 5, "sha": "new", "id": 1}

    def changes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _ in self.calls if method != "GET"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/verdict.json").write_text(json.dumps(VERDICT))
    (tmp_path / "reports/report.md").write_text("# Better\n\nthanks to @octocat\n")
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    return tmp_path


@pytest.fixture
def api() -> Memory:
    return Memory("acme/flights", "token")


@pytest.fixture
def post(api: Memory, run: Path) -> GitHubPoster:
    return GitHubPoster(api, run, "flights", number="7", sha="c" * 40, branch="retrain")


def own(post: GitHubPoster, **fields: Any) -> dict[str, Any]:
    """A comment or issue that we wrote."""
    return {"id": 3, "number": 3, "user": {"login": BOT}, "body": f"{post.marker}\nold", **fields}


def test_comment_is_made_once(post: GitHubPoster, api: Memory) -> None:
    api.lists["/issues/7/comments"] = []
    post.comment()
    assert api.changes() == [("POST", "/issues/7/comments")]


def test_comment_of_our_own_is_edited(post: GitHubPoster, api: Memory) -> None:
    api.lists["/issues/7/comments"] = [own(post)]
    post.comment()
    assert api.changes() == [("PATCH", "/issues/comments/3")]


@pytest.mark.parametrize("fields", [{"user": {"login": "mallory"}}, {"body": "hello"}, {"body": None}])
def test_comment_of_another_is_left_alone(post: GitHubPoster, api: Memory, fields: dict[str, Any]) -> None:
    api.lists["/issues/7/comments"] = [own(post, **fields)]
    post.comment()
    assert api.changes() == [("POST", "/issues/7/comments")]


def test_body_names_the_commit_and_mentions_nobody(post: GitHubPoster) -> None:
    body = post.build_body()
    assert body.startswith(post.marker) and "cccccccccccc" in body and "@octocat" not in body


def test_body_without_a_report_says_so(post: GitHubPoster) -> None:
    (post.folder / "reports/report.md").unlink()
    assert "could not be judged" in post.build_body()


def test_body_stays_below_the_limit(post: GitHubPoster) -> None:
    (post.folder / "reports/report.md").write_text("| @row |\n" * 20_000)
    assert len(post.build_body("a note")) <= 65_536


@pytest.mark.parametrize(
    ("decision", "state"), [("pass", "success"), ("warn", "success"), ("block", "failure"), ("maybe", "error")]
)
def test_status_says_the_verdict_in_words(post: GitHubPoster, api: Memory, decision: str, state: str) -> None:
    changed = {**VERDICT, "decision": decision, "sentence": "word " * 50}
    (post.folder / "reports/verdict.json").write_text(json.dumps(changed))
    post.status()
    (_, path, body) = api.calls[-1]
    assert path == f"/statuses/{'c' * 40}"
    assert body["state"] == state and len(body["description"]) <= 140


def test_issue_is_opened_once_and_then_updated(post: GitHubPoster, api: Memory) -> None:
    api.lists["/issues"] = []
    assert "opened" in post.issue()
    api.lists["/issues"] = [own(post)]
    assert "now has" in post.issue()
    assert api.changes() == [("POST", "/issues"), ("PATCH", "/issues/3")]


def test_issue_is_closed_when_it_is_over(post: GitHubPoster, api: Memory) -> None:
    api.lists["/issues"] = [own(post)]
    post.close()
    assert api.calls[-1][2]["state"] == "closed"


@pytest.fixture
def git(post: GitHubPoster, api: Memory) -> Memory:
    """A repository in which our tree differs from the base's, and our branch does not exist."""
    api.things[f"/git/commits/{post.sha}"] = {"tree": {"sha": "base"}}
    api.lists.update({"/pulls": [], "/issues": []})
    return api


def branch(git: Memory, author: str = BOT, tree: str = "old") -> None:
    """Let our branch exist."""
    git.things["/git/ref/heads/retrain"] = {"object": {"sha": "head"}}
    commit = {"author": {"name": author}, "tree": {"sha": tree}, "parents": [{"sha": "c" * 40}]}
    git.things["/git/commits/head"] = commit


def test_pull_opens_one_from_a_new_branch(post: GitHubPoster, git: Memory) -> None:
    assert "opened pull request #5" in post.pull()
    made = [("POST", "/git/trees"), ("POST", "/git/commits"), ("POST", "/git/refs"), ("POST", "/pulls")]
    assert git.changes() == made


def test_pull_proposes_only_what_a_retrain_may_change(post: GitHubPoster, git: Memory) -> None:
    (post.folder / "reports/metrics.json").write_text("{}")
    (post.folder / "Makefile").write_text("evil:")
    post.pull()
    (tree,) = (body["tree"] for method, path, body in git.calls if path == "/git/trees")
    assert {entry["path"] for entry in tree} == {"dvc.lock", "reports/metrics.json"}


def test_pull_updates_the_one_that_is_open(post: GitHubPoster, git: Memory) -> None:
    branch(git)
    git.lists["/pulls"] = [{"number": 4}]
    assert "#4" in post.pull()
    assert git.changes()[-2:] == [("PATCH", "/git/refs/heads/retrain"), ("PATCH", "/pulls/4")]


def test_pull_again_makes_no_second_commit(post: GitHubPoster, git: Memory) -> None:
    branch(git, tree="new")
    git.lists["/pulls"] = [{"number": 4}]
    post.pull()
    assert ("POST", "/git/commits") not in git.changes()


def test_pull_leaves_a_branch_alone_that_a_person_pushed_to(post: GitHubPoster, git: Memory) -> None:
    branch(git, author="A Person")
    with pytest.raises(PostingRefusedError, match="somebody pushed"):
        post.pull()
    assert git.changes() == [("POST", "/git/trees")]


@pytest.mark.parametrize("status", [403, 422])
def test_pull_becomes_an_issue_where_actions_may_open_none(post: GitHubPoster, git: Memory, status: int) -> None:
    git.refused["POST /pulls"] = status
    assert "opened issue" in post.pull()
    assert "/compare/main...retrain" in git.calls[-1][2]["body"]


def test_pull_without_a_difference_does_nothing(post: GitHubPoster, git: Memory) -> None:
    git.things[f"/git/commits/{post.sha}"] = {"tree": {"sha": "new"}}
    assert "nothing" in post.pull()
    assert git.changes() == [("POST", "/git/trees")]


def test_dispatch_starts_the_checks_of_a_branch_that_exists(post: GitHubPoster, git: Memory) -> None:
    assert "nothing to check" in post.dispatch()
    branch(git)
    post.dispatch()
    assert git.changes() == [("POST", "/actions/workflows/pull-request.yml/dispatches")]


def test_verdict_and_summary_go_to_the_jobs_that_follow_and_to_the_runs_page(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    assert main("verdict summary", folder=str(run)) == 0
    assert "decision=pass\n" in (tmp_path / "output").read_text()
    assert f"digest={digest_verdict(run)}\n" in (tmp_path / "output").read_text()
    assert (tmp_path / "summary").read_text().startswith("# Better")


def digest_verdict(run: Path) -> str:
    return hashlib.sha256((run / "reports/verdict.json").read_bytes()).hexdigest()


def test_a_verdict_that_was_exchanged_after_it_was_told_is_not_posted(
    post: GitHubPoster, api: Memory, run: Path
) -> None:
    api.lists[f"/issues/{post.number}/comments"] = []
    told = replace(post, digest=digest_verdict(run))
    told.status()
    (run / "reports/verdict.json").write_text(json.dumps(VERDICT | {"sentence": "Better: forged."}))
    told.status()
    told.comment()
    before, after, comment = [body for method, _, body in api.calls if method == "POST"]
    assert (before["state"], after["state"]) == ("success", "error") and "forged" not in str(after)
    assert "not the one that the judge told of" in comment["body"] and "octocat" not in comment["body"]


@pytest.mark.parametrize("problem", [ApiError(403, "POST /x", "no"), ServiceUnavailableError("down", 999.0)])
def test_refusal_becomes_an_annotation(problem: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> str:
        raise problem

    assert not try_action("comment", refuse)
    assert capsys.readouterr().out.startswith("::error title=Not posted (comment)::")


def test_main_without_a_token_warns_and_passes(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    assert main("comment status", folder=str(run), number="1") == 0
    assert "there is no GITHUB_TOKEN" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["", "shout", "comment shout"])
def test_main_refuses_another_kind(what: str) -> None:
    with pytest.raises(OptionError) as error:
        main(what)
    assert error.value.option == "WHAT"


def test_post_needs_nothing_installed() -> None:
    source = Path(modelyard.__file__).parents[1]
    command = [sys.executable, "-I", "-S", "-c"]
    code = f"import sys; sys.path.insert(0, {str(source)!r}); import modelyard.github.post"
    assert subprocess.run([*command, code], check=False).returncode == 0


def test_another_bot_is_another_author(post: GitHubPoster, api: Memory) -> None:
    api.lists["/issues/7/comments"] = [own(post, user={"login": "our-app[bot]"})]
    replace(post, bot="our-app[bot]").comment()
    assert api.changes() == [("PATCH", "/issues/comments/3")]


def test_two_projects_in_one_repository_keep_their_own_comments_and_issues(post: GitHubPoster, api: Memory) -> None:
    other = replace(post, project="trains")
    api.lists["/issues/7/comments"] = [own(post)]
    api.lists["/issues"] = [own(post)]
    other.comment()
    other.issue()
    assert other.close() == "no issue was open"
    assert api.changes() == [("POST", "/issues/7/comments"), ("POST", "/issues")]


def test_two_projects_in_one_repository_set_a_status_each(post: GitHubPoster, api: Memory) -> None:
    post.status()
    replace(post, project="trains").status()
    assert [body["context"] for _, _, body in api.calls] == ["flights: model", "trains: model"]


def test_pull_leaves_the_proposal_of_another_project_alone(post: GitHubPoster, git: Memory) -> None:
    branch(git)
    git.lists["/pulls"] = [{"number": 4, "body": f"{post.marker}\nold"}]
    with pytest.raises(PostingRefusedError, match="retrain-trains"):
        replace(post, project="trains").pull()
    assert git.changes() == []


def test_pull_from_a_folder_of_a_larger_repository(post: GitHubPoster, git: Memory) -> None:
    replace(post, prefix="flights/", branch="retrain-flights").pull()
    (tree,) = (body["tree"] for method, path, body in git.calls if path == "/git/trees")
    assert [entry["path"] for entry in tree] == ["flights/dvc.lock"]
