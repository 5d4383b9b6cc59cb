import runpy
import sys

import pytest


def test_an_older_python_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    with pytest.raises(SystemExit, match=r"^error: python3 is Python 3\.10, .* run `make install`"):
        runpy.run_module("modelyard", run_name="__main__")
