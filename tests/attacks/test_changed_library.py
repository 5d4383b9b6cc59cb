"""A branch changes what its verdict is computed with: defaults and statistics, not only the gate's own modules."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow


LIBRARY = "packages/modelyard/src/modelyard"


def test_defaults_and_statistics_are_the_bases(attack: Attack) -> None:
    attack.weaken()
    attack.edit(f"{LIBRARY}/core/params.py", "drop: float = 2.0", "drop: float = 1e9")
    attack.edit(f"{LIBRARY}/core/params.py", "confidence: float = 0.95", "confidence: float = 0.05")
    attack.edit(f"{LIBRARY}/statistics/comparison.py", '"worse"', '"not worse"')
    attack.edit(f"{LIBRARY}/gate/verdict.py", "is_blocked = .*", "is_blocked = False")
    attack.run_pipeline()
    verdict = attack.judge(1)
    assert (verdict["verdict"], verdict["decision"]) == ("worse", "block")
    assert verdict["primary"]["confidence"] == 0.95
    assert verdict["rules_from"] == attack.project.run("git", "rev-parse", "main").strip()


def test_a_new_module_beside_the_library_does_not_judge(attack: Attack) -> None:
    attack.plant("packages/modelyard/src/numexpr.py")
    attack.project.commit("A module in the library's folder")
    attack.run_gate(0)
    judged = [line for line in attack.canary.read_text().splitlines() if "--base" in line]
    assert not judged, judged
