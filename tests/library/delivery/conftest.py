from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from modelyard.delivery import deploy, docker, image_checks, rollout
from tests.library.delivery.fake_environment import GOOD_SMOKE_TEST, FakeEnvironment, make_engine


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> FakeEnvironment:
    """An environment without an engine, in which every image has a chain that holds."""

    @contextmanager
    def lock(*_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(deploy, "lock_environment", lock)
    monkeypatch.setattr(deploy.signal, "signal", lambda *_: None)
    monkeypatch.setattr(image_checks, "verify_lineage", lambda claim, strict: [])
    for module in (deploy, rollout):
        monkeypatch.setattr(module, "get_image_id", lambda image: image)
    set_engine(monkeypatch, GOOD_SMOKE_TEST)
    return FakeEnvironment()


def set_engine(monkeypatch: pytest.MonkeyPatch, smoke_test: str) -> None:
    """Let an engine without containers answer, with the result of a smoke test."""
    for module in (docker, image_checks, rollout):
        monkeypatch.setattr(module, "run_docker", make_engine(smoke_test))
