"""What answers: the compiled model where it equals the pipeline, else the pipeline; both under one digest."""

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from .config import UserError, sha256

if TYPE_CHECKING:
    import pandas as pd

    from .light import Column, Table

SMALL = 256
FOLDER = Path("models")
COMPILED = "model.onnx"
ORIGINAL = "model.skops"
PASSPORT = "passport.json"
LIBRARIES = {
    "compiled": ("numpy", "pandas", "onnxruntime"),
    "scikit-learn": ("numpy", "pandas", "scikit-learn", "scipy", "skops"),
}

Answer = tuple[np.ndarray, np.ndarray | None]
Predict = Callable[[Any], Answer]  # a DataFrame, or a light table


class Codes(msgspec.Struct):
    """What the fitted encoder makes of each category of a column, of an unknown one and of a gap."""

    name: str
    known: list[tuple[Any, list[float | None]]]
    unknown: list[float | None]
    missing: list[float | None]


class Passport(msgspec.Struct):
    """Who the model is, what it was made with, and real rows with the pipeline's own answers to them."""

    model: str
    commit: str
    dvc_lock: str
    data: str
    verdict: str
    engine: str
    light: bool
    compiled: str | None
    reason: str
    difference: float
    versions: dict[str, str]
    dtypes: dict[str, str]
    classes: list[Any] | None
    numbers: list[str]
    codes: list[Codes]
    quantiles: list[float]
    rows: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    sources: str = ""


class Lookup(dict[Any, list[float | None]]):
    """A column's codes; what is neither known nor missing gets the code of the unknown."""

    def __init__(self, codes: Codes) -> None:
        super().__init__((value, code) for value, code in codes.known)
        self.setdefault(None, codes.missing)
        self.codes = codes

    def __missing__(self, value: Any) -> list[float | None]:
        import pandas as pd

        return self.codes.missing if pd.isna(value) else self.codes.unknown

    def rows(self, values: "pd.Series | Column") -> Any:
        """The codes of each value; of many values each different one is looked up once."""
        if len(values) <= SMALL:
            return [self[value] for value in values.tolist()]
        import pandas as pd

        places, different = pd.factorize(values, use_na_sentinel=True)
        return np.array([*(self[value] for value in different.tolist()), self.codes.missing], np.float32)[places]


def versions(engine: str) -> dict[str, str]:
    """The versions that decide how this engine computes."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python} | {name: importlib.metadata.version(name) for name in LIBRARIES[engine]}


def read_passport(folder: Path = FOLDER) -> Passport:
    """The passport in a folder; none, or a broken one, is a `UserError`."""
    try:
        return msgspec.json.decode((folder / PASSPORT).read_bytes(), type=Passport)
    except FileNotFoundError:
        raise UserError(f"there is no {folder / PASSPORT}; `make compile` makes it") from None
    except msgspec.MsgspecError as problem:
        raise UserError(f"{folder / PASSPORT} does not hold ({problem}); `make compile` makes it anew") from None


class Compiled:
    """Columns and estimator as one ONNX graph; features() stays Python."""

    def __init__(self, passport: Passport, path: Path) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default, and read only at the first import
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.output = [self.session.get_outputs()[-1].name]
        self.numbers, self.lookups = passport.numbers, {c.name: Lookup(c) for c in passport.codes}
        self.classes = None if passport.classes is None else np.array(passport.classes)
        self.first = [*self.numbers, *self.lookups][0]
        self.width = len(self.numbers) + sum(len(c.missing) for c in passport.codes)

    def matrix(self, table: "pd.DataFrame | Table") -> np.ndarray:
        """The features as numbers: those that are, then the codes of the categories."""
        filled = np.empty((len(table[self.first]), self.width), np.float32)
        for place, name in enumerate(self.numbers):
            filled[:, place] = table[name]
        place = len(self.numbers)
        for name, lookup in self.lookups.items():
            end = place + len(lookup.codes.missing)
            filled[:, place:end] = lookup.rows(table[name])
            place = end
        return filled

    def __call__(self, raw: "pd.DataFrame | Table") -> Answer:
        """The prediction of each row, and for classes their probabilities."""
        from .features import features

        (scores,) = self.session.run(self.output, {"x": self.matrix(features(raw))})  # type: ignore[arg-type]
        if self.classes is None:
            return scores.reshape(-1).astype(float), None
        return self.classes[scores.argmax(axis=1)], scores.astype(float)


class Original:
    """The fitted pipeline itself."""

    def __init__(self, path: Path, digest: str) -> None:
        from threadpoolctl import threadpool_limits

        from .model import load, predict

        threadpool_limits(1)
        self.pipeline, self.predict = load(path, digest), predict

    def __call__(self, raw: "pd.DataFrame") -> Answer:
        """The prediction of each row, and for classes their probabilities."""
        frame = self.predict(self.pipeline, raw)
        chances = frame.iloc[:, 1:].to_numpy() if frame.shape[1] > 1 else None
        return frame["prediction"].to_numpy(), chances


def load_predictor(passport: Passport, folder: Path = FOLDER) -> Predict:
    """What answers, after files and libraries proved to be those of the passport; else a `UserError`."""
    here = versions(passport.engine)
    other = [
        f"{name} {here[name]} (made with {version})"
        for name, version in passport.versions.items()
        if here.get(name) != version
    ]
    if other:
        raise UserError(
            f"refusing to start: {', '.join(other)}; install requirements/serve.txt or `make compile` again"
        )
    name, digest = (COMPILED, passport.compiled) if passport.engine == "compiled" else (ORIGINAL, passport.model)
    path = folder / name
    if not path.exists() or sha256(path) != digest:
        found = sha256(path)[:12] if path.exists() else "missing"
        raise UserError(f"refusing to start: {path} is {found}, and the passport says {digest and digest[:12]}")
    return Compiled(passport, path) if passport.engine == "compiled" else Original(path, passport.model)
