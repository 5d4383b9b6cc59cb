import json
import subprocess
from pathlib import Path

import pytest

from modelyard.core import deployments
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.paths import MODEL_FILE, VERDICT_JSON
from modelyard.delivery import promote


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    subprocess.run(["git", "init", "--quiet"], check=True)
    for path in (MODEL_FILE, VERDICT_JSON):
        path.parent.mkdir()
    MODEL_FILE.write_bytes(b"a model")


def judged(decision: str) -> None:
    VERDICT_JSON.write_text(
        json.dumps({"decision": decision, "verdict": "worse", "candidate": {"model": sha256(MODEL_FILE)}})
    )


def test_promote_needs_a_verdict() -> None:
    with pytest.raises(UserError, match="make gate"):
        promote.load_promotable_verdict()


def test_promote_refuses_a_blocked_model() -> None:
    judged("block")
    with pytest.raises(promote.BlockedModelError, match="the gate blocked this model"):
        promote.load_promotable_verdict()


def test_promote_refuses_a_verdict_about_another_model() -> None:
    judged("pass")
    MODEL_FILE.write_bytes(b"another model")
    with pytest.raises(UserError, match="about another model"):
        promote.load_promotable_verdict()


def test_promote_refuses_a_model_that_is_not_committed() -> None:
    judged("pass")
    Path("dvc.lock").write_text("stages: {}\n")
    with pytest.raises(UserError, match="not committed"):
        promote.load_promotable_verdict()


def test_promote_names_the_image_and_lets_mlflow_be_where_nothing_is_tracked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("deploy").mkdir()
    Path("deploy/staging.yaml").write_text("champion: null\n")
    monkeypatch.setattr(promote, "load_promotable_verdict", lambda: {"verdict": "better"})
    monkeypatch.setattr(promote, "run_git", lambda *_: "c" * 40)
    judged("pass")
    for image in ("", "x@sha256:1", "x@sha256:1"):
        promote.main("staging", image)
    assert deployments.load_state("staging")["champion"]["image"] == "x@sha256:1"
    said = capsys.readouterr().out
    assert said.count("nothing is tracked here") == 2 and said.count("is the champion already") == 1
