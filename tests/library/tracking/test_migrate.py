from pathlib import Path

import pytest

from modelyard.core.errors import UserError
from modelyard.tracking import migrate


def test_without_a_server_there_is_nowhere_to_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_URI"):
        migrate.main()
