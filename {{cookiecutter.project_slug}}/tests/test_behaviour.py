"""What a model of this recipe must do with any table: not lose to guessing, ignore what says nothing, follow the data.

It learns here from a sample of the data, or from rows made from the schema where the data is not at hand.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from conftest import ROOT
from msgspec.structs import replace

from {{cookiecutter.__package}}.compare import Difference, difference, margin_of
from {{cookiecutter.__package}}.config import Params, Train
from {{cookiecutter.__package}}.evaluate import class_names, encode
from {{cookiecutter.__package}}.facts import sample
from {{cookiecutter.__package}}.model import build, inputs, predict
from {{cookiecutter.__package}}.split import split
from {{cookiecutter.__package}}.sweep import ranges
from {{cookiecutter.__package}}.validate import key

ROWS, DRAWS = 4000, 4


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


def against(model: Model, other: pd.DataFrame) -> Difference:
    """The model's metric on the holdout against that of other answers; above 0 the model wins."""
    evaluate, target = model.params.evaluate, model.holdout[model.params.data.target]
    frame = predict(model.pipeline, inputs(model.params, model.holdout))
    classes = class_names(target, frame)
    (truth, ours), (_, theirs) = encode(target, frame, classes), encode(target, other, classes)
    found = difference(evaluate.metric, truth, theirs, ours, cost=evaluate.cost)
    if np.isnan(found.difference):
        pytest.skip("these rows do not define the metric")
    return found


def test_floor_it_does_not_lose_to_guessing(model: Model) -> None:
    learned = model.train[model.params.data.target]
    if model.params.data.task != "classification":
        guess = pd.DataFrame({"prediction": learned.mean()}, index=model.holdout.index)
    else:
        shares = learned.astype(str).value_counts(normalize=True)
        guess = pd.DataFrame({f"p_{name}": share for name, share in shares.items()}, index=model.holdout.index)
    assert against(model, guess).high > 0


def test_inclusion_no_group_is_better_off_with_guessing(model: Model) -> None:
    """None of 50 rows or more, by the squared error, in the columns of gate.slices and data.sensitive."""
    truth, guess = model.truth(model.holdout), model.truth(model.train).mean(axis=0)
    gain = pd.Series(((truth - guess) ** 2 - (truth - model.says(model.holdout)) ** 2).sum(axis=1))
    for name in dict.fromkeys([*model.params.gate.slices, *model.params.data.sensitive]):
        found = gain.groupby(groups(model.holdout[name]).to_numpy()).agg(["mean", "sem", "size"]).query("size >= 50")
        lost = found[found["mean"] + 3 * found["sem"] < 0]
        assert lost.empty, f"{name}: {', '.join(map(str, lost.index))} would be better off with guessing"


def test_simpler_a_linear_model_is_not_better(model: Model) -> None:
    """By more than the margin; if one is, name it in train.estimator: it is cheaper, and easier to explain."""
    classes = model.params.data.task == "classification"
    arguments = {"alpha": 1.0} if not classes else {"max_iter": 1000}
    name = "sklearn.linear_model." + ("LogisticRegression" if classes else "Ridge")
    simple = replace(model.params, train=Train(name, arguments))
    pipeline = build(simple, inputs(simple, model.train), model.train[model.params.data.target])
    found = against(model, predict(pipeline, inputs(simple, model.holdout)))
    assert found.high > 0 or found.difference > -margin_of(found.metric, found.champion, model.params.gate.margin)


def test_tuned_no_drawn_setting_is_better(model: Model) -> None:
    """By more than the margin, of a few that are drawn from sweep.space; where one is, `make sweep` finds it."""
    if not model.params.sweep.space:
        pytest.skip("sweep.space is empty")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(DRAWS):
        arguments = model.params.train.arguments | study.ask(ranges(model.params)).params
        other = replace(model.params, train=replace(model.params.train, arguments=arguments))
        pipeline = build(other, inputs(other, model.train), model.train[model.params.data.target])
        found = against(model, predict(pipeline, inputs(other, model.holdout)))
        margin = margin_of(found.metric, found.champion, model.params.gate.margin)
        assert found.chance > 0.025 / DRAWS or found.difference > -margin, f"{arguments} is better: make sweep"


def test_features_none_of_them_harms(model: Model) -> None:
    """No column is better shuffled than as it is; the error of so many looks is shared among them."""
    names, random = model.params.data.features, np.random.default_rng(0)
    for name in names:
        shuffled = model.holdout.copy()
        shuffled[name] = model.holdout[name].to_numpy()[random.permutation(len(shuffled))]
        lost = against(model, predict(model.pipeline, inputs(model.params, shuffled)))
        assert lost.chance > 0.025 / len(names), f"{name}: leave it out, the model is better without it"


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
