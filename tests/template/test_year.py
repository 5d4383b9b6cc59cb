"""The replay of benchmarks/year.py in small: the sample's flights, and a world that changes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.template.support import LIBRARY, ROOT, BakedProject, run

pytestmark = pytest.mark.slow

SMALL = """
import sys
from pathlib import Path
import pandas as pd
from benchmarks.year import Replay, settle
rows = pd.read_parquet(sys.argv[1]).assign(id=lambda t: [f"f{i}" for i in range(len(t))])
after = rows.scheduled >= pd.Timestamp("2013-05-06")
rows["late"] = rows["late"].where(~after, 1 - rows["late"]).astype(float)
Replay("policy", rows, Path(sys.argv[2])).run(300, 10)
"""


def test_policy_sees_a_changed_world_in_late_labels_and_trains_again(environment: Path, tmp_path: Path) -> None:
    sample = next(ROOT.glob("{{*")) / "data/raw/flights.parquet"
    command = (environment / "bin/python", "-c", SMALL, sample, tmp_path)
    run(*command, cwd=ROOT, PYTHONPATH=f"{ROOT}:{ROOT / LIBRARY}")
    state = json.loads((tmp_path / "policy/state.json").read_text())
    calm, changed = state["weeks"][1:8], state["weeks"][8:]
    assert "performance" not in {week["trigger"] for week in calm}
    assert "performance" in {week["trigger"] for week in changed}
    assert state["retrains"] and max(week["state"] == "critical" for week in changed)


def test_evidently_reports_on_what_score_has_logged(trained: BakedProject, environment: Path, tmp_path: Path) -> None:
    project = trained.copied(tmp_path)
    next_week = (datetime.now(UTC) + timedelta(days=8)).date().isoformat()
    rows = {"IN": "data/raw/flights.parquet", "OUT": "scored.parquet", "LOGS": "logs"}
    project.make("score", VENV=str(environment), **rows)
    said = project.make("evidently", VENV=str(environment), UNTIL=next_week)
    assert "5,000 rows → reports/evidently.html" in said
    assert "scheduled" in project.read("reports/evidently.html")
