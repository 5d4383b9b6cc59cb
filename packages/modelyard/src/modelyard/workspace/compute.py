"""Verb: heavy work goes to this machine's cores or to a cluster, Dask's or Ray's, all by joblib's own switch."""

import importlib

import msgspec

from modelyard.core.errors import UserError
from modelyard.core.parallel import slots
from modelyard.core.params import Compute
from modelyard.core.paths import PARAMS

LIBRARIES = {"local": "", "dask": "dask[distributed]>=2026.1", "ray": "ray>=2.50"}


def main(backend: str = "local", address: str = "", workers: int = 1) -> int:
    """Let heavy work go to BACKEND (dask, ray) at ADDRESS, or to so many local WORKERS, after they answered."""
    from modelyard.core.yaml_edit import edited
    from modelyard.workspace.dependencies import plug_in

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
