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
    assert "rows of the holdout that the branch's split does not train on" in attack.run_gate(2)
