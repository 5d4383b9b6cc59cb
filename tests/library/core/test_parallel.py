import sys

import joblib
import pytest

from modelyard.core.errors import ToolError
from modelyard.core.parallel import use_parallel_backend
from modelyard.core.params import ComputeParams


def test_this_machine_runs_as_many_tasks_as_it_has_workers() -> None:
    with use_parallel_backend(ComputeParams(workers=2)) as tasks:
        assert tasks == joblib.effective_n_jobs(None) == 2
    assert joblib.effective_n_jobs(None) == 1


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_backend_that_is_not_installed(
    backend: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    rules = ComputeParams(backend=backend, workers=3)  # type: ignore[arg-type]
    with use_parallel_backend(rules) as tasks:
        assert tasks == 3
    assert f"make compute BACKEND={backend}" in capsys.readouterr().out
    with pytest.raises(ToolError) as refusal, use_parallel_backend(rules, strict=True):
        pass
    assert refusal.value.tool == backend


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("modelyard.core.parallel._connect_to_dask", refuse_connection)
    with use_parallel_backend(ComputeParams(backend="dask", address="tcp://127.0.0.1:1", workers=2)) as tasks:
        assert tasks == 2
    assert "tcp://127.0.0.1:1 (timed out)" in capsys.readouterr().out


def refuse_connection(*_: object) -> None:
    """Fail as a client does that waits in vain."""
    raise TimeoutError("timed out\nmore of it")
