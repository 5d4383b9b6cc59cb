from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from modelyard.core.errors import InvalidFileError
from modelyard.core.params import GATE_RULES_VARIABLE, EvaluateParams, GateParams, load_params
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.data.schema import read_key
from modelyard.gate.isolation import (
    BaseRules,
    apply_base_rules,
    describe_changes,
    describe_lost_columns,
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


def judge(change: dict[str, Any], columns: list[str] | None = None) -> BaseRules:
    """Commit the project with a pipeline, and apply its rules to a branch with other blocks of parameters."""
    Path("dvc.lock").write_text("stages: {}\n", encoding="utf-8")
    base = commit_all()
    names = list(pd.read_parquet(load_params().data.path))
    return apply_base_rules(base, msgspec.structs.replace(load_params(), **change), columns or names)


def change_data(**changes: Any) -> dict[str, Any]:
    return {"data": msgspec.structs.replace(load_params().data, **changes)}


@pytest.mark.usefixtures("project")
def test_rules_come_from_the_base() -> None:
    rules = judge({"evaluate": EvaluateParams("accuracy"), "seed": 99})
    assert (rules.changed, rules.obstacle) == (["evaluate"], "")
    assert rules.params.evaluate == load_params().evaluate
    assert rules.params.seed == 99


@pytest.mark.usefixtures("project")
def test_time_group_and_sensitive_columns_come_from_the_base_and_features_from_the_branch() -> None:
    before = load_params().data
    rules = judge(change_data(time=None, group="carrier", sensitive=["origin"], features=["distance"]))
    assert rules.changed == ["data.time", "data.group", "data.sensitive"]
    data = rules.params.data
    assert (data.time, data.group, data.sensitive) == (before.time, before.group, before.sensitive)
    assert data.features == ["distance"]


@pytest.mark.usefixtures("project")
def test_another_key_does_not_split() -> None:
    key = read_key()
    Path("dvc.lock").write_text("stages: {}\n", encoding="utf-8")
    base = commit_all()
    Path("schema.yaml").write_text(dump_yaml(read_yaml(Path("schema.yaml")) | {"unique": ["carrier"]}))
    rules = apply_base_rules(base, load_params(), list(pd.read_parquet(load_params().data.path)))
    assert (rules.key, rules.changed) == (key, ["schema.unique"])


@pytest.mark.usefixtures("project")
def test_another_target_is_an_obstacle_and_keeps_the_rules_that_fit() -> None:
    gate = GateParams(floors={"roc_auc": 0.9, "rmse": 1.0}, slices=["origin"])
    Path("params.yaml").write_text(dump_yaml(read_yaml(Path("params.yaml")) | {"gate": msgspec.to_builtins(gate)}))
    rules = judge(change_data(target="is_late") | {"gate": GateParams()})
    assert "predicts `is_late`" in rules.obstacle and rules.changed == ["gate", "data.target"]
    assert (rules.params.gate.floors, rules.params.gate.slices) == ({"roc_auc": 0.9}, ["origin"])
    assert rules.params.data.target == "is_late"


@pytest.mark.usefixtures("project")
def test_a_column_of_the_split_that_is_gone_is_an_obstacle() -> None:
    params = load_params()
    left = [name for name in pd.read_parquet(params.data.path) if name != params.data.time]
    assert f"has no column `{params.data.time}`" in judge(change_data(time=None), left).obstacle


@pytest.mark.usefixtures("project")
def test_a_slice_that_the_data_has_lost_is_named() -> None:
    Path("params.yaml").write_text(dump_yaml(read_yaml(Path("params.yaml")) | {"gate": {"slices": ["origin", "moon"]}}))
    rules = judge({})
    assert rules.params.gate.slices == ["origin"]
    assert rules.lost == ["moon"]
    assert describe_lost_columns(rules.lost) == "has no column `moon`, whose values the base compares"


@pytest.mark.usefixtures("project")
def test_a_model_of_another_split_in_the_lock_is_a_change() -> None:
    params = read_yaml(Path("params.yaml"))
    used = {"params.yaml": {"data": params["data"], "split": {"holdout": 0.01}}}
    Path("dvc.lock").write_text(dump_yaml({"stages": {"split": {"params": used}}}), encoding="utf-8")
    rules = apply_base_rules(commit_all(), load_params(), list(pd.read_parquet(params["data"]["path"])))
    assert rules.changed == ["the split in dvc.lock"]


@pytest.mark.usefixtures("project")
def test_rules_are_the_branchs_own_where_the_base_has_no_pipeline() -> None:
    base = commit_all()
    assert apply_base_rules(base, PARAMS, []).params == PARAMS
    assert apply_base_rules(base, PARAMS, []).notes == []
    commit_all("A change")
    assert "judged by its own rules" in apply_base_rules(base, PARAMS, []).notes[0]


@pytest.mark.usefixtures("project")
def test_a_base_whose_rules_are_not_valid_cannot_judge() -> None:
    found = read_yaml(Path("params.yaml"))
    params = load_params()
    Path("params.yaml").write_text(dump_yaml(found | {"seed": "one"}), encoding="utf-8")
    Path("dvc.lock").write_text("stages: {a: {}}\n", encoding="utf-8")
    with pytest.raises(InvalidFileError, match="correct it on the base first"):
        apply_base_rules(commit_all(), params, [])


def test_what_a_branch_changes_is_said_in_order() -> None:
    rules = BaseRules(PARAMS, [], ["gate", "data.target"], "predicts `b`", ["Lost."])
    assert describe_changes(rules, ["columns.x.dtype"]) == [
        "This branch predicts `b`: it was judged by those of the base's rules that fit it.",
        "This branch changes the rules (`gate`, `data.target`); the base's hold where they fit.",
        "This branch changes schema.yaml: `columns.x.dtype`.",
        "Lost.",
    ]


@pytest.mark.usefixtures("project")
def test_code_that_is_not_committed_is_noted() -> None:
    base = commit_all()
    assert find_judge_notes(base) == []
    Path("src/flight_delays/helper.py").touch()
    Path("src/flight_delays/features.py").write_text("def features(raw):\n    return raw\n", encoding="utf-8")
    names = "`src/flight_delays/features.py`, `src/flight_delays/helper.py`"
    assert find_judge_notes(base) == [f"What was judged is not committed in {names}."]
