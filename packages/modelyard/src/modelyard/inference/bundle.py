"""The model bundle: `models/bundle.json`, which names a model's runtime, its libraries and rows to test it with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelyard.core.errors import InvalidFileError, MissingFileError, UserError
from modelyard.core.paths import MODEL_FILE
from modelyard.core.predictions import Predictions

BUNDLE_JSON = Path("models/bundle.json")
RUNTIME_FILES = {"compiled": Path("models/model.onnx"), "scikit-learn": MODEL_FILE}
Predictor = Callable[[Any], Predictions]  # takes a DataFrame or a LightFrame of raw rows
PredictionDict = dict[str, Any]  # one row's prediction as JSON: `prediction`, and for a classifier `probabilities`
CodeVector = list[float | None]


class BundleMismatchError(UserError):
    """The model's files, libraries or predictions are not those that its bundle names."""

    def __init__(self, problem: str, cure: str = "run `make compile` again") -> None:
        super().__init__(f"refusing to start: {problem}; {cure}")
        self.problem = problem


class CategoryEncoding(msgspec.Struct):
    """The codes that the fitted encoder gives to one column's categories.

    Parameters
    ----------
    name
        The column.
    known
        Each category that the encoder learned, with its codes.
    unknown
        The codes of any other value.
    missing
        The codes of a missing value.
    """

    name: str
    known: list[tuple[Any, CodeVector]]
    unknown: CodeVector
    missing: CodeVector


class ModelBundle(msgspec.Struct):
    """A model's identity, its runtime, and example rows with the pipeline's own predictions.

    Parameters
    ----------
    model, commit, dvc_lock, data, verdict
        What ties the model to the repository: SHA-256 of the model, commit, SHA-256 of dvc.lock and of the data, and
        the gate's decision.
    versions
        The versions of the libraries that the runtime needs.
    dtypes
        The raw columns that the model takes, with their pandas dtypes.
    classes
        The classes, or None for a regression.
    quantiles
        The deciles of the scores on the holdout: the buckets of the service's histogram.
    rows, answers
        Example rows as JSON values, and the pipeline's predictions for them.
    sources
        Digest of all files that the bundle was built from.
    engine, file
        The runtime, `compiled` or `scikit-learn`, and the SHA-256 of its file.
    light, light_reason
        Whether the light table may stand in for pandas (see `modelyard.inference.columns`), and if not, why.
    reason
        Why the model was not compiled; empty if it was.
    difference
        The largest difference from the pipeline on the holdout.
    numbers, codes
        The numeric features and the encodings of the categorical ones, in the order of the compiled model's input.
    """

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
    light_reason: str = ""
    reason: str = ""
    difference: float = 0.0
    numbers: list[str] = []
    codes: list[CategoryEncoding] = []

    @staticmethod
    def read() -> "ModelBundle":
        """Read the bundle of the model in this folder.

        Raises
        ------
        MissingFileError
            There is no bundle.
        InvalidFileError
            The file is not a bundle.
        """
        try:
            return msgspec.json.decode(BUNDLE_JSON.read_bytes(), type=ModelBundle)
        except FileNotFoundError:
            raise MissingFileError(BUNDLE_JSON, "`make pipeline compile` writes it") from None
        except msgspec.MsgspecError as problem:
            raise InvalidFileError(BUNDLE_JSON, f"is not a model bundle ({problem})", "run `make compile`") from None


def to_response(predictions: Predictions) -> list[PredictionDict]:
    """Return the predictions as the service sends them, one dictionary for each row."""
    values = predictions.values.tolist()
    if predictions.probabilities is None:
        return [{"prediction": value} for value in values]
    names = predictions.classes
    pairs = zip(values, predictions.probabilities.tolist(), strict=True)
    return [{"prediction": value, "probabilities": dict(zip(names, row, strict=True))} for value, row in pairs]


def compute_max_difference(found: Sequence[PredictionDict], expected: Sequence[PredictionDict]) -> float:
    """Return the largest difference between two lists of predictions for the same rows.

    Parameters
    ----------
    found, expected
        Predictions as `to_response` returns them, of equal length.

    Returns
    -------
    float
        The largest absolute difference of a probability; for a regression the largest difference relative to the
        number or the mean size of all numbers, whichever is larger, and at least 1: a sum of large terms that is
        close to 0 has the rounding error of its terms. NaN where a prediction is NaN.
    """
    numbers = [
        (get_numbers(one)[name], number)
        for one, other in zip(found, expected, strict=True)
        for name, number in get_numbers(other).items()
    ]
    if not numbers:
        return 0.0
    found_numbers, expected_numbers = np.array(numbers).T
    sizes = np.abs(expected_numbers)
    differences = np.abs(found_numbers - expected_numbers) / np.maximum(sizes, max(1.0, sizes.mean()))
    return float(differences.max())  # unlike Python's max(), it keeps a NaN


def get_numbers(prediction: PredictionDict) -> dict[str, float]:
    """Return the probabilities of a prediction by class, or its number under an empty name."""
    return prediction.get("probabilities") or {"": prediction["prediction"]}
