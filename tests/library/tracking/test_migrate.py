import pytest

from modelyard.core.errors import SettingError
from modelyard.tracking import migrate


def test_main_without_a_server_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SettingError, match="set it to the server's address") as failure:
        migrate.main()
    assert failure.value.setting == "MLFLOW_TRACKING_URI"
