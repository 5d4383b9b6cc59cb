"""TODO doc."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write, sha256

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# Types that skops does not trust by itself and that we reviewed: numbers, their types, and scikit-learn's own trees.
TRUSTED_TYPES = frozenset(
    f"sklearn.{name}"
    for name in (
        "_loss.loss.HalfTweedieLossIdentity",
        "calibration._CalibratedClassifier",
        "calibration._SigmoidCalibration",
        "ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "gaussian_process.kernels.ConstantKernel",
        "gaussian_process.kernels.Matern",
        "gaussian_process.kernels.Product",
        "gaussian_process.kernels.RBF",
        "gaussian_process.kernels.Sum",
        "gaussian_process.kernels.WhiteKernel",
        "metrics._dist_metrics.EuclideanDistance64",
        "metrics._dist_metrics.ManhattanDistance64",
        "neighbors._ball_tree.BallTree",
        "neighbors._kd_tree.KDTree",
        "neural_network._stochastic_optimizers.AdamOptimizer",
        "neural_network._stochastic_optimizers.SGDOptimizer",
        "tree._tree.Tree",
    )
) | {"numpy.dtype"}
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
MEMBER_PATTERN = r"\d+\.\w+|schema\.json"  # what `canonical` writes
UNPACKED_LIMITS = 100, 64 << 20  # a model grows at most so many times when it is unpacked, and so many bytes


def canonicalize_skops(packed: bytes) -> bytes:
    """The same skops file with members and ids numbered in order and no time: equal models, equal bytes.

    skops names both by the addresses of objects, which differ from process to process.
    """
    with zipfile.ZipFile(io.BytesIO(packed)) as source:
        files = {name: source.read(name) for name in source.namelist()}
    tree = json.loads(files["schema.json"])
    numbers: dict[str, int] = {}
    members: dict[str, str] = {}
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            # Constants may or may not be one object in memory: never let that show.
            key = f"constant {len(numbers)}" if node.get("__loader__") == "JsonNode" else str(node.get("__id__"))
            if "__id__" in node:
                node["__id__"] = numbers.setdefault(key, len(numbers))
            if isinstance(node.get("file"), str) and node["file"] in files:
                suffix = Path(node["file"]).suffix
                node["file"] = members.setdefault(node["file"], f"{len(members)}{suffix}")
            pending += reversed(list(node.values()))
        elif isinstance(node, list):
            pending += reversed(node)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for old, new in members.items():
            target.writestr(zipfile.ZipInfo(new, ZIP_EPOCH), files[old], zipfile.ZIP_DEFLATED)
        target.writestr(zipfile.ZipInfo("schema.json", ZIP_EPOCH), json.dumps(tree), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def save_model(pipeline: "Pipeline", path: Path) -> str:
    """Write the model canonically and return its SHA-256; a type outside the allow-list is a `UserError`."""
    import skops.io

    packed = skops.io.dumps(pipeline)
    reject_untrusted_types(packed, f"{type(pipeline[-1]).__name__} cannot be saved")
    with atomic_write(path) as draft:
        draft.write_bytes(canonicalize_skops(packed))
    return sha256(path)


def reject_untrusted_types(packed: bytes, what: str) -> None:
    """Raise a `UserError` when a skops file holds a type that is not on our list."""
    import skops.io

    strangers = sorted(set(skops.io.get_untrusted_types(data=packed)) - TRUSTED_TYPES)
    if strangers:
        raise UserError(f"{what}: {', '.join(strangers)} is not on the reviewed list TRUSTED in model.py")


def load_model(path: Path, digest: str | None = None) -> "Pipeline":
    """The model in a file, after its bytes matched `digest`, its members and size what we write, its types our list."""
    import skops.io

    if not path.exists():
        raise UserError(f"the model {path} is missing; `make pipeline` or `dvc pull` brings it")
    if digest and sha256(path) != digest:
        raise UserError(f"{path} is not the model {digest[:12]}: its SHA-256 is {sha256(path)[:12]}")
    packed = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            odd = [item.filename for item in archive.infolist() if not re.fullmatch(MEMBER_PATTERN, item.filename)]
            size = sum(item.file_size for item in archive.infolist())
        if odd or size > UNPACKED_LIMITS[0] * len(packed) + UNPACKED_LIMITS[1]:
            why = f"it holds {odd[0]!r}" if odd else f"it unpacks to {size / 1e6:,.0f} MB"
            raise UserError(f"{path} is refused: {why}, which no model of ours does; make it anew")
        reject_untrusted_types(packed, f"{path} is refused")
        return skops.io.loads(packed, trusted=sorted(TRUSTED_TYPES))
    except UserError:
        raise
    except Exception as problem:  # a broken file fails in many ways
        raise UserError(f"{path} is not a model that skops can read ({type(problem).__name__}); make it anew") from None
