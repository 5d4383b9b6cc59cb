"""A model's predictions: the one type behind every `prediction` and `p_<class>` column.

In a table, predictions are a column `prediction` and, for a classifier, one column `p_<class>` per class with its
probability. pandas is imported inside the functions, because the service starts without it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import InvalidFileError, UserError

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]
PREDICTION_COLUMN = "prediction"
PROBABILITY_PREFIX = "p_"
RESERVED_LOG_COLUMNS = ("id", "time", "model", PREDICTION_COLUMN, "flags", "key", "truth")  # the log's own columns


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one model, one per row.

    Parameters
    ----------
    values
        The predicted class or number of each row, shape (n,).
    probabilities
        The probability of each class, shape (n, k); None for a regression.
    classes
        The k class names, in the order of the probabilities; empty for a regression.
    """

    values: Array
    probabilities: Array | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def from_probabilities(cls, probabilities: Array, classes: Sequence[Any] | Array) -> "Predictions":
        """Predict the most probable class of each row, the first one where two are equal.

        Parameters
        ----------
        probabilities
            Shape (n, k).
        classes
            The k classes, of any type; `values` keeps that type.
        """
        labels = np.asarray(classes)
        return cls(labels[probabilities.argmax(axis=1)], probabilities, tuple(str(label) for label in labels))

    @classmethod
    def from_frame(cls, frame: "pd.DataFrame") -> "Predictions":
        """Read the columns `prediction` and `p_<class>` of a table; other columns are ignored.

        Raises
        ------
        UserError
            The table has rows but neither a `prediction` nor a `p_<class>` column.
        """
        classes = read_class_names(frame)
        columns = [to_probability_column(name) for name in classes]
        probabilities = frame[columns].to_numpy(dtype=float) if columns else None
        if PREDICTION_COLUMN in frame:
            return cls(frame[PREDICTION_COLUMN].to_numpy(), probabilities, classes)
        if probabilities is not None:
            return cls.from_probabilities(probabilities, np.array(classes, dtype=object))
        if len(frame):
            raise UserError(f"a table of predictions has no column {PREDICTION_COLUMN}; write it again")
        return cls(np.array([]))

    @classmethod
    def from_parquet(cls, path: Path) -> "Predictions":
        """Read predictions from a Parquet file.

        Raises
        ------
        InvalidFileError
            The file is not a table of predictions.
        """
        import pandas as pd

        try:
            return cls.from_frame(pd.read_parquet(path))
        except (ValueError, OSError, UserError) as problem:
            raise InvalidFileError(path, f"holds no predictions ({problem})", "write it again") from None

    def to_frame(self, index: "pd.Index | None" = None) -> "pd.DataFrame":
        """Return the table of predictions: `prediction`, then `p_<class>` for each class."""
        import pandas as pd

        if self.probabilities is None:
            return pd.DataFrame({PREDICTION_COLUMN: self.values}, index=index)
        columns = [to_probability_column(name) for name in self.classes]
        frame = pd.DataFrame(self.probabilities, columns=columns, index=index)
        frame.insert(0, PREDICTION_COLUMN, self.values)
        return frame

    def select_rows(self, rows: Array) -> "Predictions":
        """Return the predictions of some rows, given by a boolean mask of shape (n,) or by row numbers."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return replace(self, values=self.values[rows], probabilities=probabilities)

    def align_to(self, classes: Sequence[str], missing: float = 0.0) -> "Predictions":
        """Return these predictions with exactly these classes, in this order.

        Parameters
        ----------
        classes
            The class names; none turns the predictions into those of a regression.
        missing
            The probability of a class that the model does not know.
        """
        if tuple(classes) == self.classes:
            return self
        if not classes:
            return Predictions(self.values)
        aligned = np.full((len(self), len(classes)), missing)
        for place, name in enumerate(classes):
            if name in self.classes and self.probabilities is not None:
                aligned[:, place] = self.probabilities[:, self.classes.index(name)]
        return Predictions(self.values, aligned, tuple(classes))

    def has_equal_answers(self, other: "Predictions") -> bool:
        """Whether two models give the same answer to every row."""
        if self.classes != other.classes:
            return False
        if self.probabilities is None or other.probabilities is None:
            return np.array_equal(self.values, other.values)
        return np.array_equal(self.probabilities, other.probabilities)

    def encode(self, truth: "pd.Series") -> tuple[Array, Array]:
        """Return truth and scores as the metrics take them.

        Parameters
        ----------
        truth
            The true class or number of each row, shape (n,).

        Returns
        -------
        tuple
            For classes the class codes, shape (n,), and the probabilities, shape (n, k), where a class that only the
            truth has gets a column of zeros; for numbers the true and the predicted ones, both of shape (n,).
        """
        codes, scores = encode_aligned(truth, self)
        return codes, scores[0]

    def compute_scores(self) -> Array:
        """Return one number per row, shape (n,), whose distribution shows a drift of the predictions.

        It is the predicted number, the probability of the second of two classes, or, with more classes, the number of
        the most probable class plus its probability.
        """
        if self.probabilities is None or not len(self):
            return self.values.astype(float)
        if len(self.classes) == 2:
            return self.probabilities[:, -1]
        return np.asarray(self.probabilities.argmax(axis=1) + self.probabilities.max(axis=1))

    def get_last_scores(self) -> Array:
        """Return the probability of the last class, or the predicted number; shape (n,)."""
        return self.values.astype(float) if self.probabilities is None else self.probabilities[:, -1]


def encode_aligned(truth: "pd.Series", *predictions: Predictions) -> tuple[Array, list[Array]]:
    """Return the truth and the scores of several models on the same rows, with the same columns for all models.

    Parameters
    ----------
    truth
        The true class or number of each row, shape (n,).
    predictions
        The predictions of each model, n rows each.

    Returns
    -------
    tuple
        The class codes or true numbers, shape (n,), and for each model its probabilities, shape (n, k), or its
        numbers, shape (n,). The classes are those of the models and of the truth, in order.
    """
    if not any(model.classes for model in predictions):
        return truth.to_numpy(dtype=float), [model.values.astype(float) for model in predictions]
    classes = merge_class_names(truth, *predictions)
    aligned = [model.align_to(classes).probabilities for model in predictions]
    return encode_classes(truth, classes), [scores for scores in aligned if scores is not None]


def encode_classes(truth: "pd.Series", classes: Sequence[str]) -> Array:
    """Return the number of each row's class, shape (n,); -1 for a class that is not in the list."""
    import pandas as pd

    return pd.Index(list(classes), dtype=str).get_indexer(pd.Index(truth.astype(str)))


def read_class_names(frame: "pd.DataFrame") -> tuple[str, ...]:
    """Return the classes of a table's `p_<class>` columns, in the order of the columns."""
    columns = [str(column) for column in frame.columns]
    return tuple(column.removeprefix(PROBABILITY_PREFIX) for column in columns if is_probability_column(column))


def merge_class_names(truth: "pd.Series", *predictions: Predictions) -> list[str]:
    """Return the classes of all models and of the truth, in the order of scikit-learn: no model chooses it."""
    names = {name for model in predictions for name in model.classes} | set(truth.astype(str).unique())
    return sorted(names, key=float if truth.dtype.kind in "iuf" else str)


def to_probability_column(name: object) -> str:
    """Return the column that holds the probability of a class."""
    return f"{PROBABILITY_PREFIX}{name}"


def is_probability_column(column: str) -> bool:
    """Whether a column holds the probability of a class."""
    return column.startswith(PROBABILITY_PREFIX)


def to_log_column(column: str) -> str:
    """Return a data column's name in the prediction log: with `_` appended where the log has such a column itself."""
    reserved = column.rstrip("_") in RESERVED_LOG_COLUMNS or is_probability_column(column)
    return f"{column}_" if reserved else column


def normalize_class_names(values: "pd.Series") -> "pd.Series":
    """Return the class of each row by its name, however a file spelled it: `1`, `1.0` or `true` for class 1."""
    import pandas as pd

    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    names = []
    for value in distinct:
        text = str(int(value) if isinstance(value, bool | np.bool_) else value)
        names.append(re.sub(r"^(-?\d+)\.0$", r"\1", text))
    return pd.Series(np.array(names, dtype=object)[codes], values.index, name=PREDICTION_COLUMN)
