from pathlib import Path

import pytest

from modelyard.core.errors import UserError
from modelyard.core.params import Params
from modelyard.inference import build, prepare
from modelyard.inference.bundle import BUNDLE_JSON, ModelBundle

pytestmark = pytest.mark.usefixtures("project")


def test_a_fresh_bundle_is_not_built_again(
    bundle: ModelBundle, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "build_bundle", lambda _: pytest.fail("it is built again"))
    assert prepare.load_or_build_bundle(params).sources == bundle.sources


def test_a_broken_bundle_is_built_again(bundle: ModelBundle, params: Params) -> None:
    BUNDLE_JSON.write_text("no JSON", encoding="utf-8")
    assert prepare.load_or_build_bundle(params).answers == bundle.answers


def test_without_a_model(params: Params) -> None:
    for path in Path("models").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="make pipeline"):
        prepare.load_or_build_bundle(params)


@pytest.mark.usefixtures("bundle")
def test_compile_names_the_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main() == 0
    assert "is served by compiled: largest difference" in capsys.readouterr().out
