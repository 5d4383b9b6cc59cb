"""The model file: canonical bytes, whose SHA-256 is the model's identity, and a reader that trusts listed types."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import IntegrityError, InvalidFileError, MissingFileError, UserError
from modelyard.core.files import atomic_write, sha256
from modelyard.core.project import Project

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# Types that skops does not trust by itself and that were reviewed: numbers, their types, scikit-learn's own trees,
# folds and scorers, and a partial call, whose function must be on the list as well: `check_array` changes nothing.
TRUSTED_TYPES = frozenset(
    f"sklearn.{name}"
    for name in (
        "_loss.loss.HalfTweedieLoss",
        "_loss.loss.HalfTweedieLossIdentity",
        "calibration._CalibratedClassifier",
        "calibration._SigmoidCalibration",
        "calibration._TemperatureScaling",
        "ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "gaussian_process.kernels.ConstantKernel",
        "gaussian_process.kernels.DotProduct",
        "gaussian_process.kernels.Exponentiation",
        "gaussian_process.kernels.Matern",
        "gaussian_process.kernels.Product",
        "gaussian_process.kernels.RBF",
        "gaussian_process.kernels.RationalQuadratic",
        "gaussian_process.kernels.Sum",
        "gaussian_process.kernels.WhiteKernel",
        "metrics._dist_metrics.BrayCurtisDistance64",
        "metrics._dist_metrics.CanberraDistance64",
        "metrics._dist_metrics.ChebyshevDistance64",
        "metrics._dist_metrics.EuclideanDistance64",
        "metrics._dist_metrics.HammingDistance64",
        "metrics._dist_metrics.ManhattanDistance64",
        "metrics._dist_metrics.MinkowskiDistance64",
        "metrics._scorer._PassthroughScorer",
        "model_selection._split.KFold",
        "model_selection._split.StratifiedKFold",
        "neighbors._ball_tree.BallTree",
        "neighbors._kd_tree.KDTree",
        "neural_network._stochastic_optimizers.AdamOptimizer",
        "neural_network._stochastic_optimizers.SGDOptimizer",
        "tree._tree.Tree",
        "utils._bunch.Bunch",
        "utils.validation.check_array",
    )
) | {"functools.partial", "numpy.dtype"}
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
MEMBER_PATTERN = r"\d+\.\w+|schema\.json"  # what `canonicalize_skops` writes
# A model unpacks to at most so many times its size, and so many bytes beyond that.
MAX_UNPACKED_RATIO = 100
MAX_UNPACKED_EXCESS = 64 << 20
REMAKE = "`make pipeline` makes it again"


def canonicalize_skops(packed: bytes) -> bytes:
    """Return the same skops file with members and ids numbered in order and without times: equal models, equal bytes.

    skops names both by the addresses of objects, which differ from process to process.
    """
    with zipfile.ZipFile(io.BytesIO(packed)) as source:
        files = {name: source.read(name) for name in source.namelist()}
    tree = json.loads(files["schema.json"])
    members = _renumber(tree, files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for old, new in members.items():
            target.writestr(zipfile.ZipInfo(new, ZIP_EPOCH), files[old], zipfile.ZIP_DEFLATED)
        target.writestr(zipfile.ZipInfo("schema.json", ZIP_EPOCH), json.dumps(tree), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _renumber(tree: Any, files: dict[str, bytes]) -> dict[str, str]:
    """Number the ids and files of a skops schema in place, and return the new name of each file."""
    numbers: dict[str, int] = {}
    members: dict[str, str] = {}
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "__id__" in node:
                # Two equal constants may or may not be one object in memory: the bytes must not depend on that.
                is_constant = node.get("__loader__") == "JsonNode"
                key = f"constant {len(numbers)}" if is_constant else str(node["__id__"])
                node["__id__"] = numbers.setdefault(key, len(numbers))
            if isinstance(node.get("file"), str) and node["file"] in files:
                suffix = Path(node["file"]).suffix
                node["file"] = members.setdefault(node["file"], f"{len(members)}{suffix}")
            pending += reversed(list(node.values()))
        elif isinstance(node, list):
            pending += reversed(node)
    return members


def save_model(pipeline: "Pipeline", path: Path) -> str:
    """Write a model with canonical bytes.

    Parameters
    ----------
    pipeline
        The fitted pipeline.
    path
        The model file.

    Returns
    -------
    str
        The SHA-256 of the file.

    Raises
    ------
    UserError
        Where skops cannot write the model, or it holds a type that is not trusted.
    """
    import skops.io

    name = type(pipeline[-1]).__name__
    try:
        packed = skops.io.dumps(pipeline)
    except Exception as problem:  # an object that skops cannot write fails in many ways
        reason = str(problem).partition("\n")[0] or type(problem).__name__
        raise UserError(f"{name} cannot be saved by skops: {reason}; change its arguments in params.yaml") from None
    reject_untrusted_types(packed, f"{name} cannot be saved")
    with atomic_write(path) as draft:
        draft.write_bytes(canonicalize_skops(packed))
    return sha256(path)


def list_trusted_types() -> frozenset[str]:
    """Return the names of all types that a model of this project may hold."""
    return TRUSTED_TYPES | Project.load().hooks.trusted_types


def find_untrusted_types(packed: bytes) -> list[str]:
    """Return the names of the types in a skops file that are not trusted, without loading it."""
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=packed)) - list_trusted_types())


def list_untrusted_types(path: Path) -> list[str]:
    """Return the names of the types in a model file that are not trusted; raises as `load_model` does."""
    packed = path.read_bytes()
    try:
        reject_foreign_archive(path, packed)
        return find_untrusted_types(packed)
    except UserError:
        raise
    except Exception as problem:  # a broken file fails in many ways
        raise unreadable_model(path, problem) from None


def unreadable_model(path: Path, problem: Exception) -> InvalidFileError:
    """Return the error of a file that is not a model."""
    return InvalidFileError(path, f"is not a model that skops can read ({type(problem).__name__})", REMAKE)


def reject_untrusted_types(packed: bytes, what: str) -> None:
    """Raise a `UserError` where a skops file holds a type that is not trusted."""
    strangers = find_untrusted_types(packed)
    if strangers:
        names = ", ".join(strangers)
        raise UserError(f"{what}: {names} is not a reviewed type; review it and add it to TRUSTED_TYPES in model.py")


def reject_foreign_archive(path: Path, packed: bytes) -> None:
    """Raise an `InvalidFileError` where a model file has members or a size that `save_model` never writes."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        members = archive.infolist()
    foreign = [member.filename for member in members if not re.fullmatch(MEMBER_PATTERN, member.filename)]
    size = sum(member.file_size for member in members)
    problem = ""
    if foreign:
        problem = f"holds {foreign[0]!r}"
    elif size > MAX_UNPACKED_RATIO * len(packed) + MAX_UNPACKED_EXCESS:
        problem = f"unpacks to {size / 1e6:,.0f} MB"
    if problem:
        raise InvalidFileError(path, f"is refused: it {problem}, which no model of this library does", REMAKE)


def load_model(path: Path, digest: str | None = None) -> "Pipeline":
    """Read a model file after a check of its bytes, members, size and types.

    Parameters
    ----------
    path
        The model file.
    digest
        The SHA-256 that the file must have.

    Returns
    -------
    sklearn.pipeline.Pipeline
        The fitted pipeline.

    Raises
    ------
    MissingFileError, InvalidFileError
        Where there is no model at the path.
    IntegrityError
        Where the file is another model.
    UserError
        Where it holds a type that is not trusted.
    """
    import skops.io

    if not path.exists():
        raise MissingFileError(path, "`make pipeline` or `dvc pull` brings it")
    if digest and sha256(path) != digest:
        raise IntegrityError("model", f"{path} is not the model {digest[:12]}: its SHA-256 is {sha256(path)[:12]}")
    packed = path.read_bytes()
    try:
        reject_foreign_archive(path, packed)
        reject_untrusted_types(packed, f"{path} is refused")
        return skops.io.loads(packed, trusted=sorted(list_trusted_types()))
    except UserError:
        raise
    except Exception as problem:  # a broken file fails in many ways
        raise unreadable_model(path, problem) from None
