"""TODO doc."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.params import ComputeParams


@contextmanager
def use_parallel_backend(rules: ComputeParams, strict: bool = False) -> Iterator[int]:
    """While the block runs, joblib's work goes where the rules say; the number of tasks that run at once.

    A cluster that does not answer is a `UserError` if that is strict; else it is said aloud, and this machine works.
    """
    import joblib

    name, jobs = ("loky", rules.workers) if rules.backend == "local" else (rules.backend, -1)
    with ExitStack() as stack:
        try:
            if name == "dask":
                from distributed import Client

                stack.enter_context(Client(rules.address, timeout=15)).wait_for_workers(1, timeout=15)
            elif name == "ray":
                import ray
                from ray.util.joblib import register_ray

                ray.init(rules.address or "auto", log_to_driver=False, logging_level="ERROR")
                stack.callback(ray.shutdown)
                register_ray()
        except (ImportError, OSError, ValueError) as problem:  # a time-out is one; no address, too
            stack.close()
            said = f"{name} is not installed; `make compute BACKEND={name}` does it"
            if not isinstance(problem, ImportError):
                first = str(problem).split("\n", maxsplit=1)[0]
                said = f"no {name} cluster with workers at {rules.address} ({first}); start it"
            if strict:
                raise UserError(said) from None
            print_result("compute", f"{said}; until then this machine does the work")
            name, jobs = "loky", rules.workers
        stack.enter_context(joblib.parallel_config(name, n_jobs=jobs))
        yield int(joblib.effective_n_jobs(None))
