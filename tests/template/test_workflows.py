"""The generated workflows, run by act: real verbs, real DVC, real training inside the jobs."""

import json
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.template.actlab.fakegithub import FakeGitHub, needed
from tests.template.actlab.lab import ACT, GitHub, Run
from tests.template.actlab.workflows import load, sources
from tests.template.support import ROOT, BakedProject, installed, run

pytestmark = pytest.mark.slow

NAME = "acme/flight-delays"
TRAIN = "Train and compare (reusable)/Train"
JUDGE = "Train and compare (reusable)/Judge"
REPORT = "Train and compare (reusable)/Report"
VERIFY = "Train and compare (reusable)/Run everything again"
SCAN = "Known vulnerabilities and licences"
REQUIRED = "Required checks pass"
DELIVER = "Track, register and push to the remote"
VENV = ROOT / "build/environments/3.11"
SHRINK = (
    "import pandas as pd; path = 'data/raw/flights.parquet';"
    "pd.read_parquet(path).iloc[::4].to_parquet(path, index=False)"
)
HOOKS = """repos:
  - repo: local
    hooks: [{id: ruff, name: ruff, entry: ruff check, language: system, files: ^tests/.*py}]
"""
SPY = """import json
import os
from pathlib import Path

seen = json.dumps(dict(os.environ))
Path(os.environ["ACTLAB_ARTIFACTS"], "seen.json").write_text(seen)
"""
TEST = "def test_sum() -> None:\n    assert 1 + 1 == 2\n"


@dataclass(frozen=True)
class Work:
    """A person's clone, and the pretended GitHub that it is pushed to."""

    clone: BakedProject
    github: GitHub
    api: FakeGitHub

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Replace texts in a file; each must be there."""
        text = self.clone.read(name)
        for before, after in changes:
            assert before in text, f"{name} has no {before!r}"
            text = text.replace(before, after)
        (self.clone.path / name).write_text(text, encoding="utf-8")

    def push(self, branch: str, message: str = "a change") -> None:
        """Commit everything on a branch, a new one if need be, and push it."""
        self.clone.run("git", "switch", "--quiet", "--force-create", branch)
        self.clone.run("git", "add", "--all")
        self.clone.run("git", "commit", "--quiet", "--allow-empty", "--message", message)
        self.clone.run("git", "push", "--quiet", "--force", "origin", branch)

    def make(self, *verbs: str, **env: str) -> str:
        return self.clone.make(*verbs, "TRACK=0", VENV=str(VENV), **env)

    def comments(self, number: int = 1) -> list[str]:
        return [row["body"] for row in self.api.rows(f"/repos/{NAME}/issues/{number}/comments")]

    def issues(self) -> list[dict[str, object]]:
        return self.api.rows(f"/repos/{NAME}/issues")

    def pulls(self) -> list[dict[str, object]]:
        return self.api.rows(f"/repos/{NAME}/pulls")


def small(project: BakedProject) -> None:
    """Make the project quick: every fourth row, few trees, one hook, one test."""
    params = project.read("params.yaml").replace("max_iter: 150", "max_iter: 20")
    (project.path / "params.yaml").write_text(params)
    (project.path / ".pre-commit-config.yaml").write_text(HOOKS)
    shutil.rmtree(project.path / "tests")
    (project.path / "tests").mkdir()
    (project.path / "tests/test_sum.py").write_text(TEST)
    installed(project)
    project.run(VENV / "bin/python", "-c", SHRINK)
    project.make("pipeline", "TRACK=0", VENV=str(VENV))


@pytest.fixture(scope="module")
def pushed(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project on GitHub after its first run on main, whose caches are warm."""
    folder = tmp_path_factory.mktemp("github")
    project = BakedProject(render(folder).rename(folder / "clone"))
    small(project)
    run("git", "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git", cwd=folder)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "Run the pipeline")
    project.run("git", "remote", "add", "origin", folder / "origin.git")
    project.run("git", "push", "--quiet", "origin", "HEAD:main")
    github = GitHub(folder / "origin.git", folder, name=NAME, env={"VENV": str(VENV), "MODELYARD_VENV": str(VENV)})
    done = github.push(only="main.yml")
    assert done.ok, failures(done)
    return folder


USED: dict[str, set[str]] = {}  # by every job's token: the rights to write that a call needed
GRANTED: dict[str, set[str]] = {}


def hold_to_rights(fake: FakeGitHub) -> None:
    """Every call of a job needed no more than what the job's `permissions:` say, reading included."""
    for call in fake.calls:
        if rights := fake.tokens.get(call["token"]):
            need = needed(call["path"])
            levels = ("write",) if call["method"] != "GET" else ("read", "write")
            fit = {name for name in need if rights.get(name) in levels}
            assert fit, f"{call['token']} has no right to {call['method']} {call['path']}"
            GRANTED[call["token"]] = {right for right in rights if rights[right] == "write"}
            USED.setdefault(call["token"], set()).update(fit if levels == ("write",) else ())


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeGitHub]:
    """GitHub's API for one test; what was asked of it is held against the rights of who asked."""
    with FakeGitHub(tmp_path / "origin.git") as fake:
        yield fake
    hold_to_rights(fake)


@pytest.fixture
def work(pushed: Path, tmp_path: Path, api: FakeGitHub) -> Work:
    """That project for one test: its own clone, remote and caches."""
    for name in ("clone", "origin.git", "caches"):
        shutil.copytree(pushed / name, tmp_path / name)
    clone = BakedProject(tmp_path / "clone")
    clone.run("git", "remote", "set-url", "origin", tmp_path / "origin.git")
    github = GitHub(tmp_path / "origin.git", tmp_path, api, NAME, env={"VENV": str(VENV), "MODELYARD_VENV": str(VENV)})
    return Work(clone, github, api)


def failures(done: Run) -> str:
    """The logs of the jobs in which a step failed."""
    bad = [f"{name}\n{job.log}" for name, job in done.jobs.items() if "failure" in job.steps.values()]
    return "\n".join([*bad, done.stderr])[-6000:]


def outputs(done: Run) -> dict[str, str]:
    """What the judging job said."""
    return done.job(JUDGE).outputs.get("verdict", {})


def trained(done: Run) -> bool:
    """Whether any stage of the pipeline ran."""
    return "Running stage" in done.job(TRAIN).log


@contextmanager
def advisories(vulnerable: str, known_as: str = "CVE-2026-0000") -> Iterator[str]:
    """OSV's query on loopback, that knows one advisory; its address."""

    class Osv(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            affected = {"package": {"name": vulnerable, "ecosystem": "PyPI"}, "versions": []}
            found = {"id": "GHSA-test-test-test", "aliases": [known_as], "affected": [affected]}
            hit = asked["package"]["name"] == vulnerable
            body = json.dumps({"vulns": [found]} if hit else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def test_pull_request_with_a_better_model_is_told_and_may_be_merged(work: Work) -> None:
    work.edit("params.yaml", ("max_iter: 20", "max_iter: 80"))
    work.push("better")
    done = work.github.pull_request("better")
    assert done.job(REQUIRED).conclusion == "success", failures(done)
    assert outputs(done)["verdict"] in ("better", "not worse", "inconclusive")
    assert len(work.comments()) == 1 and "roc_auc" in work.comments()[0]
    head = work.clone.run("git", "rev-parse", "HEAD").strip()
    status = work.api.posted(f"/statuses/{head}")[0]
    assert status["state"] == "success" and status["description"] in outputs(done)["sentence"]


def test_second_push_updates_the_comment_and_trains_nothing(work: Work) -> None:
    work.edit("params.yaml", ("max_iter: 20", "max_iter: 30"))
    work.push("twice")
    assert trained(work.github.pull_request("twice"))
    (work.clone.path / "notes.md").write_text("A note.\n")
    work.push("twice")
    done = work.github.pull_request("twice", action="synchronize")
    assert not trained(done), failures(done)
    head = work.clone.run("git", "rev-parse", "--short=12", "HEAD").strip()
    assert len(work.comments()) == 1 and head in work.comments()[0]


def test_pull_request_with_a_worse_model_is_judged_and_may_not_be_merged(work: Work) -> None:
    worse = ("max_iter: 20", "max_iter: 1"), ("max_leaf_nodes: 15", "max_leaf_nodes: 2")
    work.edit("params.yaml", *worse)
    work.push("worse")
    done = work.github.pull_request("worse")
    assert done.job(JUDGE).conclusion == "success"
    assert done.job(REQUIRED).steps["The model may be merged"] == "failure", failures(done)
    assert outputs(done)["sentence"] in work.comments()[0]
    assert work.api.calls[-1]["body"]["state"] == "failure"


def test_pull_request_with_an_equal_model_and_a_stale_lock_is_warned_not_failed(work: Work) -> None:
    features = "src/flight_delays/features.py"
    work.edit(features, ("import pandas", "# The same features.\nimport pandas"))
    work.push("equal")
    done = work.github.pull_request("equal")
    assert outputs(done)["verdict"] == "unchanged", failures(done)
    assert done.job(REQUIRED).conclusion == "success"
    warnings = done.job(TRAIN).annotations
    assert any("stale" in row["message"] and "make pipeline" in row["message"] for row in warnings)


@pytest.mark.parametrize("change", [("1 + 1 == 2", "1 + 1 == 3"), ("def", "import os\n\n\ndef")], ids=["test", "lint"])
def test_pull_request_with_a_failing(work: Work, change: tuple[str, str]) -> None:
    work.edit("tests/test_sum.py", change)
    work.push("failing")
    done = work.github.pull_request("failing")
    assert done.job("Check (reusable)/Hooks").conclusion == "success"  # judging is not failing
    assert done.job(REQUIRED).steps == {"Hooks and tests found nothing": "failure"}, failures(done)
    assert len(work.comments()) == 1


def test_pull_request_with_a_broken_schema_says_that_nothing_was_judged(work: Work) -> None:
    work.edit("schema.yaml", ("isin: [EWR, JFK, LGA]", "isin: [EWR, JFK]"))
    work.push("broken")
    done = work.github.pull_request("broken")
    assert done.job(REQUIRED).steps["The pipeline ran and the model was judged"] == "failure"
    assert "could not be judged" in work.comments()[0]
    assert work.api.calls[-1]["body"]["state"] == "error"


def test_conflict_over_the_lock_starts_nothing_until_it_is_resolved(work: Work) -> None:
    sides = {
        "one": ("learning_rate: 0.05", "learning_rate: 0.06"),
        "main": ("l2_regularization: 1.0", "l2_regularization: 2.0"),
    }
    for branch, change in sides.items():
        work.clone.run("git", "switch", "--quiet", "--detach", "origin/main")
        work.edit("params.yaml", change)
        work.make("pipeline")
        work.push(branch)
    assert not work.github.pull_request("one").jobs
    work.clone.run("git", "switch", "--quiet", "one")
    work.clone.run("git", "merge", "--quiet", "main", check=False)
    work.make("resolve")
    work.clone.run("git", "commit", "--quiet", "--no-edit")
    work.clone.run("git", "push", "--quiet", "origin", "one")
    done = work.github.pull_request("one", action="synchronize")
    assert done.job(REQUIRED).conclusion == "success", failures(done)
    assert not any("stale" in row["message"] for row in done.job(TRAIN).annotations)


def test_merged_lock_that_no_run_ever_made_is_caught_on_main(work: Work) -> None:
    work.edit("params.yaml", ("megabytes: 8192", "megabytes: 4096"))
    work.make("pipeline")
    work.push("parameter")
    work.clone.run("git", "switch", "--quiet", "--detach", "origin/main")
    made = "return defaults.make_estimator(train, seed=seed, task=task)"
    grown = f"{made}.set_params(max_iter=train.megabytes // 300)"
    work.edit("src/flight_delays/model.py", (made, grown))
    work.make("pipeline")
    work.push("main")
    work.clone.run("git", "merge", "--quiet", "--no-edit", "parameter")
    work.clone.run("git", "push", "--quiet", "origin", "main")
    assert "up to date" in work.make("pipeline")  # DVC sees nothing wrong with it
    done = work.github.push(only="main.yml")
    assert outputs(done)["decision"] in ("pass", "warn", "block"), failures(done)
    assert done.job("Main holds").steps["dvc.lock says what a fresh run makes"] == "failure"
    assert done.job("Keep the promoted model").conclusion == "skipped"


def test_push_of_words_alone_trains_nothing_and_runs_nothing_again(work: Work) -> None:
    (work.clone.path / "notes.md").write_text("A note.\n")
    work.push("main")
    done = work.github.push()
    assert done.ok and not trained(done), failures(done)
    assert "nothing that the pipeline reads changed" in done.job(VERIFY).log
    assert not any(name.startswith("Retrain") for name in done.jobs)


READERS = {
    "AWS_READ_ROLE": "an-aws-reader",
    "GOOGLE_READ_PROVIDER": "a-google-reader",
    "AZURE_READ_CLIENT": "an-azure-reader",
    "AZURE_TENANT": "a-tenant",
}


def test_fork_is_judged_without_a_comment_a_secret_or_a_token(work: Work) -> None:
    (work.clone.path / "tests/conftest.py").write_text(SPY)
    work.push("fork")
    work.github.variables |= READERS
    work.github.secrets |= {"APP_PRIVATE_KEY": "a secret", "MLFLOW_TRACKING_PASSWORD": "a secret"}
    done = work.github.pull_request("fork", fork="mallory/flight-delays")
    assert done.job(REQUIRED).conclusion == "success", failures(done)
    assert done.job("Post the verdict").conclusion == "skipped" and not work.api.posted("")
    assert "Unchanged" in done.job(REPORT).summary
    assert (done.artifacts / "report/report.md").is_file()
    seen = (done.artifacts / "seen.json").read_text()
    assert "token:" not in seen and "a secret" not in seen
    assert not (done.artifacts / "calls.jsonl").exists()  # it takes no identity


def test_only_the_posting_job_writes_and_branch_code_sees_no_token(work: Work) -> None:
    (work.clone.path / "tests/conftest.py").write_text(SPY)
    work.push("spy")
    work.github.variables |= READERS | {"AWS_WRITE_ROLE": "a-writer"}
    done = work.github.pull_request("spy")
    assert set(work.api.writers()) == {"token:pull-request/post"}, failures(done)
    assert "token:" not in (done.artifacts / "seen.json").read_text()
    taken = (done.artifacts / "calls.jsonl").read_text()
    assert all(reader in taken for reader in READERS.values()) and "a-writer" not in taken


def test_a_pull_request_that_is_aimed_at_main_later_is_judged_and_a_new_title_is_not(work: Work) -> None:
    work.push("stacked")
    work.clone.run("git", "push", "--quiet", "origin", "main:dev")
    assert not work.github.pull_request("stacked", base="dev").jobs
    title = work.github.pull_request("stacked", action="edited", changes={"title": {"from": "A change"}})
    assert {job.conclusion for job in title.jobs.values()} <= {"skipped"} and REQUIRED not in title.jobs
    done = work.github.pull_request("stacked", action="edited", changes={"base": {"ref": {"from": "dev"}}})
    assert done.job(REQUIRED).conclusion == "success", failures(done)


def test_merge_queue_runs_the_same_checks_without_a_comment(work: Work) -> None:
    work.push("queued")
    done = work.github.merge_group("queued")
    assert done.job(REQUIRED).conclusion == "success", failures(done)
    assert done.job("Post the verdict").conclusion == "skipped" and not work.api.posted("")


def test_comment_that_is_refused_does_not_stop_the_merge(work: Work) -> None:
    work.api.fail(403, "/comments", times=9, message="Resource not accessible by integration")
    work.push("refused")
    done = work.github.pull_request("refused")
    assert done.job(REQUIRED).conclusion == "success", failures(done)
    assert done.job("Post the verdict").conclusion == "failure"
    assert "permissions:" in done.job("Post the verdict").annotations[0]["message"]
    assert done.job(REQUIRED).steps == {"The verdict was posted": "success"}  # says that it was not


def weaken(work: Work) -> None:
    """Put a model on main that any other beats: it learned from 60 rows."""
    work.edit("params.yaml", ("window: all", 'window: "60"'))
    work.make("pipeline")
    work.push("main")


def test_retrain_asks_for_leave_then_opens_one_pull_request_and_keeps_it_up_to_date(
    work: Work,
) -> None:
    weaken(work)
    refusal = "GitHub Actions is not permitted to create or approve pull requests."
    work.api.fail(403, "/pulls$", method="POST", message=refusal)
    better = {"window": "all", "reason": "every row"}
    done = work.github.dispatch("retrain.yml", inputs=better)
    assert outputs(done)["unattended"] == "open", failures(done)
    (issue,) = work.issues()
    assert "compare/main...retrain" in str(issue["body"]) and not work.pulls()
    assert work.api.posted("/pull-request.yml/dispatches") == [{"ref": "retrain"}]

    done = work.github.dispatch("retrain.yml", inputs=better)
    (pull,) = work.pulls()
    assert pull["head"] == "retrain" and "every row" in str(pull["title"])
    assert work.issues()[0]["state"] == "closed" and not trained(done)
    changed = set(work.github.changed("main", "retrain"))
    assert {"dvc.lock", "params.yaml", "reports/metrics.json"} <= changed
    assert set(work.api.writers()) == {"token:retrain/propose"}

    work.github.dispatch("retrain.yml", inputs={**better, "reason": "again"})
    assert len(work.pulls()) == 1 and "again" in str(work.pulls()[0]["title"])
    checks = work.github.dispatch("pull-request.yml", branch="retrain")
    assert checks.job(REQUIRED).conclusion == "success", failures(checks)
    assert not trained(checks)  # main's cache has what the retrain made, and a branch may read it


def test_retrain_with_a_worse_model_keeps_one_issue(work: Work) -> None:
    for reason in ("drift", "still drift"):
        payload = {"window": "90", "reason": reason}
        done = work.github.repository_dispatch("retrain", payload)
        assert outputs(done)["unattended"] == "issue", failures(done)
    (issue,) = work.issues()
    assert "still drift" in str(issue["title"]) and not work.pulls()
    assert set(work.api.writers()) == {"token:retrain/tell"}


@pytest.mark.parametrize(("window", "word"), [("all", "nothing"), ("4000", "keep")])
def test_retrain_that_is_not_better_closes_the_issue(work: Work, window: str, word: str) -> None:
    body = "<!-- flight-delays: model -->\nworse"
    work.api.new(f"/repos/{NAME}/issues", title="worse", body=body, labels=["model"])
    done = work.github.dispatch("retrain.yml", inputs={"window": window})
    assert outputs(done)["unattended"] == word, failures(done)
    assert work.issues()[0]["state"] == "closed" and not work.pulls()


def test_retrain_after_new_data_on_main(work: Work) -> None:
    newer = SHRINK.replace("iloc[::4]", "iloc[:-50]")
    work.clone.run(VENV / "bin/python", "-c", newer)
    work.push("main")
    done = work.github.push(only="retrain.yml")
    assert trained(done), failures(done)
    assert outputs(done)["unattended"] in ("open", "keep", "issue")
    assert len(work.pulls()) == (outputs(done)["unattended"] == "open")


def test_promoted_model_is_kept_and_found_when_no_cache_has_it(work: Work) -> None:
    work.make("pipeline", "gate", "promote")
    work.push("main")
    done = work.github.push(only="main.yml")
    assert done.job("Keep the promoted model").conclusion == "success", failures(done)
    (release,) = work.api.rows(f"/repos/{NAME}/releases")
    assets = work.api.rows(f"/repos/{NAME}/releases/{release['id']}/assets")
    assert {row["name"] for row in assets} == {"model.skops", "rows.npy"}
    assert set(work.api.writers()) == {"token:main/release"}
    shutil.rmtree(work.github.tmp / "caches")
    work.edit("params.yaml", ("max_iter: 20", "max_iter: 25"))
    work.push("longer")
    done = work.github.pull_request("longer")
    assert "came from its release" in done.job(TRAIN).log, failures(done)
    assert "rebuilt" not in work.comments()[0]


def test_main_delivers_by_roles_that_may_write(work: Work, tmp_path: Path) -> None:
    store, runs = tmp_path / "store", tmp_path / "runs.db"
    work.clone.run(VENV / "bin/python", "-m", "dvc", "remote", "add", "-d", "home", store)
    work.push("main")
    writers = {name.replace("READ", "WRITE"): who for name, who in READERS.items()}
    work.github.variables |= writers | {"MLFLOW_TRACKING_URI": f"sqlite:///{runs}"}
    done = work.github.push(only="main.yml")
    assert done.job(DELIVER).conclusion == "success", failures(done)
    taken = (done.artifacts / "calls.jsonl").read_text()
    assert all(who in taken for who in writers.values())
    assert runs.stat().st_size and any(path.is_file() for path in store.rglob("*"))


def test_default_project_is_green_at_once_when_it_is_pushed(
    render: Callable[..., Path], tmp_path: Path, api: FakeGitHub
) -> None:
    project = BakedProject(render(tmp_path))
    origin = tmp_path / "origin.git"
    run("git", "init", "--quiet", "--bare", "--initial-branch", "main", origin, cwd=tmp_path)
    project.run("git", "push", "--quiet", origin, "HEAD:main")
    # The longest hooks and tests are left out here; test_project.py runs all of them.
    env = {"VENV": str(VENV), "MODELYARD_VENV": str(VENV), "SKIP": "pylint,mypy", "PYTEST_ADDOPTS": "-k data"}
    done = GitHub(origin, tmp_path, api, NAME, env=env).push(only="main.yml")
    assert done.ok and done.job("Main holds").conclusion == "success", failures(done)
    assert not api.posted("")


def test_rehearse_runs_the_pull_request_on_this_machine(work: Work) -> None:
    files = [load(path) for path in sources(work.clone.path)]
    folders = {"ACTLAB_ARTIFACTS": work.github.tmp, "ACTLAB_CACHE": work.github.tmp / "caches"}
    variables = [part for key, value in folders.items() for part in ("--env", f"{key}={value}")]
    act = shlex.join([ACT, *work.github.mapped(files), *variables])
    work.edit("tests/test_sum.py", ("1 + 1 == 2", "1 + 1 == 3"))  # not committed, as it may be
    said = work.clone.run("make", "rehearse", f"ACT={act}", f"VENV={VENV}", check=False)
    assert "not as on GitHub" in said and "it would fail" in said, said[-3000:]
    assert "Hooks and tests found nothing" in said and not work.api.calls


def test_protect_sets_the_rules_once_and_writes_the_owners(work: Work) -> None:
    token = {"GITHUB_API_URL": work.api.url, "GITHUB_REPOSITORY": NAME, "GITHUB_TOKEN": "admin"}
    assert "nobody is there to ask" in work.clone.run("make", "protect", VENV=str(VENV), check=False, **token)
    assert not work.api.posted("")
    work.clone.make("protect", "YES=1", VENV=str(VENV), **token)
    (rules,) = work.api.rows(f"/repos/{NAME}/rulesets")
    required = next(r for r in rules["rules"] if r["type"] == "required_status_checks")
    assert required["parameters"]["required_status_checks"][0]["context"] == REQUIRED
    assert "/deploy/ @acme\n" in work.clone.read(".github/CODEOWNERS")
    again = work.clone.make("protect", VENV=str(VENV), **token)
    assert "is protected as it should be" in again


def test_scan_finds_a_vulnerable_library_and_says_which(work: Work) -> None:
    with advisories("numpy") as url:
        service = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": url}
        done = work.github.schedule("scan.yml", env=service)
        assert not done.ok and "CVE-2026-0000" in done.job(SCAN).log, failures(done)
    with advisories("diskcache", "CVE-2025-69872") as url:
        done = work.github.schedule("scan.yml", env={**service, "PIP_AUDIT_OSV_URL": url})
        assert done.ok and "1 ignored" in done.job(SCAN).log, failures(done)


def test_every_right_to_write_was_needed_by_a_call() -> None:
    if len(USED) < 4:
        pytest.skip("the tests above were not all run")
    assert {token: GRANTED[token] - USED[token] for token in USED if GRANTED[token]} == {
        token: {"id-token", "attestations"} & GRANTED[token] for token in USED if GRANTED[token]
    }  # those two are used by actions, whose doubles call nothing
