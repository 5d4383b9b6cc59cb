from pathlib import Path

import pytest

from modelyard.core.process import run_git
from modelyard.provenance import reproduce
from tests.library.recorded import save

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("notes.md", False),
        ("reports/verdict.json", False),
        ("params.yaml", True),
        ("src/flight_delays/features.py", True),
        ("packages/modelyard/src/modelyard/core/paths.py", True),
    ],
)
def test_has_pipeline_changed_looks_at_what_the_pipeline_reads(here: Path, path: str, changed: bool) -> None:
    base = run_git("rev-parse", "HEAD")
    with (here / path).open("a") as file:
        file.write("\n")
    save("Change")
    assert reproduce.has_pipeline_changed(base) is changed


def test_has_pipeline_changed_since_a_commit_that_is_not_here() -> None:
    assert reproduce.has_pipeline_changed("f" * 40)
