"""The library's action `setup`, run by act in a small project with verbs of its own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.template.actlab.lab import GitHub, Run, git
from tests.template.support import ROOT

PIN = "0" * 40
ACTION = "packages/modelyard/actions/setup"
WORKFLOW = """
name: CI
on: [push]
permissions: {{}}
jobs:
  job:
    runs-on: ubuntu-latest
    env: {{MODELYARD_PYTHON: "3.12"}}
    steps:
      - uses: actions/checkout@{pin}
      - id: setup
        uses: ./{action}
        with: {given}
      - env: {{KEY: "${{{{ steps.setup.outputs.dvc-key }}}}"}}
        run: echo "restored from <$KEY>"
      - uses: actions/cache/save@{pin}
        with: {{path: .dvc/cache, key: "dvc-${{{{ hashFiles('dvc.lock') }}}}"}}
"""
MAKEFILE = """
install:
	@echo "the default branch is <$$(git symbolic-ref refs/remotes/origin/HEAD)>"
	@echo "install for <$(MODELYARD_PYTHON)>, Pythons in <$(UV_PYTHON_INSTALL_DIR)>, region <$(AWS_REGION)>"
	@test -e .venv/made && echo "the environment was there" || { mkdir -p .venv && touch .venv/made; }
pull:
	@echo "pull in region <$(AWS_REGION)>"
	@mkdir -p .dvc/cache && touch .dvc/cache/rows
"""
FILES = {
    "Makefile": MAKEFILE,
    ".python-version": "3.11\n",
    "requirements/dev.txt": "numpy==2.0.0\n",
    "packages/modelyard/pyproject.toml": "[project]\n",
    "dvc.lock": "stages: {}\n",
}
IDENTITIES = {
    "aws-role": "reader",
    "google-provider": "provider",
    "azure-client": "client",
    "azure-tenant": "tenant",
}
SetUp = Callable[..., Run]


@pytest.fixture
def set_up(tmp_path: Path) -> SetUp:
    """Pushes a project whose one job sets up with these inputs, after these changes of its files."""
    origin, clone = tmp_path / "origin.git", tmp_path / "clone"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", origin)
    git(tmp_path, "init", "-q", "-b", "main", clone)
    shutil.copytree(ROOT / ACTION, clone / ACTION)
    github = GitHub(origin, tmp_path)

    def inner(files: dict[str, str] | None = None, **given: str) -> Run:
        inputs = json.dumps({name.replace("_", "-"): value for name, value in given.items()})
        workflow = WORKFLOW.format(pin=PIN, action=ACTION, given=inputs)
        there = FILES | {".github/workflows/ci.yml": workflow} | (files or {})
        for name, text in there.items():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_text(text)
        git(clone, "add", "-A")
        git(clone, "commit", "-q", "--allow-empty", "-m", "a change")
        git(clone, "push", "-q", origin, "main")
        done = github.push()
        assert done.ok, done.job("job").log + done.stderr
        return done

    return inner


def kept(done: Run) -> bool:
    """Whether the job began with an environment that an earlier one had made."""
    return "the environment was there" in done.job("job").log


def test_environment_is_made_where_the_cache_takes_it_along(set_up: SetUp) -> None:
    log = set_up().job("job").log
    assert "install for <3.12>" in log and "/.uv/python>, region" in log
    assert "pull in" not in log and "restored from <>" in log


def test_environment_is_kept_only_where_that_is_asked_for(set_up: SetUp) -> None:
    set_up(environment="restore")
    assert not kept(set_up(environment="keep"))
    assert kept(set_up(environment="restore")) and kept(set_up(environment="keep"))
    assert not kept(set_up(environment="none"))


@pytest.mark.parametrize("name", [".python-version", "requirements/dev.txt", "packages/modelyard/pyproject.toml"])
def test_environment_of_other_pins_is_made_anew(set_up: SetUp, name: str) -> None:
    set_up(environment="keep")
    assert not kept(set_up({name: FILES[name] + "# other\n"}))


def test_data_comes_with_the_nearest_cache_and_its_key(set_up: SetUp) -> None:
    assert "restored from <>" in set_up(data="true").job("job").log
    exact = set_up(data="true").job("job")
    key = exact.outputs["dvc"]["key"]
    assert key.startswith("dvc-") and len(key) > 20 and f"restored from <{key}>" in exact.log
    other = set_up({"dvc.lock": "stages: {train: {}}\n"}, data="true")
    assert f"restored from <{key}>" in other.job("job").log


def test_default_branch_has_a_name_as_in_a_clone(set_up: SetUp) -> None:
    assert "the default branch is <refs/remotes/origin/main>" in set_up(environment="none").job("job").log


def test_no_identity_is_taken_where_none_is_given(set_up: SetUp) -> None:
    none = dict.fromkeys(IDENTITIES, "")
    assert not (set_up(data="true", **none).artifacts / "calls.jsonl").exists()


@pytest.mark.parametrize(("region", "taken"), [("", "us-east-1"), ("eu-west-1", "eu-west-1")])
def test_identities_are_taken_for_the_pull_and_not_for_the_installation(set_up: SetUp, region: str, taken: str) -> None:
    done = set_up(data="true", aws_region=region, **IDENTITIES)
    calls = (done.artifacts / "calls.jsonl").read_text()
    assert all(value in calls for value in IDENTITIES.values())
    log = done.job("job").log
    assert f"pull in region <{taken}>" in log and "python>, region <>" in log
