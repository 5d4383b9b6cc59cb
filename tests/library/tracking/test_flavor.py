import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pandas as pd
import pytest

from modelyard.core.paths import DVC_LOCK, HOLDOUT_PARQUET, PREDICTIONS_PARQUET
from modelyard.core.project import Project
from modelyard.tracking import flavor, store

PREDICT = """
import sys, mlflow, pandas as pd
for folder in sys.argv[1:]:
    model = mlflow.pyfunc.load_model(folder)
    found = model.predict(pd.read_parquet("rows.parquet"))
    print(found.iloc[:, -1].sum())
"""


@pytest.fixture
def logged(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a logged model, moved to where no project is; that is the current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    DVC_LOCK.write_text("stages: {}\n")
    store.main()
    (found,) = store.STORE_FOLDER.glob("artifacts/models/*/artifacts")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(found, elsewhere / "model")
    shutil.copyfile(HOLDOUT_PARQUET, elsewhere / "rows.parquet")
    shutil.copyfile(PREDICTIONS_PARQUET, elsewhere / "predictions.parquet")
    shutil.rmtree(project)
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return elsewhere / "model"


def predict_in_fresh_process(*folders: Path) -> list[float]:
    """Return the sum of the last column of each model's predictions."""
    command = [sys.executable, "-c", PREDICT, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.split()]


def sum_of_predictions() -> float:
    return float(pd.read_parquet("predictions.parquet").drop(columns="truth").iloc[:, -1].sum())


def test_logged_model_predicts_in_a_process_outside_the_project(logged: Path) -> None:
    assert predict_in_fresh_process(logged) == [pytest.approx(sum_of_predictions())]


@pytest.mark.slow
def test_logged_model_uses_its_own_features_beside_another_of_the_same_package(logged: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(logged, other)
    features = other / "code/src/flight_delays/features.py"
    features.write_text(features.read_text().replace("return table", 'return table.assign(distance=float("nan"))'))
    first, second, third = predict_in_fresh_process(logged, other, logged)
    assert first == third == pytest.approx(sum_of_predictions())
    assert second != pytest.approx(first)


def test_logged_model_carries_only_what_a_prediction_needs(logged: Path) -> None:
    code = logged / "code"
    assert {path.name for path in code.iterdir()} == {"modelyard", "pyproject.toml", "src"}
    districts = {path.name for path in (code / "modelyard").iterdir() if path.is_dir()}
    assert districts == {"core", "data", "statistics", "pipeline", "tracking"}
    assert not list(code.rglob("__pycache__"))
    assert Project.load(code).source == code / "src/flight_delays"


def test_logged_model_pins_packages_in_a_form_that_pip_takes_with_others(logged: Path) -> None:
    pins = (logged / "requirements.txt").read_text()
    assert "scikit-learn==" in pins
    assert "--hash" not in pins and "\\" not in pins


@contextmanager
def mlflow_server(model: Path) -> Iterator[str]:
    """Run `mlflow models serve` on a free port and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model), "--port", str(port)]
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with Path("log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--env-manager", "local"], env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(server, f"http://127.0.0.1:{port}/ping")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def wait_for(server: "subprocess.Popen[bytes]", address: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, Path("log").read_text()
        try:
            urlopen(address, timeout=5)
        except (URLError, OSError):
            time.sleep(0.3)
        else:
            return
    pytest.fail(Path("log").read_text())


@pytest.mark.slow
def test_logged_model_is_served_by_mlflow(logged: Path) -> None:
    example = json.loads((logged / "input_example.json").read_text())
    with mlflow_server(logged) as address:
        head = {"Content-Type": "application/json"}
        request = Request(f"{address}/invocations", json.dumps({"dataframe_split": example}).encode(), head)
        found = json.loads(urlopen(request, timeout=60).read())["predictions"]
    kept = pd.read_parquet("predictions.parquet").drop(columns="truth").head(flavor.EXAMPLE_ROWS)
    pd.testing.assert_frame_equal(pd.DataFrame(found), kept, check_dtype=False)
