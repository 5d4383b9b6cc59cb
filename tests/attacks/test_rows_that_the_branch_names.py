"""A branch writes into models/rows.npy which rows of the holdout it was trained on, so that these are not compared."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow

# Leaves the half of the holdout out that the weak model predicts worst.
NAME_ROWS = """\
import numpy as np
import pandas as pd

from modelyard.core.paths import ROW_HASHES_FILE
from modelyard.data.hashing import row_hashes

holdout = pd.read_parquet("data/holdout.parquet")
chosen = holdout[holdout["late"] == (holdout["distance"] > holdout["distance"].median())].head(len(holdout) // 3)
np.save(ROW_HASHES_FILE, np.sort(np.concatenate([np.load(ROW_HASHES_FILE), row_hashes(chosen)])))
"""


def test_a_branch_does_not_choose_the_compared_rows(attack: Attack) -> None:
    attack.weaken()
    attack.edit("dvc.yaml", "cmd: python -m modelyard train", "cmd: python -m modelyard train && python name_rows.py")
    attack.write("name_rows.py", NAME_ROWS)
    attack.run_pipeline()
    verdict = attack.judge(1)
    failed = [rule["sentence"] for rule in verdict["rules"] if not rule["passed"]]
    assert verdict["decision"] == "block"
    assert any("rows of the holdout in models/rows.npy that its split does not train on" in line for line in failed)


def test_a_split_that_trains_on_a_part_of_the_holdout_hides_none_of_it(attack: Attack) -> None:
    attack.weaken()
    attack.edit("params.yaml", r"\n  holdout: [\d.]+", "\n  holdout: 0.15")
    attack.run_pipeline()
    verdict = attack.judge(1)
    failed = [rule["name"] for rule in verdict["rules"] if not rule["passed"]]
    assert verdict["decision"] == "block" and "retarget" in failed
