import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import modelyard
from modelyard.core.errors import OptionError
from modelyard.core.params import Params
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.serving import server
from modelyard.serving.transport import BoundedProtocol, CoalescingProtocol

SERVE_AND_LIST_MODULES = """
import sys
from modelyard.serving import server
server.uvicorn.run = lambda *_, **__: None
server.main()
pandas = sys.modules.get("pandas")
print("imported" if pandas and "DataFrame" in vars(pandas) else "lazy")
"""


@pytest.fixture
def uvicorn_options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options with which uvicorn was run."""
    options: dict[str, Any] = {}
    monkeypatch.setattr(server.uvicorn, "run", lambda _, **given: options.update(given))
    monkeypatch.setattr(server, "keep_startup_objects", lambda: None)
    return options


def set_serve_params(monkeypatch: pytest.MonkeyPatch, params: Params, **changes: Any) -> None:
    changed = replace(params, serve=replace(params.serve, **changes))
    monkeypatch.setattr(server, "load_params", lambda: changed)


@pytest.mark.parametrize("bind", ["8000", ":8000", "127.0.0.1:http", "127.0.0.1:99999"])
def test_a_bad_address_is_refused(bind: str) -> None:
    with pytest.raises(OptionError) as raised:
        server.main(bind)
    assert raised.value.option == "BIND"


@pytest.mark.usefixtures("bundle")
def test_check_tests_the_model_and_does_not_serve(uvicorn_options: dict[str, Any]) -> None:
    assert server.main(check=True) == 0
    assert not uvicorn_options


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize(("transport", "protocol"), [("fast", CoalescingProtocol), ("uvicorn", BoundedProtocol)])
def test_transport_can_be_switched_off(
    params: Params, monkeypatch: pytest.MonkeyPatch, uvicorn_options: dict[str, Any], transport: str, protocol: Any
) -> None:
    set_serve_params(monkeypatch, params, transport=transport)
    assert server.main("127.0.0.1:9") == 0
    assert uvicorn_options["port"] == 9
    assert uvicorn_options["http"] is protocol


@pytest.mark.parametrize(("setting", "expected"), [("true", "lazy"), ("false", "imported")])
def test_pandas_is_imported_only_if_it_is_needed(project: Path, params: Params, setting: str, expected: str) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("lazy_pandas: true", f"lazy_pandas: {setting}"))
    load_or_build_bundle(params)
    environment = os.environ | {"PYTHONPATH": str(Path(modelyard.__file__).parents[1])}
    command = [sys.executable, "-c", SERVE_AND_LIST_MODULES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == expected
