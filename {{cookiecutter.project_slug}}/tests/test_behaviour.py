"""What a model of this recipe must do with any table: not lose to guessing, ignore what says nothing, follow the data.

It learns here from a sample of the data, or from rows made from the schema where the data is not at hand.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from {{cookiecutter.__package}}.compare import difference
from {{cookiecutter.__package}}.config import Params
from {{cookiecutter.__package}}.evaluate import class_names, encode
from {{cookiecutter.__package}}.facts import sample
from {{cookiecutter.__package}}.model import build, inputs, predict
from {{cookiecutter.__package}}.split import split
from {{cookiecutter.__package}}.validate import key

ROWS = 4000


@dataclass(frozen=True)
class Model:
    """A model of the project's recipe, the rows that it learned from, and rows that it never saw."""

    params: Params
    train: pd.DataFrame
    holdout: pd.DataFrame
    pipeline: Any

    def says(self, rows: pd.DataFrame) -> np.ndarray:
        """The chance of each class, or the predicted number, for raw rows."""
        frame = predict(self.pipeline, inputs(self.params, rows))
        return frame.filter(regex="^p_" if "p_" in "".join(c[:2] for c in frame) else "^prediction$").to_numpy(float)

    def truth(self, rows: pd.DataFrame) -> np.ndarray:
        """What `says` should have said."""
        target = rows[self.params.data.target]
        if self.params.data.task != "classification":
            return target.to_numpy(float)[:, None]
        return (target.to_numpy()[:, None] == self.pipeline.classes_).astype(float)


@pytest.fixture(scope="module")
def model(params: Params, drawn: pd.DataFrame) -> Model:
    path = ROOT / params.data.path
    rows = sample(path, ROWS) if path.exists() else drawn
    train, holdout = split(rows, params.data, key(ROOT / "schema.yaml"), params.split.holdout, params.split.seed)
    target = train[params.data.target]
    if params.data.task == "classification" and target.nunique() < 2:
        pytest.skip("one class is too rare for a sample")
    return Model(params, train, holdout, build(params, inputs(params, train), target))


def groups(values: pd.Series) -> pd.Series:
    """The quarters of a column of numbers or times, the values of any other."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        return pd.qcut(values.rank(method="first"), 4, labels=False)
    return values


def extremes(model: Model) -> tuple[float, str, int, Any, Any]:
    """The column, and the output, whose truth differs most between two large groups: by how much, low and high."""
    truth, found = model.truth(model.train), []
    for name in model.params.data.features:
        parts = groups(model.train[name])
        for output in range(truth.shape[1]):
            means = pd.Series(truth[:, output]).groupby(parts.to_numpy()).agg(["mean", "size"])
            means = means[means["size"] >= 0.05 * len(truth)]["mean"]
            if len(means) > 1:
                found.append((means.max() - means.min(), name, output, means.idxmin(), means.idxmax()))
    return max(found, key=lambda item: item[0])


def test_floor_it_does_not_lose_to_guessing(model: Model) -> None:
    target = model.params.data.target
    frame = predict(model.pipeline, inputs(model.params, model.holdout))
    classes = class_names(model.holdout[target], frame)
    truth, scores = encode(model.holdout[target], frame, classes)
    if scores.ndim == 1:
        guess = np.full_like(scores, model.train[target].mean())
    else:
        shares = model.train[target].astype(str).value_counts(normalize=True).reindex(classes).fillna(0)
        guess = np.tile(shares.to_numpy(), (len(truth), 1))
    found = difference(model.params.evaluate.metric, truth, guess, scores, cost=model.params.evaluate.cost)
    if np.isnan(found.difference):
        pytest.skip("these rows do not define the metric")
    assert found.high > 0


def test_invariance_the_order_of_rows_does_not_matter(model: Model) -> None:
    turned = model.holdout.iloc[::-1]
    assert model.says(turned)[::-1] == pytest.approx(model.says(model.holdout))


def test_invariance_a_row_alone_gets_the_same_answer(model: Model) -> None:
    together = model.says(model.holdout.iloc[:5])
    alone = np.concatenate([model.says(model.holdout.iloc[[i]]) for i in range(len(together))])
    assert alone == pytest.approx(together)


def test_invariance_what_was_left_out_does_not_matter(model: Model) -> None:
    others = [name for name in model.holdout if name not in model.params.data.features]
    shuffled = model.holdout.copy()
    shuffled[others] = model.holdout[others].iloc[::-1].to_numpy()
    assert model.says(shuffled) == pytest.approx(model.says(model.holdout))


def test_robust_an_unknown_category_gets_an_answer(model: Model) -> None:
    strange = model.holdout.head(20).copy()
    text = [n for n in model.params.data.features if not pd.api.types.is_numeric_dtype(strange[n])]
    for name in (n for n in text if not pd.api.types.is_datetime64_any_dtype(strange[n])):
        strange[name] = "never seen before"
    assert np.isfinite(model.says(strange)).all()


def test_robust_gaps_get_an_answer(model: Model) -> None:
    empty = model.holdout.head(20).copy()
    for name in (n for n in model.params.data.features if model.train[n].isna().any()):
        empty[name] = pd.Series(np.nan, index=empty.index).astype(empty[name].dtype)
    assert np.isfinite(model.says(empty)).all()


def test_direction_it_follows_the_strongest_column(model: Model) -> None:
    _, name, output, low, high = extremes(model)
    said = pd.Series(model.says(model.train)[:, output]).groupby(groups(model.train[name]).to_numpy()).mean()
    assert said[high] > said[low]
