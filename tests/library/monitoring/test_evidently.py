import sys
from pathlib import Path

import pytest

from modelyard.core.errors import MissingToolError
from modelyard.core.params import Params
from modelyard.monitoring import evidently
from modelyard.monitoring.log_reader import EmptyLogError

pytestmark = pytest.mark.usefixtures("project")


def test_main_without_uv_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError) as caught:
        evidently.main()
    assert caught.value.tool == "uv"
    assert not evidently.EVIDENTLY_REPORT.exists()


def test_main_without_predictions_writes_nothing(params: Params) -> None:
    with pytest.raises(EmptyLogError) as caught:
        evidently.main("2024-06-03", sys.executable)
    assert caught.value.folder == Path(params.monitor.logs)
    assert not evidently.EVIDENTLY_REPORT.exists()
