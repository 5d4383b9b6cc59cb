import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TABLE = re.findall(r"^\| (\w+) \| (\w+) \| (\w*) ?\| (test_\w+\.py) \|", (ROOT / "docs/design.md").read_text(), re.M)


def test_design_every_word_has_its_module_and_test() -> None:
    package = next((ROOT / "src").glob("*/__main__.py")).parent
    missing = [(word, test) for word, _, _, test in TABLE if not (package / f"{word}.py").exists()]
    missing += [(word, test) for word, _, _, test in TABLE if not (ROOT / "tests" / test).exists()]
    assert TABLE and missing == []


def test_design_names_every_stage_and_every_block() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    blocks = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert {word for word, kind, _, _ in TABLE if kind == "stage"} == set(stages)
    assert {block for _, _, block, _ in TABLE if block} <= set(blocks)


def test_security_names_a_test_that_exists_on_every_line() -> None:
    rows = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("|")][2:]
    found = [re.fullmatch(r"\|.*\| (template: )?`(test_\w+\.py)::(test_\w+)` \|", row) for row in rows]
    assert rows and all(found)
    own = [(one[2], one[3]) for one in found if one and not one[1]]
    assert [pair for pair in own if f"def {pair[1]}(" not in (ROOT / "tests" / pair[0]).read_text()] == []
