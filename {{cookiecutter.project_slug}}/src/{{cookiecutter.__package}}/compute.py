"""Verb: heavy work goes to this machine's cores or to a cluster, Dask's or Ray's, all by joblib's own switch."""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from .config import PARAMS, Compute, UserError

LIBRARIES = {"local": "", "dask": "dask[distributed]>=2026.1", "ray": "ray>=2.50"}


@contextmanager
def slots(rules: Compute, strict: bool = False) -> Iterator[int]:
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
            print(f"{'compute':<10}{said}; until then this machine does the work", flush=True)
            name, jobs = "loky", rules.workers
        stack.enter_context(joblib.parallel_config(name, n_jobs=jobs))
        yield int(joblib.effective_n_jobs(None))


def main(backend: str = "local", address: str = "", workers: int = 1) -> int:
    """Let heavy work go to BACKEND (dask, ray) at ADDRESS, or to so many local WORKERS, after they answered."""
    from .remote import plug_in
    from .schema import edited

    found = {"backend": backend, "address": address or None, "workers": workers}
    try:
        rules = msgspec.convert(found, Compute)
    except msgspec.ValidationError as problem:
        raise UserError(f"{problem}; give BACKEND=dask ADDRESS=tcp://…, BACKEND=ray, or WORKERS=4") from None
    if backend == "dask" and not address:
        raise UserError("a Dask cluster is found by its scheduler's address; give ADDRESS=tcp://host:8786")
    plug_in(LIBRARIES[backend])
    importlib.invalidate_caches()  # what was installed just now is found
    with slots(rules, strict=True) as most, edited(PARAMS) as document:
        document.setdefault("compute", {}).update(found)
    print(f"{'compute':<10}{most} tasks at once, {backend} {address}".rstrip())
    return 0
