"""TODO doc."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]
RESERVED_LOG_COLUMNS = ("id", "time", "model", "prediction", "flags", "truth")  # that the prediction log has itself


def encode_predictions(
    truth: pd.Series, frame: pd.DataFrame, classes: list[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and scores as arrays: class codes (n,) and probabilities (n, k), or numbers (n,) and (n,).

    A class that the model never saw gets a column of zeros.
    """
    if "p_" not in "".join(c[:2] for c in frame.columns):
        return truth.to_numpy(dtype=float), frame["prediction"].to_numpy(dtype=float)
    classes = classes or list_class_names(truth, frame)
    scores = frame.reindex(columns=[f"p_{name}" for name in classes], fill_value=0.0)
    return pd.Categorical(truth.astype(str), classes).codes.astype(int), scores.to_numpy(dtype=float)


def list_class_names(truth: pd.Series, *frames: pd.DataFrame) -> list[str]:
    """Every class that a frame has a column for, in that order, then those only the truth knows."""
    known = [c.removeprefix("p_") for frame in frames for c in frame.columns if c.startswith("p_")]
    return list(dict.fromkeys([*known, *sorted(truth.astype(str).unique())]))


def to_log_column(column: str) -> str:
    """Where the log keeps a column of the data: behind a stroke where the log has such a word itself."""
    return f"{column}_" if column.rstrip("_") in RESERVED_LOG_COLUMNS or column.startswith("p_") else column


def compute_scores(frame: pd.DataFrame, like: pd.DataFrame) -> Array:
    """One number for each prediction: itself, the chance of the last of two classes, or the class with its chance."""
    chances = [column for column in like if str(column).startswith("p_")]
    if not chances or frame.empty:
        return frame["prediction"].to_numpy(dtype=float) if len(frame) else np.array([])
    values = frame.reindex(columns=chances).to_numpy(dtype=float)
    return values[:, -1] if len(chances) == 2 else np.asarray(values.argmax(axis=1) + values.max(axis=1))


def normalize_class_names(values: pd.Series) -> pd.Series:
    """The class of each row by its name, however a file wrote it: `1`, `1.0`, `true`."""
    found, distinct = pd.factorize(values, use_na_sentinel=False)
    plain = (str(int(value) if isinstance(value, bool | np.bool_) else value) for value in distinct)
    classes = [re.sub(r"^(-?\d+)\.0$", r"\1", name) for name in plain]
    return pd.Series(np.array(classes, dtype=object)[found], values.index, name="prediction")
