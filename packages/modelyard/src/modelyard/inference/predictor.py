"""Load what predicts: the ONNX graph of a compiled model, or the scikit-learn pipeline itself."""

import importlib.metadata
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.files import sha256
from modelyard.core.predictions import Predictions
from modelyard.core.project import Project
from modelyard.inference.bundle import RUNTIME_FILES, BundleMismatchError, CategoryEncoding, ModelBundle, Predictor
from modelyard.inference.columns import is_missing

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from modelyard.inference.columns import LightFrame

RUNTIME_LIBRARIES = {
    "compiled": ("numpy", "pandas", "onnxruntime"),
    "scikit-learn": ("numpy", "pandas", "scikit-learn", "scipy", "skops"),
}
PANDAS_MISSING = ("NAType", "NaTType")  # by name, so that pandas need not be imported
MISSING_PLACE = 0
UNKNOWN_PLACE = 1


class CategoryLookup(dict[Any, int]):
    """The codes of one column's categories.

    The dictionary maps a category to its row in `codes`, of shape (2 + known categories, width); row 0 is for a
    missing value and row 1 for an unknown one.
    """

    def __init__(self, encoding: CategoryEncoding) -> None:
        super().__init__((value, place) for place, (value, _) in enumerate(encoding.known, start=2))
        known_codes = [code for _, code in encoding.known]
        self.codes = np.array([encoding.missing, encoding.unknown, *known_codes], np.float32)

    def __missing__(self, value: Any) -> int:
        if is_missing(value) or type(value).__name__ in PANDAS_MISSING:
            return MISSING_PLACE
        return UNKNOWN_PLACE

    def encode_column(self, column: "pd.Series | np.ndarray") -> np.ndarray:
        """Return the codes of a column's values, shape (n, width); a Series is looked up once per distinct value."""
        if not hasattr(column, "factorize"):
            return self.codes[self.find_places(column)]
        numbers, distinct = column.factorize(use_na_sentinel=False)
        return self.codes[self.find_places(distinct)][numbers]

    def find_places(self, values: Any) -> np.ndarray:
        """Return the row in `codes` of each value."""
        return np.fromiter(map(self.__getitem__, values.tolist()), np.intp, len(values))


class OnnxPredictor:
    """Predicts with a compiled model; `features()` stays Python.

    Parameters
    ----------
    bundle
        The model's bundle.
    path
        The ONNX file.
    """

    def __init__(self, bundle: ModelBundle, path: "Path") -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default, and read at the first import only
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.output_names = [self.session.get_outputs()[-1].name]
        self.features = Project.load().features
        self.numbers = bundle.numbers
        self.lookups = {encoding.name: CategoryLookup(encoding) for encoding in bundle.codes}
        self.width = len(self.numbers) + sum(lookup.codes.shape[1] for lookup in self.lookups.values())
        self.classes = None if bundle.classes is None else np.array(bundle.classes)
        self.class_names = tuple(str(name) for name in bundle.classes or ())

    def to_matrix(self, table: "pd.DataFrame | LightFrame") -> np.ndarray:
        """Return the features as numbers, shape (n, width): the numeric ones, then the codes of the categories."""
        names = [*self.numbers, *self.lookups]
        matrix = np.empty((len(table[names[0]]), self.width), np.float32)
        for number, name in enumerate(self.numbers):
            matrix[:, number] = table[name]
        start = len(self.numbers)
        for name, lookup in self.lookups.items():
            codes = lookup.encode_column(table[name])
            end = start + codes.shape[1]
            matrix[:, start:end] = codes
            start = end
        return matrix

    def __call__(self, raw: "pd.DataFrame | LightFrame") -> Predictions:
        """Return the predictions for raw rows."""
        matrix = self.to_matrix(self.features(raw))  # type: ignore[arg-type]
        (scores,) = self.session.run(self.output_names, {"x": matrix})
        if self.classes is None:
            return Predictions(scores.reshape(-1).astype(float))
        if scores.shape[1] == 1:  # the probability of the second of two classes
            scores = np.hstack([1 - scores, scores])
        return Predictions(self.classes[scores.argmax(axis=1)], scores.astype(float), self.class_names)


def get_library_versions(engine: str) -> dict[str, str]:
    """Return the versions of Python and of the libraries whose code computes a runtime's predictions."""
    versions = {name: importlib.metadata.version(name) for name in RUNTIME_LIBRARIES[engine]}
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}"} | versions


def load_predictor(bundle: ModelBundle) -> Predictor:
    """Return the function that predicts raw rows.

    Raises
    ------
    BundleMismatchError
        A library or the runtime's file is not the one that the bundle names.
    """
    reject_other_versions(bundle)
    path = RUNTIME_FILES[bundle.engine]
    digest = sha256(path) if path.exists() else "missing"
    if digest != bundle.file:
        raise BundleMismatchError(f"{path} is {digest[:12]}, but the bundle names {bundle.file[:12]}")
    if bundle.engine == "compiled":
        return OnnxPredictor(bundle, path)
    return load_pipeline_predictor(path, bundle.model)


def reject_other_versions(bundle: ModelBundle) -> None:
    """Raise `BundleMismatchError` if a library has another version than the bundle names."""
    installed = get_library_versions(bundle.engine)
    others = []
    for name, version in bundle.versions.items():
        if installed.get(name) != version:
            others.append(f"{name} {installed.get(name)} (made with {version})")
    if others:
        cure = "install requirements/serve.txt, or run `make compile` again"
        raise BundleMismatchError(", ".join(others), cure)


def load_pipeline_predictor(path: "Path", digest: str) -> Predictor:
    """Return the function that predicts with the scikit-learn pipeline of a model file."""
    from threadpoolctl import threadpool_limits

    from modelyard.pipeline.estimator import predict_frame
    from modelyard.pipeline.model_file import load_model

    threadpool_limits(1)
    pipeline = load_model(path, digest)
    hooks = Project.load().hooks
    return lambda raw: Predictions.from_frame(predict_frame(pipeline, raw, hooks))
