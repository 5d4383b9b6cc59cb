"""Let heavy work use this machine's cores or a cluster, Dask's or Ray's, through joblib's own switch."""

import importlib

import msgspec

from modelyard.core.console import print_result
from modelyard.core.errors import OptionError
from modelyard.core.parallel import use_parallel_backend
from modelyard.core.params import ComputeParams
from modelyard.core.paths import PARAMS_YAML

BACKEND_PACKAGES = {"local": "", "dask": "dask[distributed]>=2026.1", "ray": "ray>=2.50"}


def check_options(backend: str, address: str, workers: int) -> ComputeParams:
    """Return the options as parameters.

    Raises
    ------
    OptionError
        If one of them has a value that does not work.
    """
    if backend == "dask" and not address:
        raise OptionError("ADDRESS", "is empty, but a Dask cluster is found by it", "give ADDRESS=tcp://host:8786")
    values = {"backend": backend, "address": address or None, "workers": workers}
    try:
        return msgspec.convert(values, ComputeParams)
    except msgspec.ValidationError as problem:
        option = "WORKERS" if "workers" in str(problem) else "BACKEND"
        cure = "give BACKEND=dask ADDRESS=tcp://…, BACKEND=ray, or WORKERS=4"
        raise OptionError(option, f"does not work ({problem})", cure) from None


def main(backend: str = "local", address: str = "", workers: int = 1) -> int:
    """Let heavy work use BACKEND (dask, ray) at ADDRESS, or so many local WORKERS, after they have answered."""
    from modelyard.core.yaml_edit import edit_yaml
    from modelyard.workspace.dependencies import install_plugin

    params = check_options(backend, address, workers)
    install_plugin(BACKEND_PACKAGES[backend])
    importlib.invalidate_caches()  # so that what was installed just now is found
    with use_parallel_backend(params, strict=True) as task_count, edit_yaml(PARAMS_YAML) as document:
        values = {"backend": backend, "address": address or None, "workers": workers}
        document.setdefault("compute", {}).update(values)
    print_result("compute", f"{task_count} tasks at once, {backend} {address}".rstrip())
    return 0
