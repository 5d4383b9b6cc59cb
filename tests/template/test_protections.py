"""Each protection of docs/security.md has a test, and a patch that shows that the test notices its absence."""

from pathlib import Path

import pytest

from tests import protections
from tests.protections import REMOVALS, ROOT, SLOW, WITHOUT_PATCH, Removal


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.protection)
def test_a_removal_applies_once_and_names_a_test(removal: Removal) -> None:
    assert (ROOT / removal.file).read_text(encoding="utf-8").count(removal.text) == 1
    assert removal.replacement != removal.text
    assert protections.has_test(removal.test)


def test_every_test_that_the_page_names_has_a_removal_or_is_listed() -> None:
    named = protections.list_named_tests()
    covered = {protections.strip_case(removal.test) for removal in REMOVALS}
    assert len(named) > 55
    others = SLOW | WITHOUT_PATCH
    assert named - covered == others
    assert covered <= named


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    protections.copy_repository(folder)
    return folder


@pytest.mark.slow
@pytest.mark.weekly
@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.protection)
def test_a_protection_that_is_removed_is_noticed(copy: Path, removal: Removal) -> None:
    assert protections.describe_outcome(copy, removal) == ""
