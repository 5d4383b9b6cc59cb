"""What answers: the compiled model where it equals the pipeline, else the pipeline; both under one digest."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelyard.core.errors import UserError
from modelyard.core.paths import MODEL

PASSPORT = Path("models/passport.json")
FILES = {"compiled": Path("models/model.onnx"), "scikit-learn": MODEL}
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
