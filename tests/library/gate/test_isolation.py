from pathlib import Path

import msgspec
import pytest

from modelyard.core.params import GATE_RULES_VARIABLE, EvaluateParams, load_params
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.gate.isolation import (
    apply_base_rules,
    find_judge_notes,
    has_library,
    is_library_changed,
    run_base_gate,
)
from tests.library.gate.support import PARAMS, commit_all

LIBRARY = Path("packages/modelyard/src/modelyard")
JUDGE = """\
import sys
from pathlib import Path

Path("judged").write_text(" ".join(sys.argv[1:]))
sys.exit(1)
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The commit of a repository whose library blocks everything."""
    monkeypatch.chdir(tmp_path)
    LIBRARY.mkdir(parents=True)
    (LIBRARY / "__init__.py").touch()
    (LIBRARY / "__main__.py").write_text(JUDGE, encoding="utf-8")
    (tmp_path / ".dvc").mkdir()
    return commit_all()


def test_base_library_does_not_judge_where_the_branch_has_the_same(base: str) -> None:
    assert run_base_gate(base) is None
    assert not Path("judged").exists()


@pytest.mark.parametrize("name", ["__main__.py", "new.py"], ids=["changed", "new"])
def test_base_library_judges_where_the_branch_has_another(base: str, name: str) -> None:
    (LIBRARY / name).write_text("raise SystemExit(0)\n", encoding="utf-8")
    assert run_base_gate(base) == 1
    assert Path("judged").read_text(encoding="utf-8") == f"gate --base {base}"


def test_base_library_judges_where_the_branch_committed_its_own(base: str) -> None:
    (LIBRARY / "__main__.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    commit_all()
    assert run_base_gate(base) == 1


def test_a_package_in_the_current_folder_does_not_judge(base: str) -> None:
    (LIBRARY / "new.py").touch()
    Path("modelyard").mkdir()
    Path("modelyard/__main__.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    assert run_base_gate(base) == 1


def test_the_base_library_does_not_call_itself(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (LIBRARY / "new.py").touch()
    monkeypatch.setenv(GATE_RULES_VARIABLE, base)
    assert run_base_gate(base) is None


def test_caches_are_no_change(base: str) -> None:
    (LIBRARY / "__pycache__").mkdir()
    (LIBRARY / "__pycache__/new.pyc").touch()
    assert not is_library_changed(base)


def test_a_base_without_a_library_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = commit_all("first")
    assert find_judge_notes(base) == []  # a first commit, which is compared with itself
    LIBRARY.mkdir(parents=True)
    (LIBRARY / "__init__.py").touch()
    commit_all("library")
    assert not has_library(base) and has_library("HEAD")
    assert run_base_gate(base) is None
    assert find_judge_notes(base) == [
        "The base has no packages/modelyard, so this branch was judged by its own library."
    ]


@pytest.mark.usefixtures("project")
def test_rules_come_from_the_base() -> None:
    Path("dvc.lock").write_text("stages: {}\n", encoding="utf-8")
    base = commit_all()
    params = load_params()
    changed = msgspec.structs.replace(params, evaluate=EvaluateParams("accuracy"), seed=99)
    rules = apply_base_rules(base, changed)
    assert rules.changed == ["evaluate"]
    assert rules.params.evaluate == params.evaluate
    assert rules.params.seed == 99


@pytest.mark.usefixtures("project")
def test_rules_are_the_branchs_own_where_the_base_has_no_pipeline() -> None:
    assert apply_base_rules(commit_all(), PARAMS).params == PARAMS


@pytest.mark.usefixtures("project")
def test_rules_of_a_base_that_is_not_valid_are_noted() -> None:
    found = read_yaml(Path("params.yaml"))
    params = load_params()
    Path("params.yaml").write_text(dump_yaml(found | {"seed": "one"}), encoding="utf-8")
    Path("dvc.lock").write_text("stages: {a: {}}\n", encoding="utf-8")
    rules = apply_base_rules(commit_all(), params)
    assert rules.params == params
    assert "judged by its own rules" in rules.notes[0]
