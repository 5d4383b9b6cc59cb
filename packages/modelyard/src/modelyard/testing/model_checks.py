"""Checks of a model of the project's recipe: each raises an `AssertionError` that says what is wrong.

References
----------
Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", 2020: invariance and direction.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.errors import UserError
from modelyard.core.params import Params, SearchRange, TrainParams
from modelyard.core.predictions import Predictions, encode_aligned, to_probability_column
from modelyard.pipeline.estimator import fit_pipeline
from modelyard.pipeline.preprocessing import select_features
from modelyard.statistics.clusters import build_clusters
from modelyard.statistics.comparison import Difference, compute_difference
from modelyard.testing.samples import SampleModel, predict_rows

DRAWN_SETTINGS = 4
MIN_GROUP_ROWS = 50
MIN_GROUP_SHARE = 0.05
FALSE_ALARMS = 0.025  # shared among the looks of one check
LINEAR = {
    "classification": TrainParams("sklearn.linear_model.LogisticRegression", {"max_iter": 1000}),
    "regression": TrainParams("sklearn.linear_model.Ridge", {"alpha": 1.0}),
}


class StrongestColumn(NamedTuple):
    """The column whose groups differ most in the truth, the output in which they do, and their ends."""

    difference: float
    column: str
    output: int
    lowest: Any
    highest: Any


def compare_with(model: SampleModel, other: pd.DataFrame) -> Difference:
    """Return the model's metric on the holdout against that of other predictions; above 0 the model is better.

    The test is skipped where the rows do not define the metric.
    """
    params = model.params
    frame = model.predict_frame(model.holdout)
    predictions = Predictions.from_frame(frame), Predictions.from_frame(other)
    truth, (ours, theirs) = encode_aligned(model.holdout[params.data.target], *predictions)
    try:
        return compute_difference(
            params.evaluate.metric,
            truth,
            theirs,
            ours,
            groups=build_clusters(params.data, model.holdout),
            cost=params.evaluate.cost,
            margin=params.gate.margin,
        )
    except UserError as problem:
        pytest.skip(str(problem))


def fit_other(model: SampleModel, train: TrainParams) -> pd.DataFrame:
    """Return the predictions of the holdout by another recipe, fitted on the same rows."""
    params = replace(model.params, train=train)
    pipeline = fit_pipeline(params, select_features(params, model.train), model.train[params.data.target])
    return predict_rows(params, pipeline, model.holdout)


def group_values(values: pd.Series) -> pd.Series:
    """Return the quarters of a column of numbers or times, the values of any other."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        return pd.qcut(values.rank(method="first"), 4, labels=False)
    return values


def check_beats_guessing(model: SampleModel) -> None:
    """Check that the model is not worse than the shares of the classes, or the mean."""
    target = model.train[model.params.data.target]
    index = model.holdout.index
    if model.params.data.task != "classification":
        guess = pd.DataFrame({"prediction": target.mean()}, index=index)
    else:
        shares = target.astype(str).value_counts(normalize=True)
        guess = pd.DataFrame({to_probability_column(name): share for name, share in shares.items()}, index=index)
    assert compare_with(model, guess).high > 0, "guessing is better than the model"


def check_no_group_prefers_guessing(model: SampleModel) -> None:
    """Check that no group of 50 rows or more has a larger squared error than by guessing.

    The groups are those of the columns in gate.slices and data.sensitive.
    """
    truth = model.encode_truth(model.holdout)
    guess = model.encode_truth(model.train).mean(axis=0)
    squared_gain = (truth - guess) ** 2 - (truth - model.predict(model.holdout)) ** 2
    gain = pd.Series(squared_gain.sum(axis=1))
    for name in dict.fromkeys([*model.params.gate.slices, *model.params.data.sensitive]):
        groups = group_values(model.holdout[name]).to_numpy()
        found = gain.groupby(groups).agg(["mean", "sem", "size"])
        found = found[found["size"] >= MIN_GROUP_ROWS]
        lost = found[found["mean"] + 3 * found["sem"] < 0]
        assert lost.empty, f"{name}: {', '.join(map(str, lost.index))} would be better off with guessing"


def check_linear_model_is_not_better(model: SampleModel) -> None:
    """Check that a linear model, cheaper and easier to explain, is not better by more than the margin."""
    simple = LINEAR[model.params.data.task]
    found = compare_with(model, fit_other(model, simple))
    is_fine = found.high > 0 or found.difference > -found.margin
    assert is_fine, f"{simple.estimator} is better: name it in train.estimator"


def draw_arguments(params: Params, random: np.random.Generator) -> dict[str, Any]:
    """Return a random setting from sweep.space."""
    drawn: dict[str, Any] = {}
    for name, space in params.sweep.space.items():
        if not isinstance(space, SearchRange):
            drawn[name] = space[int(random.integers(len(space)))]
            continue
        low, high = (np.log(space.low), np.log(space.high)) if space.log else (space.low, space.high)
        value = random.uniform(low, high)
        value = float(np.exp(value) if space.log else value)
        is_whole = isinstance(space.low, int) and isinstance(space.high, int)
        drawn[name] = round(value) if is_whole else value
    return drawn


def check_drawn_settings_are_not_better(model: SampleModel) -> None:
    """Check that none of a few settings drawn from sweep.space is better by more than the margin."""
    if not model.params.sweep.space:
        pytest.skip("sweep.space is empty")
    random = np.random.default_rng(0)
    train = model.params.train
    for _ in range(DRAWN_SETTINGS):
        arguments = train.arguments | draw_arguments(model.params, random)
        found = compare_with(model, fit_other(model, replace(train, arguments=arguments)))
        is_fine = found.p_value > FALSE_ALARMS / DRAWN_SETTINGS or found.difference > -found.margin
        assert is_fine, f"{arguments} is better: `make sweep` finds it"


def check_no_feature_harms(model: SampleModel) -> None:
    """Check that the model is not better with the values of a column shuffled."""
    names = model.params.data.features
    random = np.random.default_rng(0)
    for name in names:
        shuffled = model.holdout.copy()
        shuffled[name] = model.holdout[name].to_numpy()[random.permutation(len(shuffled))]
        found = compare_with(model, model.predict_frame(shuffled))
        assert found.p_value > FALSE_ALARMS / len(names), f"{name}: the model is better without it"


def check_order_does_not_matter(model: SampleModel) -> None:
    """Check that rows in another order get the same predictions."""
    turned = model.holdout.iloc[::-1]
    assert model.predict(turned)[::-1] == pytest.approx(model.predict(model.holdout))


def check_row_alone_is_predicted_the_same(model: SampleModel) -> None:
    """Check that a row gets the same prediction alone as among others."""
    together = model.predict(model.holdout.iloc[:5])
    alone = [model.predict(model.holdout.iloc[[place]]) for place in range(len(together))]
    assert np.concatenate(alone) == pytest.approx(together)


def check_left_out_columns_do_not_matter(model: SampleModel) -> None:
    """Check that columns that are not features have no influence."""
    others = [name for name in map(str, model.holdout) if name not in model.params.data.features]
    shuffled = model.holdout.copy()
    shuffled[others] = model.holdout[others].iloc[::-1].to_numpy()
    assert model.predict(shuffled) == pytest.approx(model.predict(model.holdout))


def check_unknown_category_is_predicted(model: SampleModel) -> None:
    """Check that categories that training never saw get a finite prediction."""
    strange = model.holdout.head(20).copy()
    for name in model.params.data.features:
        is_time = pd.api.types.is_datetime64_any_dtype(strange[name])
        if not is_time and not pd.api.types.is_numeric_dtype(strange[name]):
            strange[name] = "never seen before"
    assert np.isfinite(model.predict(strange)).all()


def check_missing_values_are_predicted(model: SampleModel) -> None:
    """Check that rows without the columns that had gaps in training get a finite prediction."""
    empty = model.holdout.head(20).copy()
    for name in model.params.data.features:
        if model.train[name].isna().any():
            empty[name] = pd.Series(np.nan, index=empty.index).astype(empty[name].dtype)
    assert np.isfinite(model.predict(empty)).all()


def find_strongest_column(model: SampleModel) -> StrongestColumn:
    """Return the column whose large groups differ most in the truth."""
    truth = model.encode_truth(model.train)
    found = []
    for name in model.params.data.features:
        groups = group_values(model.train[name]).to_numpy()
        for output in range(truth.shape[1]):
            means = pd.Series(truth[:, output]).groupby(groups).agg(["mean", "size"])
            large = means[means["size"] >= MIN_GROUP_SHARE * len(truth)]["mean"]
            if len(large) > 1:
                difference = float(large.max() - large.min())
                found.append(StrongestColumn(difference, name, output, large.idxmin(), large.idxmax()))
    return max(found, key=lambda one: one.difference)


def check_direction_follows_strongest_column(model: SampleModel) -> None:
    """Check that predictions rise where the truth rises with the strongest column."""
    strongest = find_strongest_column(model)
    predicted = pd.Series(model.predict(model.train)[:, strongest.output])
    means = predicted.groupby(group_values(model.train[strongest.column]).to_numpy()).mean()
    assert means[strongest.highest] > means[strongest.lowest], f"predictions do not follow {strongest.column}"
