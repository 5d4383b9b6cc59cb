"""A branch of the rendered project that attacks, and what it is told."""

from pathlib import Path

import pytest

from tests.attacks.support import Attack
from tests.template.support import BakedProject


@pytest.fixture
def attack(trained: BakedProject, environment: Path, tmp_path: Path) -> Attack:
    """A copy of the trained project on a branch of its own, which may change everything in it."""
    project = trained.copied(tmp_path)
    project.run("git", "switch", "--quiet", "--create", "attack")
    return Attack(project, environment)
