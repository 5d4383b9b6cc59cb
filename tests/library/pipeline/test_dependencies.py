"""A stage has no hidden input: whatever code it imports lies in a folder that dvc.yaml names."""

import ast
import json
from pathlib import Path

import pytest

from modelyard import LAZY
from modelyard.cli import COMMANDS
from modelyard.core.process import run_dvc
from modelyard.core.yaml import read_yaml
from tests.library.support import LIBRARY, TEMPLATE

SOURCE = LIBRARY / "src/modelyard"
STAGES = read_yaml(TEMPLATE / "dvc.yaml")["stages"]
PACKAGE = TEMPLATE / "src/{{cookiecutter.__package}}"
# They find the code that runs, and compute nothing.
ENTRANCES = {"__init__.py", "__main__.py", "cli.py", "defaults.py"}
DISTRICTS = ("core", "data", "statistics", "pipeline")


def find_file(module: str) -> Path | None:
    """Return the file of a module of the library."""
    path = SOURCE.parent / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def is_for_types_only(node: ast.stmt) -> bool:
    """Return whether a statement is run by type checkers alone."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def list_imports(path: Path) -> set[str]:
    """Return the library's modules that a file imports, also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not is_for_types_only(node)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "modelyard":
            lazy = {f"modelyard.{LAZY[alias.name]}" for alias in node.names if alias.name in LAZY}
            found |= {node.module, *lazy, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "modelyard"}
    return found


def find_imported_files(start: list[Path]) -> set[Path]:
    """Return every file of the library that some files import, directly or not."""
    pending, found = list(start), set()
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending += filter(None, map(find_file, list_imports(path)))
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_what_it_depends_on(stage: str) -> None:
    module = COMMANDS[STAGES[stage]["cmd"].split()[-1]].partition(":")[0]
    start = [find_file(f"modelyard.{module}"), *PACKAGE.glob("*.py")]
    folders = [LIBRARY.parents[1] / dep for dep in STAGES[stage]["deps"] if dep.startswith("packages/")]
    files = find_imported_files([path for path in start if path])
    library = {path for path in files if path.is_relative_to(SOURCE) and path.name not in ENTRANCES}
    hidden = [path for path in library if not any(path.is_relative_to(folder) for folder in folders)]
    assert len(library) > 15
    assert hidden == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_whole_folders(stage: str) -> None:
    deps = STAGES[stage]["deps"]
    assert {"src", *(f"packages/modelyard/src/modelyard/{name}" for name in DISTRICTS)} <= set(deps)


@pytest.mark.slow
@pytest.mark.usefixtures("committed")
def test_a_change_in_any_folder_is_seen_and_runs_the_stages_again() -> None:
    library = Path("packages/modelyard/src/modelyard")
    files = [next((library / name).glob("*s.py")) for name in DISTRICTS]
    assert json.loads(run_dvc("status", "--json").stdout) == {}
    for file in [*files, Path("src/flight_delays/features.py")]:
        before = file.read_bytes()
        file.write_bytes(before + b"\n\ndef added() -> None:\n    pass\n")
        assert set(STAGES) <= set(json.loads(run_dvc("status", "--json").stdout)), file
        file.write_bytes(before)
    (library / "data/hashing.py").write_text((library / "data/hashing.py").read_text() + "\nADDED = 1\n")
    shown = run_dvc("repro").stdout
    assert all(f"Running stage '{stage}'" in shown for stage in STAGES)
    assert "Running stage" not in run_dvc("repro").stdout
