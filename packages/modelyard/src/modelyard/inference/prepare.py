"""Prepare the model for serving: build its bundle where it is stale, or verify the one that an image carries."""

from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.console import print_result
from modelyard.core.dvc_lock import hash_path, verify_model_matches_lock
from modelyard.core.errors import IntegrityError, InvalidFileError, MissingFileError
from modelyard.core.files import atomic_write, get_nested, sha256
from modelyard.core.params import Params, load_params
from modelyard.core.paths import DVC_LOCK, HOLDOUT_PARQUET, MODEL_FILE, PARAMS_YAML
from modelyard.core.yaml import read_yaml
from modelyard.inference.bundle import BUNDLE_JSON, RUNTIME_FILES, ModelBundle
from modelyard.inference.identity import get_model_identity, hash_sources


def load_or_build_bundle(params: Params) -> ModelBundle:
    """Return the bundle of the model in this folder.

    In a working copy it follows the model, the data, the settings and the code: when one of them changed, it is built
    again. In an image, which has no holdout, it is verified instead.

    Raises
    ------
    IntegrityError
        A file of the image is not the one that the bundle or dvc.lock names.
    UserError
        The bundle cannot be built.
    """
    if not HOLDOUT_PARQUET.exists() or not MODEL_FILE.exists():
        bundle = ModelBundle.read()
        verify_bundle(bundle)
        return bundle
    verify_model_matches_lock()
    bundle = read_fresh_bundle() or build_fresh_bundle(params)
    with atomic_write(BUNDLE_JSON) as draft:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(bundle), indent=1))
    return bundle


def read_fresh_bundle() -> ModelBundle | None:
    """Return the bundle with the current identity if it was built from the files here, else None."""
    try:
        bundle = ModelBundle.read()
    except (MissingFileError, InvalidFileError):
        return None
    if bundle.sources != hash_sources() or not RUNTIME_FILES[bundle.engine].exists():
        return None
    return msgspec.structs.replace(bundle, **get_model_identity())


def build_fresh_bundle(params: Params) -> ModelBundle:
    """Build the bundle; the builder is imported only here, since it needs pandas and scikit-learn."""
    from modelyard.inference.build import build_bundle

    return build_bundle(params)


def verify_bundle(bundle: ModelBundle) -> None:
    """Verify that the files beside a bundle are those that its model was made with.

    Raises
    ------
    IntegrityError
        The model, dvc.lock, a parameter or a file that dvc.lock names is another one.
    """
    for link, path, expected in (("dvc.lock", DVC_LOCK, bundle.dvc_lock), ("model", MODEL_FILE, bundle.model)):
        digest = sha256(path) if path.exists() else "missing"
        if digest != expected:
            raise IntegrityError(link, f"{path} is {digest[:12]}, but the bundle names {expected[:12]}")
    params = read_yaml(PARAMS_YAML)
    for stage in read_yaml(DVC_LOCK)["stages"].values():
        verify_stage(stage, params)


def verify_stage(stage: dict[str, Any], params: dict[str, Any]) -> None:
    """Verify the parameters and the existing files of one stage of dvc.lock."""
    for key, expected in stage.get("params", {}).get(str(PARAMS_YAML), {}).items():
        if get_nested(params, key) != expected:
            raise IntegrityError("parameters", f"{PARAMS_YAML} has another {key} than {DVC_LOCK}")
    for file in (*stage.get("deps", []), *stage.get("outs", [])):
        path = Path(file["path"])
        if path.exists() and hash_path(path) != file["md5"]:
            link = "model" if path == MODEL_FILE else "code"
            raise IntegrityError(link, f"{path} is not what {DVC_LOCK} was made with")


def main() -> int:
    """Write models/bundle.json, and models/model.onnx where the model can be compiled, unless they are up to date."""
    bundle = load_or_build_bundle(load_params())
    compiled = bundle.engine == "compiled"
    detail = f"largest difference {bundle.difference:.1e}" if compiled else bundle.reason
    print_result("compile", f"{bundle.model[:12]} is served by {bundle.engine}: {detail}")
    if bundle.light_reason:
        print_result("", f"pandas instead of the light table: {bundle.light_reason}")
    return 0
