import tomllib

import pytest

from modelyard.core.errors import SettingError
from modelyard.workspace.dependencies import add_requirement
from tests.library.support import TEMPLATE

MANY_LINES = '[dependency-groups]\ndev = [\n    "pytest>=9",\n]\n'


@pytest.mark.parametrize("text", [MANY_LINES, '[dependency-groups]\ndev = ["pytest>=9"]\n', "template"])
def test_a_plugin_becomes_a_dependency_however_the_list_is_written(text: str) -> None:
    if text == "template":
        text = (TEMPLATE / "pyproject.toml").read_text(encoding="utf-8")
    before = tomllib.loads(text)["dependency-groups"]["dev"]
    after = tomllib.loads(add_requirement(text, "dask[distributed]>=2026.1"))["dependency-groups"]["dev"]
    assert after == ["dask[distributed]>=2026.1", *before]


def test_a_project_without_the_list_is_one_sentence() -> None:
    with pytest.raises(SettingError, match="make lock") as caught:
        add_requirement("[project]\n", "dvc-s3>=3")
    assert caught.value.setting == "pyproject.toml: dependency-groups.dev"
