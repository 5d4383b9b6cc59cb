"""Runs joblib's tasks on the cores of this machine, or on a Dask or Ray cluster."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from modelyard.core.console import print_result
from modelyard.core.errors import ToolError
from modelyard.core.params import ComputeParams

CONNECT_SECONDS = 15


@contextmanager
def use_parallel_backend(rules: ComputeParams, strict: bool = False) -> Iterator[int]:
    """Send joblib's tasks to the configured backend while the block runs, and yield how many run at once.

    Parameters
    ----------
    rules
        The block `compute` of params.yaml.
    strict
        Fail where the cluster does not answer. Otherwise a line says so, and this machine does the work.

    Raises
    ------
    ToolError
        The cluster does not answer, and that is strict.
    """
    import joblib

    backend, jobs = "loky", rules.workers
    with ExitStack() as stack:
        if rules.backend != "local":
            try:
                _connect_to_cluster(rules, stack)
                backend, jobs = rules.backend, -1
            except ToolError as problem:
                if strict:
                    raise
                print_result("compute", f"{problem}; until then this machine does the work")
        stack.enter_context(joblib.parallel_config(backend, n_jobs=jobs))
        yield int(joblib.effective_n_jobs(None))


def _connect_to_cluster(rules: ComputeParams, stack: ExitStack) -> None:
    """Connect joblib to a cluster until the stack closes; raise a `ToolError` where that fails."""
    name = rules.backend
    connect = _connect_to_dask if name == "dask" else _connect_to_ray
    with ExitStack() as attempt:
        try:
            connect(rules.address, attempt)
        except ImportError:
            raise ToolError(name, f"it is not installed; `make compute BACKEND={name}` does that") from None
        except (OSError, ValueError) as problem:  # a time-out is an OSError, a bad address a ValueError
            reason = str(problem).split("\n", maxsplit=1)[0]
            raise ToolError(name, f"no cluster with workers at {rules.address} ({reason}); start it") from None
        stack.push(attempt.pop_all())


def _connect_to_dask(address: str | None, stack: ExitStack) -> None:
    """Open a client of a Dask scheduler that has at least one worker."""
    from distributed import Client

    client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
    client.wait_for_workers(1, timeout=CONNECT_SECONDS)


def _connect_to_ray(address: str | None, stack: ExitStack) -> None:
    """Join a Ray cluster, and register it with joblib."""
    import ray
    from ray.util.joblib import register_ray

    ray.init(address or "auto", log_to_driver=False, logging_level="ERROR")
    stack.callback(ray.shutdown)
    register_ray()
