from pathlib import Path

import pytest
from msgspec.structs import replace

from modelyard.core.params import Params
from tests.library.monitoring.examples import RULES


@pytest.fixture
def small(params: Params) -> Params:
    """Parameters of a small classification, whatever the project's own are."""
    data = replace(params.data, task="classification", features=["x", "y"], target="z", time=None)
    evaluate = replace(params.evaluate, metric="roc_auc", cost=None)
    return replace(params, data=data, evaluate=evaluate, monitor=RULES)


@pytest.fixture
def local(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project without a deployed model."""
    monkeypatch.setattr("modelyard.core.git_objects.read_yaml_at", lambda *_: None)
    return project
