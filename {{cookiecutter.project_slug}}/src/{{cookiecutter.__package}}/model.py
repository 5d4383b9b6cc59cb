"""The model: built from params.yaml, predicting from raw rows, and one file whose SHA-256 is its identity."""

import importlib
import inspect
import io
import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .config import Params, Train, UserError, atomic, sha256
from .features import features

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

# Types that skops does not trust by itself and that we reviewed: numbers, their types, and scikit-learn's own trees.
TRUSTED = frozenset(
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
KEEPS_GAPS = ("HistGradientBoosting",)  # learn from missing values themselves
TREES = ("sklearn.ensemble.", "sklearn.tree.")
EPOCH = (1980, 1, 1, 0, 0, 0)
MEMBER = r"\d+\.\w+|schema\.json"  # what `canonical` writes
UNPACKED = 100, 64 << 20  # a model grows at most so many times when it is unpacked, and so many bytes


def inputs(params: Params, table: pd.DataFrame) -> pd.DataFrame:
    """The raw columns that the model may see; a missing one is a `UserError` that names it."""
    missing = [name for name in params.data.features if name not in table]
    if missing:
        raise UserError(f"the table lacks {', '.join(missing)}; params.yaml names it under data.features")
    return table[params.data.features]


def estimator(recipe: Train, seed: int) -> "BaseEstimator":
    """The scikit-learn estimator that a recipe names; a nested `{estimator, arguments}` is built likewise."""
    module, _, name = recipe.estimator.rpartition(".")
    if module.partition(".")[0] != "sklearn":
        raise UserError(
            f"train.estimator {recipe.estimator} is not supported; "
            "name a scikit-learn class, such as sklearn.ensemble.RandomForestClassifier"
        )
    try:
        kind = getattr(importlib.import_module(module), name)
        arguments = {key: nested(value, seed) for key, value in recipe.arguments.items()}
        if "random_state" in inspect.signature(kind).parameters:
            arguments.setdefault("random_state", seed)
        return kind(**arguments)
    except (ImportError, AttributeError, TypeError) as problem:
        raise UserError(f"train.estimator {recipe.estimator} cannot be made: {problem}") from None


def nested(value: Any, seed: int) -> Any:
    """An argument as it stands, or the estimators that it describes."""
    if isinstance(value, dict) and "estimator" in value:
        return estimator(Train(value["estimator"], value.get("arguments", {})), seed)
    if isinstance(value, list) and value and isinstance(value[0], dict) and "estimator" in value[0]:
        return [(f"model{i}", nested(item, seed)) for i, item in enumerate(value)]
    return value


def columns(recipe: Train, table: pd.DataFrame) -> "ColumnTransformer":
    """How each feature enters: categories as codes for trees, else one-hot; gaps filled where needed."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    number: Any = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    category: Any = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=10,
        max_categories=50,
        sparse_output=False,
    )
    if recipe.estimator.startswith(TREES):
        unknown = np.nan if any(name in recipe.estimator for name in KEEPS_GAPS) else -1
        category = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=unknown,
            encoded_missing_value=unknown,
            min_frequency=10,
            max_categories=250,
        )
        number = "passthrough" if unknown != -1 else SimpleImputer(strategy="median", keep_empty_features=True)
    numeric = list(table.select_dtypes("number").columns)
    return ColumnTransformer(
        [
            ("numbers", number, numeric),
            ("categories", category, [c for c in table if c not in numeric]),
        ]
    )


def prepare(raw: pd.DataFrame) -> pd.DataFrame:
    """The features of raw rows; what is no number is text, so that serving and training agree on a type."""
    table = features(raw)
    text = table.columns.difference(table.select_dtypes("number").columns)
    return table.assign(**{name: table[name].astype("object").where(table[name].notna(), None) for name in text})


def build(params: Params, raw: pd.DataFrame, target: pd.Series) -> "Pipeline":
    """A scikit-learn pipeline (columns, estimator) fitted on raw rows."""
    from sklearn.base import is_classifier
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

    last = estimator(params.train, params.seed)
    classifies = params.data.task == "classification"
    if is_classifier(last) != classifies or (classifies and not hasattr(last, "predict_proba")):
        wanted = "a classifier with probabilities" if classifies else "a regressor"
        raise UserError(f"train.estimator {params.train.estimator} is not for {params.data.task}; name {wanted}")
    table = prepare(raw)
    pipeline = Pipeline([("columns", columns(params.train, table)), ("estimator", last)])
    try:
        with threadpool_limits(params.train.threads):  # sums depend on the number of threads
            return pipeline.fit(table, target.to_numpy())
    except ValueError as problem:
        raise UserError(f"{params.train.estimator} could not learn: {str(problem).splitlines()[0]}") from None


def predict(pipeline: "Pipeline", raw: pd.DataFrame) -> pd.DataFrame:
    """A row of predictions for each raw row: `prediction`, and `p_<class>` for each class."""
    table = prepare(raw)
    if not hasattr(pipeline, "predict_proba"):
        return pd.DataFrame({"prediction": pipeline.predict(table)}, index=raw.index)
    chances = pipeline.predict_proba(table)
    frame = pd.DataFrame(chances, columns=[f"p_{name}" for name in pipeline.classes_], index=raw.index)
    frame.insert(0, "prediction", pipeline.classes_[chances.argmax(axis=1)])
    return frame


def canonical(packed: bytes) -> bytes:
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
            target.writestr(zipfile.ZipInfo(new, EPOCH), files[old], zipfile.ZIP_DEFLATED)
        target.writestr(zipfile.ZipInfo("schema.json", EPOCH), json.dumps(tree), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def save(pipeline: "Pipeline", path: Path) -> str:
    """Write the model canonically and return its SHA-256; a type outside the allow-list is a `UserError`."""
    import skops.io

    packed = skops.io.dumps(pipeline)
    refuse_strangers(packed, f"{type(pipeline[-1]).__name__} cannot be saved")
    with atomic(path) as draft:
        draft.write_bytes(canonical(packed))
    return sha256(path)


def refuse_strangers(packed: bytes, what: str) -> None:
    """Raise a `UserError` when a skops file holds a type that is not on our list."""
    import skops.io

    strangers = sorted(set(skops.io.get_untrusted_types(data=packed)) - TRUSTED)
    if strangers:
        raise UserError(f"{what}: {', '.join(strangers)} is not on the reviewed list TRUSTED in model.py")


def load(path: Path, digest: str | None = None) -> "Pipeline":
    """The model in a file, after its bytes matched `digest`, its members and size what we write, its types our list."""
    import skops.io

    if not path.exists():
        raise UserError(f"the model {path} is missing; `make pipeline` or `dvc pull` brings it")
    if digest and sha256(path) != digest:
        raise UserError(f"{path} is not the model {digest[:12]}: its SHA-256 is {sha256(path)[:12]}")
    packed = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            odd = [item.filename for item in archive.infolist() if not re.fullmatch(MEMBER, item.filename)]
            size = sum(item.file_size for item in archive.infolist())
        if odd or size > UNPACKED[0] * len(packed) + UNPACKED[1]:
            why = f"it holds {odd[0]!r}" if odd else f"it unpacks to {size / 1e6:,.0f} MB"
            raise UserError(f"{path} is refused: {why}, which no model of ours does; make it anew")
        refuse_strangers(packed, f"{path} is refused")
        return skops.io.loads(packed, trusted=sorted(TRUSTED))
    except UserError:
        raise
    except Exception as problem:  # a broken file fails in many ways
        raise UserError(f"{path} is not a model that skops can read ({type(problem).__name__}); make it anew") from None
