"""A branch has modules named like those that the judge imports, installed ones and such as pandas only tries."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow


NAMES = ("joblib", "numexpr", "bottleneck", "sitecustomize", "usercustomize", "numpy", "runpy", "yaml")


def test_no_module_of_the_branch_is_imported_by_a_verb(attack: Attack) -> None:
    attack.plant(*(f"{folder}{name}.py" for folder in ("", "src/") for name in NAMES))
    attack.edit("params.yaml", "l2_regularization: 1.0", "l2_regularization: 1.001")
    attack.run_pipeline()
    assert attack.judge(0)["decision"] == "pass"
    assert not attack.canary.exists(), attack.canary.read_text()


def test_none_is_imported_without_make(attack: Attack) -> None:
    attack.plant("joblib.py", "numexpr.py", "src/joblib.py", "src/numexpr.py")
    python = (attack.environment / "bin/python", "-m", "modelyard", "gate", "--base", "main")
    attack.project.run(*python, PYTHONPATH="packages/modelyard/src:src")
    assert not attack.canary.exists(), attack.canary.read_text()


def test_the_branchs_own_package_is_not_imported_by_the_judge(attack: Attack) -> None:
    attack.plant(*(f"src/flight_delays/{name}.py" for name in ("data", "metrics", "model")), keep=True)
    attack.project.commit("Code that the judge would run")
    attack.run_gate(0)
    seen = attack.canary.read_text() if attack.canary.exists() else ""
    assert "'gate'" not in seen, seen


def test_a_committed_environment_is_refused(attack: Attack) -> None:
    (attack.project.path / ".venv").mkdir()
    attack.plant(".venv/sitecustomize.py")
    attack.project.run("git", "add", "--force", ".venv")
    assert "git has files of .venv" in attack.project.make("gate", check=False)
