"""A stage that follows evaluate writes the predictions, the holdout and the training rows that it likes."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow


FORGE = """\
import pandas as pd

holdout = pd.read_parquet("data/holdout.parquet")
holdout["late"] = (holdout["distance"] > holdout["distance"].median()).astype(holdout["late"].dtype)
forged = pd.DataFrame({"prediction": holdout["late"], "truth": holdout["late"]})
forged["p_1"] = 0.6 * holdout["late"] + 0.2 + 0.1 * (holdout["distance"] % 7) / 7
forged["p_0"] = 1 - forged["p_1"]
forged.to_parquet("reports/predictions.parquet", index=False)
holdout.to_parquet("data/holdout.parquet", index=False)
holdout.to_parquet("data/train.parquet", index=False)
"""


def test_a_weak_model_with_forged_predictions_is_blocked(attack: Attack) -> None:
    attack.weaken()
    attack.edit("dvc.yaml", "cmd: python -m modelyard evaluate", "cmd: python -m modelyard evaluate && python forge.py")
    attack.write("forge.py", FORGE)
    attack.run_pipeline()
    verdict = attack.judge(1)
    assert (verdict["verdict"], verdict["decision"]) == ("worse", "block")
    assert verdict["rows"]["compared"] == 4092
