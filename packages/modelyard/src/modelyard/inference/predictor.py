"""TODO doc."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.project import Project
from modelyard.inference.bundle import RUNTIME_FILES, CategoryEncoding, ModelBundle, PredictionArrays, Predictor
from modelyard.inference.columns import is_missing

if TYPE_CHECKING:
    import pandas as pd

    from modelyard.inference.columns import LightFrame

RUNTIME_LIBRARIES = {
    "compiled": ("numpy", "pandas", "onnxruntime"),
    "scikit-learn": ("numpy", "pandas", "scikit-learn", "scipy", "skops"),
}


class CategoryLookup(dict[Any, int]):
    """Where each category's codes stand; what is neither known nor missing has those of the unknown."""

    def __init__(self, codes: CategoryEncoding) -> None:
        super().__init__((value, place) for place, (value, _) in enumerate(codes.known, 2))
        self.codes = np.array([codes.missing, codes.unknown, *(code for _, code in codes.known)], np.float32)

    def __missing__(self, value: Any) -> int:
        gap = is_missing(value) or type(value).__name__ in ("NAType", "NaTType")  # pandas' own; it need not be here
        return 0 if gap else 1

    def rows(self, column: Any) -> np.ndarray:
        """The codes of each value; of a Series each distinct value is looked up once."""
        places, distinct = column.factorize(use_na_sentinel=False) if hasattr(column, "factorize") else (None, column)
        codes = self.codes[np.fromiter(map(self.__getitem__, distinct.tolist()), np.intp, len(distinct))]
        return codes if places is None else codes[places]


class OnnxPredictor:
    """Columns and estimator as one ONNX graph; features() stays Python."""

    def __init__(self, passport: ModelBundle, path: Path) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default, and read only at the first import
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.output = [self.session.get_outputs()[-1].name]
        self.features = Project.load().features
        self.numbers, self.lookups = passport.numbers, {c.name: CategoryLookup(c) for c in passport.codes}
        self.classes = None if passport.classes is None else np.array(passport.classes)
        self.width = len(self.numbers) + sum(lookup.codes.shape[1] for lookup in self.lookups.values())

    def to_matrix(self, table: "pd.DataFrame | LightFrame") -> np.ndarray:
        """The features as numbers: those that are, then the codes of the categories."""
        rows = len(table[[*self.numbers, *self.lookups][0]])
        filled, at = np.empty((rows, self.width), np.float32), len(self.numbers)
        for number, name in enumerate(self.numbers):
            filled[:, number] = table[name]
        for name, lookup in self.lookups.items():
            codes = lookup.rows(table[name])
            filled[:, at : at + codes.shape[1]] = codes
            at += codes.shape[1]
        return filled

    def __call__(self, raw: "pd.DataFrame | LightFrame") -> PredictionArrays:
        """The prediction of each row, and for classes their probabilities."""
        (scores,) = self.session.run(self.output, {"x": self.to_matrix(self.features(raw))})  # type: ignore[arg-type]
        if self.classes is None:
            return scores.reshape(-1).astype(float), None
        if scores.shape[1] == 1:  # of two classes it says the second one's
            scores = np.hstack([1 - scores, scores])
        return self.classes[scores.argmax(axis=1)], scores.astype(float)


def to_prediction_arrays(frame: "pd.DataFrame") -> PredictionArrays:
    """A frame of predictions as the predictions and, for classes, their probabilities."""
    return frame["prediction"].to_numpy(), frame.iloc[:, 1:].to_numpy() if frame.shape[1] > 1 else None


def get_library_versions(engine: str) -> dict[str, str]:
    """The versions that decide how this engine computes."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python} | {name: importlib.metadata.version(name) for name in RUNTIME_LIBRARIES[engine]}


def load_predictor(passport: ModelBundle) -> Predictor:
    """What answers, after files and libraries proved to be those of the passport; else a `UserError`."""
    here = get_library_versions(passport.engine)
    other = [f"{n} {here[n]} (made with {v})" for n, v in passport.versions.items() if here.get(n) != v]
    if other:
        raise UserError(
            f"refusing to start: {', '.join(other)}; install requirements/serve.txt or `make compile` again"
        )
    path = RUNTIME_FILES[passport.engine]
    found = sha256(path) if path.exists() else "missing"
    if found != passport.file:
        raise UserError(f"refusing to start: {path} is {found[:12]}, and the passport says {passport.file[:12]}")
    if passport.engine == "compiled":
        return OnnxPredictor(passport, path)
    from threadpoolctl import threadpool_limits

    from modelyard.pipeline.estimator import predict_frame
    from modelyard.pipeline.model_file import load_model

    threadpool_limits(1)
    pipeline = load_model(path, passport.model)
    return lambda raw: to_prediction_arrays(predict_frame(pipeline, raw))
