from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.automation import retrain
from modelyard.core.errors import UserError
from modelyard.core.params import Params
from modelyard.core.paths import MODEL_FILE, ROW_HASHES_FILE
from modelyard.pipeline import warm_start
from modelyard.pipeline.estimator import fit_pipeline
from modelyard.pipeline.model_file import load_model, save_model
from modelyard.pipeline.preprocessing import select_features

KINDS = {"classification": "Classifier", "regression": "Regressor"}
ARGUMENTS = {"classification": {"loss": "log_loss"}, "regression": {}}


def learner(params: Params, name: str, arguments: dict[str, Any]) -> Params:
    estimator = f"{name}{KINDS[params.data.task]}"
    return replace(params, train=replace(params.train, estimator=estimator, arguments=arguments, start="c0ffee"))


@pytest.fixture
def linear(params: Params) -> Params:
    return learner(params, "sklearn.linear_model.SGD", ARGUMENTS[params.data.task])


@pytest.fixture
def forest(params: Params) -> Params:
    return learner(params, "sklearn.ensemble.RandomForest", {"n_estimators": 10})


@pytest.fixture
def rows(project: Path) -> pd.DataFrame:
    """The training rows, every class in both halves."""
    return pd.read_parquet(project / "data/train.parquet").sample(frac=1, random_state=1).reset_index(drop=True)


def before(params: Params, known: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that a commit's model learned from some rows; its holdout is today's."""
    pipeline = fit_pipeline(params, select_features(params, known), known[params.data.target])
    save_model(pipeline, Path("before.skops"))
    held, marks = pd.read_parquet("data/holdout.parquet"), np.sort(warm_start.row_hashes(known))
    monkeypatch.setattr(warm_start, "load_training_state", lambda _: (load_model(Path("before.skops")), marks, held))


def test_partial_fit_goes_on_from_the_rows_that_are_new(
    linear: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(rows) // 2
    before(linear, rows.head(half), monkeypatch)
    pipeline, known = warm_start.resume_training(linear, rows)
    assert np.array_equal(known, np.sort(warm_start.row_hashes(rows)))
    assert not np.allclose(pipeline[-1].coef_, warm_start.load_training_state("")[0][-1].coef_)


def test_a_forest_grows_by_the_share_of_new_rows(
    forest: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(forest, rows.head(len(rows) // 2), monkeypatch)
    pipeline, _ = warm_start.resume_training(forest, rows)
    assert len(pipeline[-1].estimators_) == pipeline[-1].n_estimators >= 20


def test_holdout_of_the_earlier_model_is_never_learned(
    linear: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(linear, rows.head(len(rows) // 2), monkeypatch)
    held = pd.read_parquet("data/holdout.parquet")
    _, known = warm_start.resume_training(linear, pd.concat([rows, held]))
    assert not np.isin(warm_start.row_hashes(held), known).any()


def test_no_new_rows_are_refused(linear: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    before(linear, rows, monkeypatch)
    with pytest.raises(UserError, match="has seen every row"):
        warm_start.resume_training(linear, rows)


def test_an_estimator_that_cannot_go_on_is_refused(
    params: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = learner(params, "sklearn.tree.DecisionTree", {})
    before(tree, rows.head(len(rows) // 2), monkeypatch)
    with pytest.raises(UserError, match="cannot go on learning"):
        warm_start.resume_training(tree, rows)


def answer_with(params: Params, rows: pd.DataFrame, target: "pd.Series[Any]") -> None:
    """A model here that learned this target, and no row of the earlier holdout."""
    save_model(fit_pipeline(params, select_features(params, rows), target), MODEL_FILE)
    np.save(ROW_HASHES_FILE, np.sort(warm_start.row_hashes(rows)))


def test_a_model_that_remembers_passes(forest: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    before(forest, rows, monkeypatch)
    answer_with(forest, rows, rows[forest.data.target])
    retrain.check_forgetting(forest)


def test_a_model_that_forgot_is_refused(forest: Params, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    before(forest, rows, monkeypatch)
    target = rows[forest.data.target]
    values = sorted(target.unique())
    upside_down = dict(zip(values, values[::-1], strict=True))
    answer_with(forest, rows, target.map(upside_down))
    with pytest.raises(UserError, match="forgets what it knew"):
        retrain.check_forgetting(forest)
