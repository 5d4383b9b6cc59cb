"""A branch changes what prepares the rows, and keeps the champion's model file."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow

WORSE = """

_features = features


def features(table):
    found = _features(table)
    numbers = list(found.select_dtypes("number"))
    return found.assign(**dict.fromkeys(numbers, 0.0))
"""


def test_the_champions_model_with_other_code_is_not_unchanged(attack: Attack) -> None:
    attack.append("src/flight_delays/features.py", WORSE)
    attack.project.run("bash", "-c", f"PATH={attack.environment}/bin:$PATH dvc commit --force --quiet train")
    attack.project.commit("An attack")
    verdict = attack.judge(1)
    assert (verdict["verdict"], verdict["decision"]) == ("worse", "block")
