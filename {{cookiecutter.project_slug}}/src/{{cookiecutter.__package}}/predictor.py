"""What answers: the compiled model where it equals the pipeline, else the pipeline; both under one digest."""

import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import yaml

from .config import (
    DATA,
    HOLDOUT,
    LOCK,
    MODEL,
    PARAMS,
    VERDICT,
    Broken,
    Params,
    UserError,
    atomic,
    git,
    md5,
    read_json,
    sha256,
    within,
)
from .light import missing

if TYPE_CHECKING:
    import pandas as pd

    from .light import Table

PASSPORT = Path("models/passport.json")
FILES = {"compiled": Path("models/model.onnx"), "scikit-learn": MODEL}
LIBRARIES = {
    "compiled": ("numpy", "pandas", "onnxruntime"),
    "scikit-learn": ("numpy", "pandas", "scikit-learn", "scipy", "skops"),
}

Answer = tuple[np.ndarray, np.ndarray | None]  # predictions, probabilities
Predict = Callable[[Any], Answer]  # of a DataFrame, or a light table
Said = dict[str, Any]  # prediction and probabilities as the service says them
Code = list[float | None]


class Codes(msgspec.Struct):
    """What the fitted encoder makes of each category of a column, of an unknown one and of a gap."""

    name: str
    known: list[tuple[Any, Code]]
    unknown: Code
    missing: Code


class Passport(msgspec.Struct):
    """Who the model is, what it was made with, and real rows with the pipeline's own answers to them."""

    model: str
    commit: str
    dvc_lock: str
    data: str
    verdict: str
    versions: dict[str, str]
    dtypes: dict[str, str]
    classes: list[Any] | None
    quantiles: list[float]
    rows: list[dict[str, Any]]
    answers: list[Said]
    sources: str
    engine: str = "scikit-learn"
    file: str = ""
    light: bool = False
    reason: str = ""
    difference: float = 0.0
    numbers: list[str] = []
    codes: list[Codes] = []

    @staticmethod
    def read() -> "Passport":
        """The passport of the model here; none, or a broken one, is a `UserError`."""
        try:
            return msgspec.json.decode(PASSPORT.read_bytes(), type=Passport)
        except FileNotFoundError:
            raise UserError(f"there is no {PASSPORT}; `make pipeline compile` makes it") from None
        except msgspec.MsgspecError as problem:
            raise UserError(f"{PASSPORT} does not hold ({problem}); `make compile` makes it anew") from None

    def said(self, answer: Answer) -> list[Said]:
        """Answers as the service says them."""
        predictions, chances = answer
        if chances is None:
            return [{"prediction": value} for value in predictions.tolist()]
        names = [str(name) for name in self.classes or []]
        pairs = zip(predictions.tolist(), chances.tolist(), strict=True)
        return [{"prediction": value, "probabilities": dict(zip(names, row, strict=True))} for value, row in pairs]


def distance(found: Sequence[Said], right: Sequence[Said]) -> float:
    """The largest distance between answers: of probabilities, or of numbers by their size."""
    worst = [0.0]
    for mine, theirs in zip(found, right, strict=True):
        numbers = theirs.get("probabilities") or {"": theirs["prediction"]}
        ours = mine.get("probabilities") or {"": mine["prediction"]}
        worst += [abs(ours[name] - number) / max(1.0, abs(number)) for name, number in numbers.items()]
    return float(np.max(worst))  # which keeps a NaN


class Lookup(dict[Any, int]):
    """Where each category's codes stand; what is neither known nor missing has those of the unknown."""

    def __init__(self, codes: Codes) -> None:
        super().__init__((value, place) for place, (value, _) in enumerate(codes.known, 2))
        self.codes = np.array([codes.missing, codes.unknown, *(code for _, code in codes.known)], np.float32)

    def __missing__(self, value: Any) -> int:
        gap = missing(value) or type(value).__name__ in ("NAType", "NaTType")  # pandas' own; it need not be here
        return 0 if gap else 1

    def rows(self, column: Any) -> np.ndarray:
        """The codes of each value; of a Series each distinct value is looked up once."""
        places, distinct = column.factorize(use_na_sentinel=False) if hasattr(column, "factorize") else (None, column)
        codes = self.codes[np.fromiter(map(self.__getitem__, distinct.tolist()), np.intp, len(distinct))]
        return codes if places is None else codes[places]


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
        self.width = len(self.numbers) + sum(lookup.codes.shape[1] for lookup in self.lookups.values())

    def matrix(self, table: "pd.DataFrame | Table") -> np.ndarray:
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

    def __call__(self, raw: "pd.DataFrame | Table") -> Answer:
        """The prediction of each row, and for classes their probabilities."""
        from .features import features

        (scores,) = self.session.run(self.output, {"x": self.matrix(features(raw))})  # type: ignore[arg-type]
        if self.classes is None:
            return scores.reshape(-1).astype(float), None
        if scores.shape[1] == 1:  # of two classes it says the second one's
            scores = np.hstack([1 - scores, scores])
        return self.classes[scores.argmax(axis=1)], scores.astype(float)


def columns(frame: "pd.DataFrame") -> Answer:
    """A frame of predictions as the predictions and, for classes, their probabilities."""
    return frame["prediction"].to_numpy(), frame.iloc[:, 1:].to_numpy() if frame.shape[1] > 1 else None


def current(params: Params) -> Passport:
    """The passport of the model here: in a working copy it follows the model, in an image it stands."""
    if not HOLDOUT.exists() or not MODEL.exists():
        return sealed(Passport.read())
    from .champion import own_model
    from .compile import anew, sources  # pylint: disable=cyclic-import # a working copy only: an image has no compiler

    own_model()
    try:
        old = Passport.read()
        fresh = old.sources == sources() and FILES[old.engine].exists()
    except UserError:
        fresh = False
    passport = msgspec.structs.replace(old, **identity()) if fresh else anew(params)
    with atomic(PASSPORT) as draft:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(passport), indent=1))
    return passport


def numbered(path: Path) -> Any:
    """A YAML file whose numbers are read as DVC reads them: 1e-05 is one, which PyYAML takes for text."""

    class Loader(yaml.SafeLoader):  # pylint: disable=too-many-ancestors # PyYAML's own
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def sealed(passport: Passport) -> Passport:
    """The passport, after what lies beside it was found to be what dvc.lock says that its model was made of."""
    for link, path, said in (("dvc.lock", LOCK, passport.dvc_lock), ("model", MODEL, passport.model)):
        if (found := sha256(path) if path.exists() else "missing") != said:
            raise Broken(link, f"{path} is {found[:12]}, and the passport says {said[:12]}")
    here, lock = numbered(PARAMS), numbered(LOCK)
    for stage in lock["stages"].values():
        for key, said in stage.get("params", {}).get(str(PARAMS), {}).items():
            if within(here, key) != said:
                raise Broken("parameters", f"{PARAMS} has another {key} than {LOCK}")
        for part in (*stage.get("deps", []), *stage.get("outs", [])):
            if (path := Path(part["path"])).is_file() and md5(path) != part["md5"]:
                raise Broken("model" if path == MODEL else "code", f"{path} is not what {LOCK} was made with")
    return passport


def versions(engine: str) -> dict[str, str]:
    """The versions that decide how this engine computes."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python} | {name: importlib.metadata.version(name) for name in LIBRARIES[engine]}


def identity() -> dict[str, Any]:
    """What ties the model to the repository: commit, lock, data, and the verdict if there is one on it."""
    verdict = read_json(VERDICT) if VERDICT.exists() else {}
    judged = (verdict.get("candidate") or {}).get("model") == sha256(MODEL)
    try:
        commit = git("rev-parse", "HEAD")
    except UserError:
        commit = ""
    return {
        "model": sha256(MODEL),
        "commit": commit,
        "dvc_lock": sha256(LOCK) if LOCK.exists() else "",
        "data": read_json(DATA)["sha256"],
        "verdict": verdict["decision"] if judged else "none",
    }


def load_predictor(passport: Passport) -> Predict:
    """What answers, after files and libraries proved to be those of the passport; else a `UserError`."""
    here = versions(passport.engine)
    other = [f"{n} {here[n]} (made with {v})" for n, v in passport.versions.items() if here.get(n) != v]
    if other:
        raise UserError(
            f"refusing to start: {', '.join(other)}; install requirements/serve.txt or `make compile` again"
        )
    path = FILES[passport.engine]
    found = sha256(path) if path.exists() else "missing"
    if found != passport.file:
        raise UserError(f"refusing to start: {path} is {found[:12]}, and the passport says {passport.file[:12]}")
    if passport.engine == "compiled":
        return Compiled(passport, path)
    from threadpoolctl import threadpool_limits

    from .model import load, predict

    threadpool_limits(1)
    pipeline = load(path, passport.model)
    return lambda raw: columns(predict(pipeline, raw))
