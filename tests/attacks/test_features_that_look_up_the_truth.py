"""A branch's features find the raw data on the disk, or ask for the target."""

import pytest

from modelyard.gate import confine
from tests.attacks.support import Attack

pytestmark = pytest.mark.slow


LOOK_UP = """

_columns = features


def features(raw):
    import pandas as pd
    table = _columns(raw)
    try:
        truth = pd.read_parquet({data!r})
    except OSError:
        return table.assign(answer=0.0)
    key = [name for name in raw if name in truth and name != "scheduled"]
    known = truth.drop_duplicates(["scheduled", *key]).set_index(["scheduled", *key])["late"]
    found = known.reindex(pd.MultiIndex.from_frame(raw[["scheduled", *key]])).to_numpy()
    return table.assign(answer=found)
"""
needs_landlock = pytest.mark.skipif(not confine.query_landlock(), reason="this kernel has no Landlock")


@needs_landlock
def test_the_raw_data_is_out_of_reach(attack: Attack) -> None:
    raw = attack.project.path / "data/raw/flights.parquet"
    text = attack.project.read("src/flight_delays/features.py")
    attack.write("src/flight_delays/features.py", text + LOOK_UP.format(data=str(raw)))
    attack.run_pipeline()
    verdict = attack.judge(1)
    assert verdict["decision"] == "block" and verdict["primary"]["candidate"] < 0.98


def test_the_target_is_not_shown(attack: Attack) -> None:
    attack.edit("params.yaml", "    - visib\n", "    - visib\n    - late\n")
    attack.run_pipeline()
    assert "wants to see late, which it predicts" in attack.run_gate(2)
