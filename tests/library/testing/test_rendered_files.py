"""The files that a new project starts with: src/ and tests/ of the template."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from modelyard.core.files import sha256
from modelyard.core.paths import METRICS_JSON, MODEL_FILE
from modelyard.core.project import Project
from modelyard.data.source import open_table
from modelyard.pipeline import evaluate, split, train, validate
from tests.library.support import PROJECT, TEMPLATE

PACKAGE = TEMPLATE / "src/{{cookiecutter.__package}}"


def import_file(name: str) -> ModuleType:
    """Import a file of the template's package."""
    spec = importlib.util.spec_from_file_location(f"rendered_{name}", PACKAGE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_time_becomes_hour_and_weekday() -> None:
    raw = pd.DataFrame({"at": pd.to_datetime(["2024-01-01 06:30", None]), "x": [1, 2]})
    table = import_file("features").features(raw)
    assert table.iloc[0].to_dict() == {"x": 1.0, "at_hour": 6.5, "at_weekday": 0.0}
    assert table.iloc[1].isna().sum() == 2


def test_a_column_of_the_table_is_never_replaced_by_a_derived_one() -> None:
    raw = pd.DataFrame({"at": pd.to_datetime(["2024-01-01 06:30"]), "at_hour": [0.35]})
    table = import_file("features").features(raw)
    assert table.iloc[0].to_dict() == {"at_hour": 0.35, "at__hour": 6.5, "at__weekday": 0.0}


def test_the_small_project_has_the_features_of_the_template() -> None:
    ours = {file.name: file.read_text() for file in PACKAGE.glob("features.py")}
    assert ours == {file.name: file.read_text() for file in (PROJECT / "src/flight_delays").glob("features.py")}


def test_the_files_call_the_librarys_defaults(project: Path) -> None:
    for name in ("data", "model", "metrics"):
        (project / f"src/flight_delays/{name}.py").unlink(missing_ok=True)
    train.main()
    before, metrics = sha256(MODEL_FILE), json.loads(METRICS_JSON.read_text())
    for file in PACKAGE.glob("*.py"):
        shutil.copyfile(file, project / "src/flight_delays" / file.name)
    for stage in (validate, split, train, evaluate):
        stage.main()
    assert sha256(MODEL_FILE) == before
    assert json.loads(METRICS_JSON.read_text()) == metrics
    assert open_table(Project.load()) == Path("data/raw/flights.parquet")


@pytest.mark.parametrize("folder", ["src", "tests"])
def test_the_files_are_python_without_a_tag(folder: str) -> None:
    files = list((TEMPLATE / folder).rglob("*.py"))
    assert len(files) >= 3
    for file in files:
        text = file.read_text(encoding="utf-8")
        compile(text, file.name, "exec")
        assert "{{" not in text
        assert "{%" not in text


def test_the_files_are_short() -> None:
    counts = {
        folder: sum(len(file.read_text().splitlines()) for file in (TEMPLATE / folder).rglob("*.py"))
        for folder in ("src", "tests")
    }
    assert counts["src"] <= 110
    assert counts["tests"] <= 100
