"""A branch's pipeline replaces the champion's model in DVC's cache, or the data that it would be trained on again."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow


POISON = """\
import os
from pathlib import Path
import yaml

lock = yaml.safe_load(os.popen("git show main:dvc.lock").read())
digest = next(out["md5"] for out in lock["stages"]["train"]["outs"] if out["path"] == "models/model.skops")
cached = Path(".dvc/cache/files/md5", digest[:2], digest[2:])
cached.unlink()
cached.write_bytes(Path("models/model.skops").read_bytes())
"""


def test_a_weak_champion_from_the_cache_is_not_believed(attack: Attack) -> None:
    attack.weaken()
    attack.run_pipeline()
    attack.project.run(attack.environment / "bin/python", "-c", POISON)
    verdict = attack.judge(1)
    assert (verdict["verdict"], verdict["champion"]["source"]) == ("worse", "rebuilt")


# The champion's model is gone, and what its commit calls raw data has its rows' labels shuffled.
POISON_DATA = """
from pathlib import Path
import pandas as pd
import yaml

def cached(digest):
    return Path(".dvc/cache/files/md5", digest[:2], digest[2:])

lock = yaml.safe_load(__import__("os").popen("git show main:dvc.lock").read())
for out in lock["stages"]["train"]["outs"]:
    cached(out["md5"]).unlink(missing_ok=True)
path = cached(yaml.safe_load(Path("data/raw/flights.parquet.dvc").read_text())["outs"][0]["md5"])
table = pd.read_parquet(path)
table["late"] = table["late"].sample(frac=1, random_state=0).to_numpy()
path.unlink()
table.to_parquet(path)
path.chmod(0o444)  # DVC takes what is write-protected as it is
"""


def test_a_champion_is_not_trained_again_on_data_that_the_cache_lies_about(attack: Attack) -> None:
    python = attack.environment / "bin/python"
    attack.project.run("git", "rm", "--quiet", "--cached", "data/raw/flights.parquet")
    attack.project.run(python, "-m", "dvc", "add", "--quiet", "data/raw/flights.parquet")
    attack.project.commit("Data by DVC")
    attack.project.run("git", "branch", "--force", "main")
    attack.weaken()
    attack.run_pipeline()
    attack.project.run(python, "-c", POISON_DATA)
    assert "flights.parquet.dvc names; delete DVC's cache" in attack.run_gate(2)
