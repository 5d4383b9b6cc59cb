"""The contract that every workflow and the action keep, the generated ones and this repository's own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.template.actlab.fakegithub import FakeGitHub
from tests.template.actlab.lab import DOUBLES
from tests.template.actlab.workflows import actions, events, load, plant
from tests.template.support import ROOT, Bake

GENERATED = sorted((next(ROOT.glob("{{*")) / ".github/workflows").glob("*.yml"))
OWN = sorted((ROOT / ".github/workflows").glob("*.yml"))
SETUP = "./packages/modelyard/actions/setup"
ACTION = ROOT / SETUP / "action.yml"
ACTIONS = sorted((ROOT / SETUP).parent.glob("*/action.yml"))
COPIES = tuple(path.name for path in GENERATED if path.name.startswith("reusable-"))
EVERY = [pytest.param(path, id=f"generated-{path.name}") for path in GENERATED]
EVERY += [pytest.param(path, id=f"own-{path.name}") for path in OWN if path.name not in COPIES]
ORDER = ["name", "on", "concurrency", "permissions", "cache-mode", "env", "jobs"]
JUDGES = {"pull-request.yml": "required", "main.yml": "holds"}
# Names of variables that are no options of ours: of other tools, secrets, and what a step's own shell reads.
FOREIGN = re.compile(
    r"GH_TOKEN|GITHUB_TOKEN|DOCKER_HOST|MLFLOW_TRACKING_(URI|USERNAME|PASSWORD)|UV_PYTHON_INSTALL_DIR"
    r"|API_KEY|KNOWN_HOSTS|REGISTRY_(USER|PASSWORD)|SSH_KEY|WEBHOOK|VERB|SENTENCE"
)

MAKEFILES = ("Makefile", "packages/modelyard/project.mk", "packages/modelyard/service.mk")

Job = dict[str, Any]
DEFAULT_BRANCH_STEP = (
    'git symbolic-ref refs/remotes/origin/HEAD "refs/remotes/origin/$BRANCH"'  # before any environment
)


def jobs(path: Path) -> dict[str, Job]:
    return load(path)["jobs"]


def steps(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step with the name of its job; an action has steps alone."""
    if path in ACTIONS:
        yield from ((path.parent.name, step) for step in load(path)["runs"]["steps"])
        return
    for name, job in jobs(path).items():
        yield from ((name, step) for step in job.get("steps", []))


def calls() -> list[Any]:
    """Each job of a generated workflow that calls another workflow."""
    found = [(path, name) for path in GENERATED for name, job in jobs(path).items() if "uses" in job]
    return [pytest.param(*pair, id=f"{pair[0].stem}-{pair[1]}") for pair in found]


def called(path: Path, name: str) -> tuple[Job, dict[str, Any]]:
    """A calling job, and the workflow that it calls."""
    job = jobs(path)[name]
    assert job["uses"].startswith("./.github/workflows/")
    return job, load(path.parent / Path(job["uses"]).name)


@pytest.mark.parametrize("path", EVERY)
def test_workflow_keeps_the_order_and_begins_without_rights(path: Path) -> None:
    workflow = load(path)
    assert list(workflow) == [key for key in ORDER if key in workflow]
    assert workflow["permissions"] == {}


@pytest.mark.parametrize("path", EVERY)
def test_every_job_has_a_name_and_its_rights_with_a_reason_each(path: Path) -> None:
    for name, job in jobs(path).items():
        assert job["name"][0].isupper() and "permissions" in job, name
    rights = re.findall(r"^ {6}[a-z-]+: (?:read|write)\b(.*)$", path.read_text(), re.M)
    assert len(rights) == sum(len(job["permissions"]) for job in jobs(path).values())
    assert all(re.match(r" # \w.{9}", reason) for reason in rights)


@pytest.mark.parametrize("path", EVERY)
def test_every_job_ends_in_time(path: Path) -> None:
    for name, job in jobs(path).items():
        assert "uses" in job or "timeout-minutes" in job, name


@pytest.mark.parametrize("path", [*EVERY, *(pytest.param(path, id=path.parent.name) for path in ACTIONS)])
def test_every_action_is_pinned_with_its_version(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if re.search(r"\buses: [^.]", line)]
    assert all(re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line) for line in lines)


def test_one_action_has_one_commit_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in [*GENERATED, *OWN, *ACTIONS]:
        for uses in actions(load(path)):
            action, _, commit = uses.partition("@")
            pins.setdefault("/".join(action.split("/")[:2]), set()).add(commit)
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", EVERY)
def test_checkout_leaves_no_token_behind(path: Path) -> None:
    found = [step for _, step in steps(path) if "actions/checkout@" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in found)


@pytest.mark.parametrize("path", [*EVERY, *(pytest.param(path, id=path.parent.name) for path in ACTIONS)])
def test_values_reach_the_shell_through_its_environment(path: Path) -> None:
    assert not [step["run"] for _, step in steps(path) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_an_option_travels_under_our_prefix(path: Path) -> None:
    for holder in (*jobs(path).values(), *(step for _, step in steps(path))):
        names = [name for name in holder.get("env", {}) if not name.startswith("MODELYARD_")]
        assert [name for name in names if not FOREIGN.fullmatch(name)] == []


@pytest.mark.parametrize("path", [*GENERATED, *ACTIONS], ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_step_runs_make_and_only_a_judge_says_no(path: Path) -> None:
    for name, step in steps(path):
        assert step["name"], name
        judge = JUDGES.get(path.name) == name
        run = step.get("run", "make pull")
        said = re.fullmatch(r'make ("\$VERB"|[a-z]+( [a-z]+)*)|echo "::notice::[^"$]+"', run)
        said = said or run == DEFAULT_BRANCH_STEP
        assert said or judge, run


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_every_verb_that_a_workflow_calls_is_there(path: Path, bake: Bake) -> None:
    makefile = "\n".join(bake().read(name) for name in MAKEFILES if bake().has(name))
    called = re.findall(
        r"\bmake ([a-z ]+)$", path.read_text() + "".join(action.read_text() for action in ACTIONS), re.M
    )
    verbs = {verb for line in called for verb in line.split()}
    assert {v for v in verbs if not re.search(rf"^{v}:.*## ", makefile, re.M)} == set()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_concurrency_stands_in_callers_only(path: Path) -> None:
    workflow = load(path)
    assert ("concurrency" in workflow) == ("workflow_call" not in events(workflow))
    assert not any("concurrency" in job for job in workflow["jobs"].values())


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_workflow_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 115


@pytest.mark.parametrize("name", COPIES)
def test_reusable_input_and_output_is_typed_and_described(name: str) -> None:
    about = load(GENERATED[0].parent / name)["on"]["workflow_call"]
    for put in about["inputs"].values():
        assert put["description"] and {"type", "default"} <= set(put)
    assert all(put["description"] and put["value"] for put in about.get("outputs", {}).values())


@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: path.parent.name)
def test_every_input_and_output_of_an_action_is_described(path: Path) -> None:
    action = load(path)
    assert all(put["description"] and "default" in put for put in action["inputs"].values())
    assert all(put["description"] and put["value"] for put in action["outputs"].values())


def set_up(uses: str = "") -> list[Any]:
    """Each job of a generated workflow that uses one of our actions, with the step that does."""
    return [
        pytest.param(jobs(path)[name], step, id=f"{path.stem}-{name}")
        for path in GENERATED
        for name, step in steps(path)
        if step.get("uses", "").startswith(uses or "./packages/modelyard/actions/")
    ]


@pytest.mark.parametrize(("job", "step"), set_up())
def test_an_action_is_given_only_inputs_that_there_are(job: Job, step: dict[str, Any]) -> None:
    action = load(ROOT / step["uses"] / "action.yml")
    assert set(step.get("with", {})) <= set(action["inputs"])
    read = set(re.findall(rf"steps\.{step.get('id')}\.outputs\.([a-z-]+)", str(job)))
    assert read <= set(action["outputs"])


@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: path.parent.name)
def test_an_action_reads_only_outputs_that_there_are(path: Path) -> None:
    inner = [(step.get("id"), step) for _, step in steps(path) if step.get("uses", "").startswith("./")]
    for name, step in inner:
        read = set(re.findall(rf"steps\.{name}\.outputs\.([a-z-]+)", path.read_text()))
        assert read <= set(load(ROOT / step["uses"] / "action.yml")["outputs"])


@pytest.mark.parametrize(("job", "step"), set_up())
def test_an_action_follows_the_checkout_of_a_job_that_may_write_nothing(job: Job, step: dict[str, Any]) -> None:
    before = job["steps"][: job["steps"].index(step)]
    assert [step["name"] for step in before] == ["Check out"]
    may_write = {right for right, level in job["permissions"].items() if level == "write"}
    assert may_write <= {"id-token"}


@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: path.parent.name)
def test_an_action_takes_no_token_and_no_secret(path: Path) -> None:
    assert not re.search(r"secrets\.|github\.token|GITHUB_TOKEN", path.read_text())
    assert not any(re.search("token|secret|password|key", name) for name in load(path)["inputs"])


def test_a_role_that_may_write_meets_no_cached_environment() -> None:
    writers = [p for p in set_up(SETUP) if "_WRITE_" in str(p.values[1])]
    assert [p.id for p in writers] == ["main-deliver"]
    assert all(p.values[1]["with"]["environment"] == "none" for p in writers)


@pytest.mark.parametrize(("path", "name"), calls())
def test_call_gives_only_inputs_that_there_are_and_rights_enough(path: Path, name: str) -> None:
    job, target = called(path, name)
    taken = target["on"]["workflow_call"]
    assert set(job.get("with", {})) <= set(taken["inputs"])
    assert set(job.get("secrets", {})) == set(taken.get("secrets", {}))
    needed = [inner["permissions"] for inner in target["jobs"].values()]
    for right, level in (pair for block in needed for pair in block.items()):
        assert job["permissions"].get(right) in (level, "write")


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_outputs_that_are_read_are_outputs_that_there_are(path: Path) -> None:
    for name, output in set(re.findall(r"needs\.(\w+)\.outputs\.(\w+)", path.read_text())):
        job = jobs(path)[name]
        given = called(path, name)[1]["on"]["workflow_call"] if "uses" in job else job
        assert output in given["outputs"]


@pytest.mark.parametrize("name", JUDGES)
def test_judge_always_runs_and_reads_every_job_before_it(name: str) -> None:
    path = GENERATED[0].parent / name
    found = jobs(path)
    judge = found[JUDGES[name]]
    after = {key for key, job in found.items() if JUDGES[name] in job.get("needs", [])}
    assert set(judge["needs"]) == set(found) - {JUDGES[name]} - after
    assert judge["if"] == "always()" and judge["permissions"] == {}
    for need in judge["needs"]:
        assert f"needs.{need}.result" in str(judge["steps"])


def test_the_required_check_has_no_paths_and_the_name_that_protect_requires(bake: Bake) -> None:
    path = GENERATED[0].parent / "pull-request.yml"
    required = jobs(path)["required"]["name"]
    assert required == "Required checks pass"
    assert not any(events(load(path)).values())  # no paths, no branches, no types
    assert f'"{required}"' in bake().read(".github/ruleset.json")


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_branch_code_meets_no_token_no_secret_and_no_right_to_write(path: Path) -> None:
    """A job that may write, or that holds a token, checks out reviewed code and only posts."""
    if path.name == "pull-request.yml":
        reviewed = {"${{ github.event.pull_request.base.sha }}"}
    elif path.name in ("reusable-image.yml", "reusable-deploy.yml"):
        return  # called on main only, as the next test holds
    else:
        reviewed = {"", "${{ github.sha }}"}  # what lies on main was reviewed
    for name, job in jobs(path).items():
        text = str(job)
        may_write = {r for r, level in job["permissions"].items() if level == "write"} - {"id-token"}
        if "uses" in job or not (may_write or "secrets." in text or "github.token" in text):
            continue
        refs = [s["with"].get("ref", "") for s in job["steps"] if "checkout" in s.get("uses", "")]
        assert refs and set(refs) <= reviewed, name
        if may_write:
            assert {s["run"] for s in job["steps"] if "run" in s} <= {
                "make alert",
                "make post",
                "make release",
            }


def takes_identity(job: Job) -> bool:
    return job.get("permissions", {}).get("id-token") == "write" and "steps" in job


def test_an_identity_exists_only_where_nothing_of_a_branch_is_installed() -> None:
    takers = {f"{path.stem}/{name}" for path in GENERATED for name, job in jobs(path).items() if takes_identity(job)}
    on_main = {"main/release", "main/deliver", "reusable-image/image", "monitor/watch"}  # reviewed commits alone
    assert takers == {"reusable-train/data", *on_main}
    data = jobs(GENERATED[0].parent / "reusable-train.yml")["data"]
    assert "head.repo.fork" in data["if"]
    assert all(f"vars.{name} != ''" in data["if"] for name in READERS)
    assert [step.get("run") for step in data["steps"]] == [None, None, None]  # checkout, set-up, cache
    assert data["steps"][1]["with"]["environment"] == "none"


READERS = ("AWS_READ_ROLE", "GOOGLE_READ_PROVIDER", "AZURE_READ_CLIENT")
TAKEN = {"run", "run/reports", "reports", "models", "candidate"}  # never `.`: an artifact is data beside the checkout


@pytest.mark.parametrize("path", [*GENERATED, *ACTIONS], ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_artifact_is_data_and_never_laid_over_the_checkout(path: Path) -> None:
    for _, step in steps(path):
        if "/download-artifact@" in step.get("uses", ""):
            assert step["with"]["path"] in TAKEN and step["with"]["name"].isalpha()  # no pattern: a name is one job's
        if "/upload-artifact@" in step.get("uses", "") and "params.yaml" in step["with"]["path"]:
            assert step["with"]["name"] in ("candidate", "proposal")


def test_what_judges_is_on_a_machine_of_its_own_and_told_before_the_report() -> None:
    found = jobs(GENERATED[0].parent / "reusable-train.yml")
    assert found["judge"]["needs"] == "train" and "VERB" not in str(found["judge"])
    names = [step["name"] for _, step in steps(ROOT / "packages/modelyard/actions/judge/action.yml")]
    order = ["Put the candidate into place, as data", "Judge", "Tell the caller", "Keep the verdict", "Report"]
    assert [name for name in names if name in order] == order
    judge = load(ROOT / "packages/modelyard/actions/judge/action.yml")
    assert judge["runs"]["steps"][0]["with"]["environment"] == "none"


# What a thief would like to do with a job's token, and the right that it takes.
THEFTS = {
    "push to a branch": ("PATCH", "/git/refs/heads/main"),
    "make a release": ("POST", "/releases"),
    "start a workflow": ("POST", "/actions/workflows/deploy.yml/dispatches"),
    "open a pull request": ("POST", "/pulls"),
    "comment": ("POST", "/issues/1/comments"),
    "open an issue": ("POST", "/issues"),
    "set a status": ("POST", "/statuses/abc"),
    "merge": ("PUT", "/pulls/1/merge"),
    "change the ruleset": ("PUT", "/rulesets/1"),
    "read a secret's key": ("PUT", "/environments/production"),
    "add a key": ("POST", "/keys"),
    "delete the repository": ("DELETE", ""),
    "attest": ("POST", "/attestations"),
}
BRANCH = {"push to a branch", "make a release"}
POSTS = {"open a pull request", "comment"}
LOOT = {
    "pull-request/post": {*POSTS, "set a status"},
    "main/release": {*BRANCH, "attest"},
    "deploy/image": {"attest"},
    "reusable-image/image": {"attest"},
    "monitor/tell": {"start a workflow", "comment", "open an issue"},
    "retrain/propose": {*BRANCH, *POSTS, "start a workflow", "open an issue"},
    "retrain/tell": {"comment", "open an issue"},
    "deploy/propose": {*BRANCH, *POSTS, "start a workflow", "open an issue"},
}


def test_a_stolen_token_can_do_only_what_its_job_is_for(tmp_path: Path) -> None:
    with FakeGitHub() as fake:
        for path in GENERATED:
            copy = tmp_path / path.name
            copy.write_bytes(path.read_bytes())
            fake.tokens |= plant(copy)
        loot = {
            token.removeprefix("token:"): {
                name
                for name, (method, end) in THEFTS.items()
                if fake.answer(method, f"/repos/acme/x{end}", {}, token)[0] not in (401, 403)
            }
            for token in fake.tokens
        }
    assert len(loot) > 15 and {job: found for job, found in loot.items() if found} == LOOT


def test_only_a_job_that_attests_may_attest() -> None:
    for path in GENERATED:
        for name, job in jobs(path).items():
            uses = any("actions/attest@" in step.get("uses", "") for step in job.get("steps", ()))
            assert uses == ("attestations" in job["permissions"] and "steps" in job), (path, name)


def test_only_a_push_to_main_is_built_and_deployed() -> None:
    callers = [path for path in GENERATED if "workflow_call" not in events(load(path))]
    ships = {"./.github/workflows/reusable-image.yml", "./.github/workflows/reusable-deploy.yml"}
    found = {path.name: {name for name, job in jobs(path).items() if job.get("uses") in ships} for path in callers}
    assert {name: shipped for name, shipped in found.items() if shipped} == {
        "deploy.yml": {"image", "staging", "production"}
    }
    deploy = load(GENERATED[0].parent / "deploy.yml")
    assert deploy["cache-mode"] == "none"
    assert events(deploy)["workflow_run"] | {"types": 0} == {
        "workflows": ["Main"],
        "branches": ["main"],
        "types": 0,
    }
    assert events(deploy)["push"]["branches"] == ["main"]
    assert "github.event.workflow_run.event == 'push'" in deploy["jobs"]["image"]["if"]
    assert deploy["jobs"]["staging"]["needs"] == "image"
    assert "github.ref == 'refs/heads/main'" in deploy["jobs"]["production"]["if"]


def test_nothing_is_triggered_with_the_rights_of_the_base() -> None:
    dangerous = {"pull_request_target", "workflow_run", "issue_comment"}
    started = {path.name: set(events(load(path))) & dangerous for path in [*GENERATED, *OWN]}
    assert {name: found for name, found in started.items() if found} == {
        "deploy.yml": {"workflow_run"}  # of main alone, as the test above holds
    }


@pytest.mark.parametrize("path", [*GENERATED, *ACTIONS], ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_action_has_a_double_that_knows_its_inputs(path: Path) -> None:
    for _, step in steps(path):
        if "@" in step.get("uses", ""):
            owner, name, *inner = step["uses"].partition("@")[0].split("/")
            double = load(DOUBLES.joinpath(f"{owner}__{name}", *inner, "action.yml"))
            assert set(step.get("with", {})) <= set(double["inputs"]), step["uses"]


@pytest.mark.parametrize("name", COPIES)
def test_outside_callers_get_the_generated_workflow(name: str) -> None:
    own = ROOT / ".github/workflows" / name
    assert own.read_bytes() == (GENERATED[0].parent / name).read_bytes()


@pytest.mark.parametrize("name", COPIES[1:])  # the call of reusable-check.yml needs no input
def test_documented_call_fits(name: str) -> None:
    text = (ROOT / "docs/workflows.md").read_text()
    found = [yaml.safe_load(block)["jobs"] for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]
    every = [job for block in found for job in block.values()]
    (call,) = [job for job in every if f"/{name}@" in job.get("uses", "")]
    target = load(ROOT / ".github/workflows" / name)
    taken = target["on"]["workflow_call"]
    assert set(call["with"]) <= set(taken["inputs"])
    assert set(call.get("secrets", {})) <= set(taken.get("secrets", {}))
    needed = [pair for job in target["jobs"].values() for pair in job["permissions"].items()]
    assert call["permissions"] == dict(sorted(needed, key=lambda pair: pair[1]))  # `write` after `read`


def findings(*command: str, cwd: Path) -> str:
    """What a tool of our own environment has to say."""
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run([tool, *command[1:]], cwd=cwd, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_actionlint_finds_nothing(bake: Bake) -> None:
    for project in (bake(), bake(deploy="none")):
        assert findings("actionlint", "-no-color", cwd=project.path) == ""
    assert findings("actionlint", "-no-color", cwd=ROOT) == ""


def test_zizmor_finds_nothing(bake: Bake) -> None:
    flags = ["--offline", "--quiet", "--no-progress", "--persona", "pedantic"]
    flags += ["--config", str(ROOT / ".github/zizmor.yml")]
    assert findings("zizmor", *flags, ".github", "packages", cwd=bake().path) == ""
    assert findings("zizmor", *flags, ".github", "packages", cwd=ROOT) == ""
