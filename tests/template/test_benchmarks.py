"""Every benchmark can be imported: a name that the library renames fails here, and not in the middle of a long run."""

import importlib
import math
from pathlib import Path

import pytest
from benchmarks import gate
from benchmarks.populations import Binary, Regression
from benchmarks.support import settle

from modelyard.core.project import Project
from tests.template.support import ROOT

MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_benchmark_imports(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_library_finds_a_project_where_settle_wrote_one(tmp_path: Path) -> None:
    project = Project.load(settle(tmp_path / "project"))
    assert project.source.is_dir()
    assert project.params.data.target == "late"


def test_populations_give_every_metric_its_value() -> None:
    for model, names in ((Binary(), gate.CLASSES), (Binary(step=0.1), gate.CLASSES), (Regression(), gate.NUMBERS)):
        assert all(math.isfinite(model.metric(name)) for name in names)


def test_gate_judges_a_drawn_holdout() -> None:
    job = gate.Job(gate.GROUPS, ("roc_auc", "log_loss"), 3000, 2, sliced=True, plain=True)
    assert [len(tally.outcomes) for tally in gate.run(job)] == [2, 2]
