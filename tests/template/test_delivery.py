"""A push to main, by act on a real engine: image, staging, the proposal, its merge, its revert."""

import json
import os
from collections.abc import Iterator

import pytest
import yaml

from tests.template import test_containers, test_workflows
from tests.template.actlab.lab import Run, git
from tests.template.support import free_address
from tests.template.test_containers import ask, remove
from tests.template.test_workflows import Work, failures

pytestmark = [pytest.mark.slow, pytest.mark.containers, pytest.mark.usefixtures("engine")]
registry = test_containers.registry
pushed, work, api = test_workflows.pushed, test_workflows.work, test_workflows.api

NAME = "flight-delays"
ADDRESSES = {"staging": free_address(), "production": free_address()}
QUICK = (
    ("steps: [10, 50, 100] ", "steps: [100] "),
    ("  seconds: 30  ", "  seconds: 1  "),
    ("milliseconds: 250", "milliseconds: 5000"),
    ('"127.0.0.1:8081"', f'"{ADDRESSES["staging"]}"'),
    ('"127.0.0.1:8080"', f'"{ADDRESSES["production"]}"'),
)


@pytest.fixture
def delivering(work: Work, registry: str) -> Iterator[Work]:
    """A repository with a registry and a host for each environment; both are gone afterwards."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    work.github.variables |= {"IMAGE_REPOSITORY": registry}
    work.github.variables |= {"STAGING_HOST": host, "PRODUCTION_HOST": host}
    names = ("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_BUILDKIT")
    work.github.env |= {name: os.environ[name] for name in names if name in os.environ}
    work.edit("params.yaml", *QUICK)
    yield work
    values = {"FRONT": "none", "CHAMPION": "none", "CANDIDATE": "none", "ADDRESS": "127.0.0.1:1"}
    for environment in ADDRESSES:
        down = ("docker", "compose", "--project-name", f"{NAME}_{environment}", "down", "--volumes")
        work.clone.run(*down, check=False, **values)
    remove(registry)


def deliver(work: Work) -> Run:
    """What a push to main comes to, up to the proposal."""
    work.push("main")
    main = work.github.push(only="main.yml")
    assert main.ok, failures(main)
    done = work.github.workflow_run("deploy.yml", main)
    assert done.ok, failures(done)
    return done


def merge(work: Work, revision: str) -> Run:
    """Bring a revision into main, and run what that push starts."""
    git(work.clone.path, "fetch", "--quiet", "origin")
    git(work.clone.path, "merge", "--quiet", "--no-edit", revision)
    git(work.clone.path, "push", "--quiet", "origin", "main")
    done = work.github.push(only="deploy.yml")
    assert done.ok, failures(done)
    return done


def served(environment: str) -> str:
    return str(ask("/version", address=ADDRESSES[environment])[1]["model"])


def test_push_is_built_tried_proposed_deployed_and_taken_back(delivering: Work, registry: str) -> None:
    models = []
    for change in (("max_iter: 20", "max_iter: 21"), ("max_iter: 21", "max_iter: 22")):
        delivering.edit("params.yaml", change)
        delivering.make("pipeline")
        tried = deliver(delivering)
        models.append(served("staging"))
        (pull,) = delivering.pulls()
        assert pull["head"] == "promote" and "merging this deploys" in str(pull["title"])
        calls = (tried.artifacts / "calls.jsonl").read_text().splitlines()
        attested, bill, model = map(json.loads, calls)
        assert bill["digest"] == attested["digest"] and bill["sbom"] == "reports/sbom.json"
        assert model["digest"] == f"sha256:{models[-1]}" and model["sbom"]
        bill = json.loads((tried.artifacts / "image/sbom.json").read_text())
        assert {"numpy", "libc6"} <= {part["name"] for part in bill["components"]}
        merge(delivering, "origin/promote")
        assert served("production") == models[-1]
        champion = yaml.safe_load(delivering.clone.read("deploy/production.yaml"))["champion"]
        assert champion["image"] == f"{registry}@{attested['digest']}"
    assert models[0] != models[1]
    assert set(delivering.api.writers()) == {"token:deploy/propose"}

    git(delivering.clone.path, "revert", "--no-edit", "--mainline", "1", "HEAD")
    merge(delivering, "HEAD")
    assert served("production") == models[0]


def test_nothing_is_delivered_where_nothing_is_set_and_the_run_says_why(work: Work) -> None:
    (work.clone.path / "deploy/staging.yaml").open("a").write("# a comment\n")
    work.push("main")
    main = Run({}, work.github.tmp, event="push", name="Main")
    for done in (work.github.workflow_run("deploy.yml", main), work.github.push(only="deploy.yml")):
        said = " ".join(row["message"] for row in done.job("Why nothing is deployed").annotations)
        assert done.ok and "IMAGE_REPOSITORY" in said and "PRODUCTION_HOST" in said
        assert set(done.conclusions) == {"Why nothing is deployed"}
