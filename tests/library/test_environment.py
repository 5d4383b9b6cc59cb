"""Tests see the same environment, whoever starts them."""

import pytest

from tests.conftest import KEPT_VARIABLES


@pytest.mark.parametrize(
    "name", ["HOME", "PATH", "DOCKER_HOST", "SSL_CERT_FILE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"]
)
def test_what_reaches_other_machines_is_kept(name: str) -> None:
    assert KEPT_VARIABLES.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["DVC_CACHE_DIR", "GIT_DIR", "GIT_AUTHOR_NAME", "MODEL", "ENV", "CI", "TZ", "LC_ALL", "PYTHONPATH"]
)
def test_what_would_change_an_outcome_is_removed(name: str) -> None:
    assert not KEPT_VARIABLES.fullmatch(name)
