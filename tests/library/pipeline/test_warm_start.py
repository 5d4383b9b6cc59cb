import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import structs
from msgspec.structs import replace

from modelyard.automation import retrain
from modelyard.core import model_at, start_model
from modelyard.core.errors import IntegrityError, MissingFileError, SettingError, UserError
from modelyard.core.files import sha256
from modelyard.core.git_objects import checkout_commit
from modelyard.core.params import Params, StartParams
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE, ROW_HASHES_FILE
from modelyard.core.process import run_git
from modelyard.core.yaml_edit import edit_yaml
from modelyard.data.hashing import row_hashes
from modelyard.pipeline import warm_start
from modelyard.pipeline.estimator import fit_pipeline
from modelyard.pipeline.model_file import save_model
from modelyard.pipeline.preprocessing import select_features

KINDS = {"classification": "Classifier", "regression": "Regressor"}
ARGUMENTS = {"classification": {"loss": "log_loss"}, "regression": {}}


def learner(params: Params, name: str, arguments: dict[str, Any]) -> Params:
    estimator = f"{name}{KINDS[params.data.task]}"
    return replace(params, train=replace(params.train, estimator=estimator, arguments=arguments))


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


def start_from(params: Params, known: pd.DataFrame) -> Params:
    """Put a model that learned from some rows into models/start/, with today's holdout; it is where training starts."""
    start_model.START_FOLDER.mkdir()
    pipeline = fit_pipeline(params, select_features(params, known), known[params.data.target])
    save_model(pipeline, start_model.get_start_path("model"))
    np.save(start_model.get_start_path("rows"), np.sort(row_hashes(known)))
    shutil.copyfile(HOLDOUT_PARQUET, start_model.get_start_path("holdout"))
    digests = {name: sha256(start_model.get_start_path(name)) for name in start_model.START_FILES}
    return replace(params, train=replace(params.train, start=StartParams("c0ffee", **digests)))


def test_partial_fit_goes_on_from_the_rows_that_are_new(linear: Params, rows: pd.DataFrame) -> None:
    params = start_from(linear, rows.head(len(rows) // 2))
    assert params.train.start
    pipeline, known = warm_start.resume_training(params, rows)
    assert np.array_equal(known, np.sort(row_hashes(rows)))
    earlier = warm_start.load_training_state(params.train.start).pipeline
    assert not np.allclose(pipeline[-1].coef_, earlier[-1].coef_)


def test_a_forest_grows_by_the_share_of_new_rows(forest: Params, rows: pd.DataFrame) -> None:
    params = start_from(forest, rows.head(len(rows) // 2))
    pipeline, _ = warm_start.resume_training(params, rows)
    assert len(pipeline[-1].estimators_) == pipeline[-1].n_estimators >= 20


def test_holdout_of_the_earlier_model_is_never_learned(linear: Params, rows: pd.DataFrame) -> None:
    params = start_from(linear, rows.head(len(rows) // 2))
    held = pd.read_parquet(HOLDOUT_PARQUET)
    _, known = warm_start.resume_training(params, pd.concat([rows, held]))
    assert not np.isin(row_hashes(held), known).any()


def test_no_new_rows_are_refused(linear: Params, rows: pd.DataFrame) -> None:
    params = start_from(linear, rows)
    with pytest.raises(UserError, match="has seen every row"):
        warm_start.resume_training(params, rows)


def test_an_estimator_that_cannot_go_on_is_refused(params: Params, rows: pd.DataFrame) -> None:
    tree = start_from(learner(params, "sklearn.tree.DecisionTree", {}), rows.head(len(rows) // 2))
    with pytest.raises(SettingError, match="cannot go on learning"):
        warm_start.resume_training(tree, rows)


def test_a_missing_start_model_is_refused(linear: Params, rows: pd.DataFrame) -> None:
    params = start_from(linear, rows.head(len(rows) // 2))
    start_model.get_start_path("rows").unlink()
    with pytest.raises(MissingFileError, match="modelyard start"):
        warm_start.resume_training(params, rows)


def test_another_start_model_than_params_name_is_refused(linear: Params, rows: pd.DataFrame) -> None:
    params = start_from(linear, rows.head(len(rows) // 2))
    shutil.copyfile(MODEL_FILE, start_model.get_start_path("model"))
    with pytest.raises(IntegrityError) as caught:
        warm_start.resume_training(params, rows)
    assert caught.value.link == "train.start"


def put_model(params: Params, rows: pd.DataFrame, target: "pd.Series[Any]") -> None:
    """Put a model here that learned this target, and no row of the earlier holdout."""
    save_model(fit_pipeline(params, select_features(params, rows), target), MODEL_FILE)
    np.save(ROW_HASHES_FILE, np.sort(row_hashes(rows)))


def test_a_model_that_remembers_passes(forest: Params, rows: pd.DataFrame) -> None:
    params = start_from(forest, rows)
    put_model(forest, rows, rows[forest.data.target])
    retrain.check_forgetting(params)


def test_a_model_that_forgot_is_refused(forest: Params, rows: pd.DataFrame) -> None:
    params = start_from(forest, rows)
    target = rows[forest.data.target]
    values = sorted(target.unique())
    upside_down = dict(zip(values, values[::-1], strict=True))
    put_model(forest, rows, target.map(upside_down))
    with pytest.raises(UserError, match="forgets what it"):
        retrain.check_forgetting(params)


@pytest.mark.slow
def test_start_brings_the_model_of_a_commit(committed: str) -> None:
    before = sha256(MODEL_FILE)
    start = start_model.bring_start_model(committed)
    assert (start.commit, start.model) == (committed, before)
    assert start_model.has_start_files(start)
    assert row_hashes(pd.read_parquet(start_model.get_start_path("holdout"))).size


@pytest.mark.slow
def test_start_brings_it_into_a_checkout_too(committed: str) -> None:
    start = start_model.bring_start_model(committed)
    with edit_yaml(Path("params.yaml")) as document:
        document["train"]["start"] = structs.asdict(start)
    run_git("commit", "--quiet", "--all", "--message", "go on from it")
    with checkout_commit("HEAD") as checkout:
        model_at.bring_start_model(checkout)
        assert sha256(checkout / start_model.get_start_path("model")) == start.model
