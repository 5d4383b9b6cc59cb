"""What answers: the compiled model where it equals the pipeline, else the pipeline; both under one digest."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelyard.core.errors import UserError
from modelyard.core.paths import MODEL_FILE

BUNDLE = Path("models/passport.json")
RUNTIME_FILES = {"compiled": Path("models/model.onnx"), "scikit-learn": MODEL_FILE}
PredictionArrays = tuple[np.ndarray, np.ndarray | None]  # predictions, probabilities
Predictor = Callable[[Any], PredictionArrays]  # of a DataFrame, or a light table
PredictionDict = dict[str, Any]  # prediction and probabilities as the service says them
CodeVector = list[float | None]


class CategoryEncoding(msgspec.Struct):
    """What the fitted encoder makes of each category of a column, of an unknown one and of a gap."""

    name: str
    known: list[tuple[Any, CodeVector]]
    unknown: CodeVector
    missing: CodeVector


class ModelBundle(msgspec.Struct):
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
    answers: list[PredictionDict]
    sources: str
    engine: str = "scikit-learn"
    file: str = ""
    light: bool = False
    reason: str = ""
    difference: float = 0.0
    numbers: list[str] = []
    codes: list[CategoryEncoding] = []

    @staticmethod
    def read() -> "ModelBundle":
        """The passport of the model here; none, or a broken one, is a `UserError`."""
        try:
            return msgspec.json.decode(BUNDLE.read_bytes(), type=ModelBundle)
        except FileNotFoundError:
            raise UserError(f"there is no {BUNDLE}; `make pipeline compile` makes it") from None
        except msgspec.MsgspecError as problem:
            raise UserError(f"{BUNDLE} does not hold ({problem}); `make compile` makes it anew") from None

    def to_response(self, answer: PredictionArrays) -> list[PredictionDict]:
        """Answers as the service says them."""
        predictions, chances = answer
        if chances is None:
            return [{"prediction": value} for value in predictions.tolist()]
        names = [str(name) for name in self.classes or []]
        pairs = zip(predictions.tolist(), chances.tolist(), strict=True)
        return [{"prediction": value, "probabilities": dict(zip(names, row, strict=True))} for value, row in pairs]


def compute_max_difference(found: Sequence[PredictionDict], right: Sequence[PredictionDict]) -> float:
    """The largest distance between answers: of probabilities, or of numbers by their size."""
    worst = [0.0]
    for mine, theirs in zip(found, right, strict=True):
        numbers = theirs.get("probabilities") or {"": theirs["prediction"]}
        ours = mine.get("probabilities") or {"": mine["prediction"]}
        worst += [abs(ours[name] - number) / max(1.0, abs(number)) for name, number in numbers.items()]
    return float(np.max(worst))  # which keeps a NaN
