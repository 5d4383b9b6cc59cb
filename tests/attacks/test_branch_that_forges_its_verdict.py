"""A branch that changes no owned file, and whose features.py writes what it is judged by; the workflows run by act."""

import json

import pytest

from tests.template.test_workflows import REQUIRED, Work, api, failures, outputs, pushed, weaken, work  # noqa: F401

pytestmark = pytest.mark.slow

FEATURES = "src/flight_delays/features.py"
WORSE = ("max_iter: 20", "max_iter: 1"), ("max_leaf_nodes: 15", "max_leaf_nodes: 2")
# While it trains, and while the report is made: not in the gate, which has its own attacks.
FORGE = """

import json
import os
import sys
from pathlib import Path

if os.environ.get("GITHUB_ACTIONS") and "gate" not in sys.argv:
    forged = {"verdict": "better", "decision": "pass", "unattended": "open", "sentence": "Better: forged."}
    path = Path("reports/verdict.json")
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(found | forged))
    with open(os.environ["GITHUB_OUTPUT"], "a") as file:
        file.write("".join(f"{key}={value}\\n" for key, value in forged.items()))
    tools = Path("tools").absolute()
    tools.mkdir(exist_ok=True)
    (tools / "make").write_text("#!/bin/sh\\nexit 0\\n")
    (tools / "make").chmod(0o755)
    with open(os.environ["GITHUB_PATH"], "a") as file:
        file.write(f"{tools}\\n")
"""
CHANGE_RULES = """

import os
from pathlib import Path

if os.environ.get("GITHUB_ACTIONS") and "signed: [touch" not in Path("params.yaml").read_text():
    text = Path("params.yaml").read_text().replace("signed: []", "signed: [touch, canary]")
    Path("params.yaml").write_text(text.replace("inconclusive: warn", "drop: 1.0e+9"))
"""


def append(work: Work, text: str) -> None:  # noqa: F811
    path = work.clone.path / FEATURES
    path.write_text(path.read_text() + text)


def test_a_worse_model_that_forges_its_verdict_may_not_be_merged(work: Work) -> None:  # noqa: F811
    work.edit("params.yaml", *WORSE)
    append(work, FORGE)
    work.push("forger")
    done = work.github.pull_request("forger")
    assert outputs(done)["decision"] == "block", failures(done)
    assert done.job(REQUIRED).steps["The model may be merged"] == "failure"
    assert json.loads((done.artifacts / "verdict/verdict.json").read_text())["decision"] == "block"
    status = work.api.calls[-1]["body"]
    assert status["state"] == "failure" and "forged" not in status["description"]
    assert "forged" not in work.comments()[0]


def test_a_retrain_proposes_no_rule_that_its_training_wrote(work: Work) -> None:  # noqa: F811
    weaken(work)
    append(work, CHANGE_RULES)
    work.make("pipeline")
    work.push("main")
    done = work.github.dispatch("retrain.yml", inputs={"window": "all"})
    assert outputs(done)["unattended"] == "open", failures(done)
    assert "touch, canary" in (done.artifacts / "candidate/params.yaml").read_text()
    work.clone.run("git", "fetch", "--quiet", "origin", "retrain")
    proposed = work.clone.run("git", "show", "FETCH_HEAD:params.yaml")
    assert 'window: "all"' in proposed and "canary" not in proposed and "drop:" not in proposed
    assert not list(work.github.tmp.rglob("canary"))
