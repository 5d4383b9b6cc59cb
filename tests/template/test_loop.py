"""The loop on plain GitHub: a service's log, monitoring, its alert, and the retrain that it starts."""

import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.template import test_workflows
from tests.template.support import LIBRARY, free_address
from tests.template.test_containers import docker
from tests.template.test_workflows import Work, failures, outputs

pytestmark = pytest.mark.slow
pushed, work, api = test_workflows.pushed, test_workflows.work, test_workflows.api

WATCH, TELL = "Watch and decide", "Alert, and start the retrain"
RETRAIN = "/actions/workflows/retrain.yml/dispatches"
ROWS = 400
DATA = "data/raw/flights.parquet"
OTHERS = (
    f"import pandas as pd; rows = pd.read_parquet('{DATA}').iloc[{{}}];"
    f"rows.assign(late={{}}).to_parquet('{DATA}', index=False)"
)
LATE = (
    "import pandas as pd; from modelyard.core.params import load_params;"
    "params = load_params(); rows = pd.read_parquet(params.data.path)[params.data.features];"
    "rows = rows[rows.scheduled.dt.hour >= 20].head(400);"
    "print(rows.to_json(orient='records', date_format='iso', date_unit='s'))"
)


def test_monitor_by_the_clock_starts_a_retrain_when_params_give_a_reason(work: Work) -> None:
    done = work.github.schedule("monitor.yml")
    assert done.ok and "no trigger fired" in done.job(WATCH).log, failures(done)
    assert not work.api.posted(RETRAIN) and not work.issues()
    work.edit("params.yaml", ("schedule: 90d", "schedule: 0h"), ("minimum: 500", "minimum: 0"))
    work.push("main")
    done = work.github.schedule("monitor.yml")
    (started,) = work.api.posted(RETRAIN)
    assert started["ref"] == "main" and "(retrain.schedule: 0h)" in started["inputs"]["reason"]
    assert set(work.api.writers()) == {"token:monitor/tell"}, failures(done)


def test_a_champion_learns_on_and_is_held_to_what_it_knew(work: Work) -> None:
    python = Path(work.github.env["VENV"], "bin/python")
    work.make("retrain", "ESTIMATOR=sklearn.ensemble.RandomForestClassifier")
    work.push("main")
    first = work.clone.run("git", "rev-list", "--max-parents=0", "HEAD").strip()
    work.clone.run("git", "checkout", "--quiet", first, "--", DATA)
    work.clone.run(python, "-c", OTHERS.format("::2", "rows.late"))
    said = work.make("retrain", "STATEFUL=1")
    assert "roc_auc on the earlier holdout" in said and "outcome:" in said
    assert "start: null" not in work.clone.read("params.yaml")

    before = work.clone.read("params.yaml")
    work.clone.run("git", "checkout", "--quiet", first, "--", DATA)
    work.clone.run(python, "-c", OTHERS.format("1::2", "1 - rows.late"))
    said = work.clone.run("make", "retrain", f"VENV={work.github.env['VENV']}", "STATEFUL=1", check=False)
    assert "the model forgets what it had learned" in said and work.clone.read("params.yaml") == before


def asked(image: str, rows: list[dict[str, Any]], folder: Path) -> None:
    """Have a container of the service answer for the rows, and take its logs."""
    address = free_address()
    name = docker("run", "--detach", "--publish", f"{address}:8000", image)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://{address}/ready", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        head = {"Content-Type": "application/json"}
        body = urllib.request.Request(f"http://{address}/predict", json.dumps(rows).encode(), head)
        urllib.request.urlopen(body, timeout=30).close()
        docker("stop", "--time", "20", name)  # it writes what its log still holds
        docker("cp", f"{name}:/logs", str(folder))
    finally:
        docker("rm", "--force", name)


@pytest.fixture
def served(engine: None, work: Work, tmp_path: Path) -> Iterator[Path]:
    """The logs of a weak model's service on main, which was asked for late flights alone."""
    work.edit(
        "params.yaml",
        ("window: all", 'window: "60"'),
        ("window: null", "window: all"),
        ("persist: [2, 3]", "persist: [1, 1]"),
        ("minimum: 500", "minimum: 0"),
        ("window: 7d", "window: 1h"),
    )
    work.make("pipeline")
    work.push("main")
    python = Path(work.github.env["VENV"], "bin/python")
    rows = work.clone.run(python, "-c", LATE, PYTHONPATH=LIBRARY)
    work.make("image")
    image = json.loads(work.clone.read("reports/image.json"))["image"]
    asked(image, json.loads(rows), tmp_path / "logs")
    yield tmp_path / "logs"
    docker("image", "rm", "--force", image)


@pytest.mark.containers
def test_what_a_service_saw_comes_back_as_a_pull_request(work: Work, served: Path) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    work.github.variables["LOGS"] = str(served)
    done = work.github.schedule("monitor.yml", env={"MODELYARD_UNTIL": hour.isoformat()})
    (issue,) = work.issues()
    assert "drifted" in str(issue["title"]), failures(done)
    assert f"{ROWS} predictions" in done.job(WATCH).log
    assert set(work.api.writers()) == {"token:monitor/tell"}

    (started,) = work.api.posted(RETRAIN)
    done = work.github.dispatch("retrain.yml", inputs=started["inputs"])
    assert outputs(done)["unattended"] == "open", failures(done)
    (pull,) = work.pulls()
    assert pull["head"] == "retrain" and started["inputs"]["reason"][:40] in str(pull["title"])
    assert {"dvc.lock", "params.yaml"} <= set(work.github.changed("main", "retrain"))
