import sys

import pytest

from modelyard.core.errors import UserError
from modelyard.monitoring import evidently

pytestmark = pytest.mark.usefixtures("project")


def test_without_uv_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="uv is not here"):
        evidently.main()
    assert not evidently.EVIDENTLY_REPORT.exists()


def test_without_predictions_it_says_where_they_come_from() -> None:
    with pytest.raises(UserError, match="has no predictions"):
        evidently.main("2024-06-03", sys.executable)
    assert not evidently.EVIDENTLY_REPORT.exists()
