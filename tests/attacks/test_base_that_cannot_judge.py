"""The base's rules are not valid: that is no way to be judged by one's own."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow


def test_a_base_with_invalid_rules_is_not_replaced_by_the_branch(attack: Attack) -> None:
    good = attack.project.read("params.yaml")
    attack.edit("params.yaml", "^seed: 0", "seed: none")
    attack.project.commit("Rules that cannot be read")
    attack.project.run("git", "branch", "--quiet", "--force", "main")
    attack.write("params.yaml", good)
    attack.project.commit("Rules of its own")
    said = attack.run_gate(2)
    assert "params.yaml of the base is not valid" in said and not attack.project.has("reports/verdict.json")
