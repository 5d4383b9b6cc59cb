"""A branch renames the target and empties the rules, so that nothing of the base seems to apply."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow


RENAME = """\
import pandas as pd
path = "data/raw/flights.parquet"
pd.read_parquet(path).rename(columns={"late": "is_late"}).to_parquet(path)
"""


def rename(attack: Attack) -> None:
    attack.project.run(attack.environment / "bin/python", "-c", RENAME)
    attack.edit("params.yaml", "target: late", "target: is_late")
    attack.edit("params.yaml", "floors: {roc_auc: 0.6}", "floors: {}")
    attack.edit("params.yaml", r"slices: \[origin, carrier\]", "slices: []")
    attack.edit("schema.yaml", "^  late:", "  is_late:")
    attack.weaken()


def test_another_target_is_said_first_and_blocks(attack: Attack) -> None:
    rename(attack)
    attack.run_pipeline()
    verdict = attack.judge(1)
    assert verdict["decision"] == "block" and verdict["sentence"].startswith("Blocked by ")
    assert "retarget" in verdict["sentence"].split(".")[0]
    assert verdict["notes"][0].startswith("This branch predicts `is_late`")
    assert "`data.target`" in verdict["notes"][1] and "`gate`" in verdict["notes"][1]
    assert "schema.yaml" in verdict["notes"][2]
    assert "floor" in {rule["name"] for rule in verdict["rules"]} and verdict["slices"]
    report = attack.project.read("reports/report.md").splitlines()
    assert "retarget" in report[0] and "is_late" in report[2]


def test_the_branch_cannot_allow_it_to_itself(attack: Attack) -> None:
    rename(attack)
    attack.edit("params.yaml", "  inconclusive: warn", "  retarget: warn\n  inconclusive: warn")
    attack.run_pipeline()
    assert attack.judge(1)["decision"] == "block"


def test_the_base_can_allow_it(attack: Attack) -> None:
    attack.edit("params.yaml", "  inconclusive: warn", "  retarget: warn\n  inconclusive: warn")
    attack.project.commit("Another target is coming")
    attack.project.run("git", "branch", "--quiet", "--force", "main")
    rename(attack)
    attack.edit("params.yaml", "max_iter: 3", "max_iter: 150")
    attack.run_pipeline()
    assert attack.judge(0)["notes"][0].startswith("This branch predicts `is_late`")
