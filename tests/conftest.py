"""The environment of every test: nothing of it depends on who starts the suite, or where."""

import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.rendered import bake, environment, fresh, render, template, trained  # noqa: F401  fixtures of all tests

# All that tests see of the environment in which the suite was started.
KEPT_VARIABLES = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TMPDIR|TEMP|TMP|LD_LIBRARY_PATH|SYSTEMROOT|FUZZ|REQUIRE_ENGINE"
    r"|(PYTEST|COV|HYPOTHESIS|XDG|UV|PIP|NPM|OMP|OPENBLAS|MKL|NUMBA|DOCKER)_?\w*|PYTHONUNBUFFERED"
    r"|(HTTPS?|NO)_PROXY|(\w+_)?(CA_BUNDLE|CA_CERTS|SSL)(_\w+)?",  # how this machine reaches others
    re.IGNORECASE,
)


@pytest.fixture(autouse=True, scope="session")
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove all other variables before any other fixture; git knows a person, and no settings of this machine."""
    config = tmp_path_factory.mktemp("git") / "config"
    config.write_text("[user]\nname = A Person\nemail = person@example.org\n[safe]\ndirectory = *\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if not KEPT_VARIABLES.fullmatch(name):
                patch.delenv(name)
        patch.setenv("LANG", "C.UTF-8")
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        time.tzset()
        yield
