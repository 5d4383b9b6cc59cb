import json
import subprocess
from pathlib import Path

import pytest

from {{cookiecutter.__package}} import promote
from {{cookiecutter.__package}}.config import MODEL, VERDICT, UserError, sha256


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    for path in (MODEL, VERDICT):
        path.parent.mkdir()
    MODEL.write_bytes(b"a model")


def judged(decision: str) -> None:
    VERDICT.write_text(json.dumps({"decision": decision, "verdict": "worse", "candidate": {"model": sha256(MODEL)}}))


def test_promote_needs_a_verdict() -> None:
    with pytest.raises(UserError, match="make gate"):
        promote.promotable()


def test_promote_refuses_a_blocked_model() -> None:
    judged("block")
    with pytest.raises(UserError, match="the gate blocked this model"):
        promote.promotable()


def test_promote_refuses_a_verdict_about_another_model() -> None:
    judged("pass")
    MODEL.write_bytes(b"another model")
    with pytest.raises(UserError, match="about another model"):
        promote.promotable()


def test_promote_refuses_a_model_that_is_not_committed() -> None:
    judged("pass")
    Path("dvc.lock").write_text("stages: {}\n")
    with pytest.raises(UserError, match="not committed"):
        promote.promotable()
