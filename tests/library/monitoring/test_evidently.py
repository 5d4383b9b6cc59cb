import shutil
import sys
from pathlib import Path

import pytest

from modelyard.core.errors import MissingToolError, ToolError
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


def test_a_library_without_a_hash_is_refused(tmp_path: Path) -> None:
    uv = shutil.which("uv") or "uv"
    pins = tmp_path / "pins.txt"
    pins.write_text("six==1.17.0\n", encoding="utf-8")
    with pytest.raises(ToolError, match="hash"):
        evidently.make_environment(uv, tmp_path / "environment", pins)
