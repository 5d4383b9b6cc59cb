import importlib
import sys

import pytest

from modelyard.serving.lazy_module import LazyModule, import_lazily


def test_a_lazy_module_is_imported_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "colorsys", LazyModule("colorsys"))
    lazy = importlib.import_module("colorsys")
    assert isinstance(lazy, LazyModule)
    assert lazy.rgb_to_hsv(1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)
    assert not isinstance(sys.modules["colorsys"], LazyModule)


def test_an_imported_module_stays() -> None:
    import_lazily("sys")
    assert sys.modules["sys"] is sys
