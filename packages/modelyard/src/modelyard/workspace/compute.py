"""Verb: heavy work goes to this machine's cores or to a cluster, Dask's or Ray's, all by joblib's own switch."""

import importlib

import msgspec

from modelyard.core.console import print_line
from modelyard.core.errors import UserError
from modelyard.core.parallel import use_parallel_backend
from modelyard.core.params import ComputeParams
from modelyard.core.paths import PARAMS_YAML

BACKEND_PACKAGES = {"local": "", "dask": "dask[distributed]>=2026.1", "ray": "ray>=2.50"}


def main(backend: str = "local", address: str = "", workers: int = 1) -> int:
    """Let heavy work go to BACKEND (dask, ray) at ADDRESS, or to so many local WORKERS, after they answered."""
    from modelyard.core.yaml_edit import edit_yaml
    from modelyard.workspace.dependencies import install_plugin

    found = {"backend": backend, "address": address or None, "workers": workers}
    try:
        rules = msgspec.convert(found, ComputeParams)
    except msgspec.ValidationError as problem:
        raise UserError(f"{problem}; give BACKEND=dask ADDRESS=tcp://…, BACKEND=ray, or WORKERS=4") from None
    if backend == "dask" and not address:
        raise UserError("a Dask cluster is found by its scheduler's address; give ADDRESS=tcp://host:8786")
    install_plugin(BACKEND_PACKAGES[backend])
    importlib.invalidate_caches()  # what was installed just now is found
    with use_parallel_backend(rules, strict=True) as most, edit_yaml(PARAMS_YAML) as document:
        document.setdefault("compute", {}).update(found)
    print_line(f"{'compute':<10}{most} tasks at once, {backend} {address}".rstrip())
    return 0
