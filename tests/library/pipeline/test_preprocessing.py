import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.errors import InvalidFileError, UserError
from modelyard.core.files import sha256
from modelyard.core.params import Params, TrainParams
from modelyard.pipeline import estimator, model_file, preprocessing

INNER = [{"estimator": "sklearn.linear_model.LogisticRegression"}, {"estimator": "sklearn.naive_bayes.GaussianNB"}]
NUMBERS = [{"estimator": "sklearn.linear_model.Ridge"}, {"estimator": "sklearn.neighbors.KNeighborsRegressor"}]
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "linear_model.LogisticRegression": {},
    "ensemble.HistGradientBoostingClassifier": {"max_iter": 5},
    "ensemble.RandomForestClassifier": {"n_estimators": 5},
    "ensemble.ExtraTreesClassifier": {"n_estimators": 5},
    "ensemble.GradientBoostingClassifier": {"n_estimators": 5},
    "tree.DecisionTreeClassifier": {},
    "neighbors.KNeighborsClassifier": {},
    "naive_bayes.GaussianNB": {},
    "ensemble.StackingClassifier": {"estimators": INNER, "cv": 3},
    "ensemble.VotingClassifier": {"estimators": INNER, "voting": "soft"},
    "calibration.CalibratedClassifierCV": {"estimator": INNER[0], "method": "temperature", "cv": 3},
}
REGRESSORS: dict[str, dict[str, Any]] = {
    "linear_model.Ridge": {},
    "linear_model.ElasticNet": {"alpha": 0.1},
    "ensemble.HistGradientBoostingRegressor": {"max_iter": 5},
    "ensemble.RandomForestRegressor": {"n_estimators": 5},
    "neighbors.KNeighborsRegressor": {"metric": "chebyshev"},
    "linear_model.TweedieRegressor": {"power": 1.5},
    "ensemble.StackingRegressor": {"estimators": NUMBERS, "cv": 3},
    "ensemble.VotingRegressor": {"estimators": NUMBERS},
}
CATEGORICAL = {"max_iter": 5, "categorical_features": [1]}  # the second column after the preprocessor's


@pytest.fixture
def rows() -> pd.DataFrame:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=90), "b": random.choice(["x", "y", "z"], 90)})
    table.loc[:5, "a"] = np.nan
    table.loc[3:9, "b"] = None
    return table.assign(y=(table["a"].fillna(0) > 0).astype(int))


def fitted(params: Params, rows: pd.DataFrame, name: str, arguments: dict[str, Any], task: str) -> Any:
    data = replace(params.data, features=["a", "b"], target="y", task=task)
    ours = replace(params, data=data, train=TrainParams(f"sklearn.{name}", arguments))
    return estimator.fit_pipeline(ours, rows[["a", "b"]], rows["y"])


@pytest.mark.parametrize(
    ("name", "arguments", "task"),
    [
        *((name, arguments, "classification") for name, arguments in CLASSIFIERS.items()),
        *((name, arguments, "regression") for name, arguments in REGRESSORS.items()),
        ("ensemble.HistGradientBoostingClassifier", CATEGORICAL, "classification"),
        ("ensemble.HistGradientBoostingRegressor", CATEGORICAL, "regression"),
    ],
)
def test_models_come_back_from_their_file_and_say_the_same(
    params: Params, rows: pd.DataFrame, tmp_path: Path, name: str, arguments: dict[str, Any], task: str
) -> None:
    pipeline = fitted(params, rows, name, arguments, task)
    digest = model_file.save_model(pipeline, tmp_path / "m.skops")
    back = model_file.load_model(tmp_path / "m.skops", digest)
    pd.testing.assert_frame_equal(
        estimator.predict_frame(back, rows[["a", "b"]]), estimator.predict_frame(pipeline, rows[["a", "b"]])
    )


def test_equal_models_have_equal_bytes(params: Params, rows: pd.DataFrame, tmp_path: Path) -> None:
    digests = {
        model_file.save_model(
            fitted(params, rows, "linear_model.LogisticRegression", {}, "classification"), tmp_path / str(i)
        )
        for i in range(2)
    }
    assert len(digests) == 1


def test_the_projects_model_is_saved_canonically(piped: Path) -> None:
    packed = (piped / "models/model.skops").read_bytes()
    assert model_file.canonicalize_skops(packed) == packed
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert json.loads(archive.read("schema.json"))
        assert {item.date_time[0] for item in archive.infolist()} == {1980}


def test_predictions_have_a_share_for_each_class(params: Params, rows: pd.DataFrame) -> None:
    pipeline = fitted(params, rows.assign(y=rows["b"].fillna("x")), "tree.DecisionTreeClassifier", {}, "classification")
    frame = estimator.predict_frame(pipeline, rows[["a", "b"]])
    assert list(frame) == ["prediction", "p_x", "p_y", "p_z"]
    assert frame.filter(like="p_").sum(axis=1).to_numpy() == pytest.approx(1)
    assert frame["prediction"].isin(["x", "y", "z"]).all()


@pytest.mark.parametrize(
    ("name", "arguments", "task", "words"),
    [
        ("os.system", {}, "classification", "is not supported"),
        ("sklearn.nowhere.Nothing", {}, "classification", "is not supported"),
        ("sklearn.linear_model.Ridge", {"alpah": 1}, "regression", "cannot be made"),
        ("sklearn.linear_model.Ridge", {}, "classification", "name a classifier with probabilities"),
        ("sklearn.svm.LinearSVC", {}, "classification", "name a classifier with probabilities"),
        ("sklearn.ensemble.VotingClassifier", {"estimators": INNER}, "classification", "add `voting: soft`"),
        ("sklearn.linear_model.LogisticRegression", {}, "regression", "name a regressor"),
        ("sklearn.linear_model.LogisticRegression", {"C": -1}, "classification", "could not learn"),
    ],
)
def test_a_recipe_that_cannot_be_is_one_sentence(
    params: Params, rows: pd.DataFrame, name: str, arguments: dict[str, Any], task: str, words: str
) -> None:
    data = replace(params.data, features=["a", "b"], target="y", task=task)
    ours = replace(params, data=data, train=TrainParams(name, arguments))
    with pytest.raises(UserError, match=words):
        estimator.fit_pipeline(ours, rows[["a", "b"]], rows["y"])


def test_estimators_may_hold_estimators() -> None:
    inner = {"estimator": "sklearn.linear_model.Ridge", "arguments": {"alpha": 2.0}}
    recipe = TrainParams("sklearn.ensemble.BaggingRegressor", {"estimator": inner})
    made = estimator.make_default_estimator(recipe, seed=3, task="regression")
    assert (made.estimator.alpha, made.random_state) == (2.0, 3)


def test_a_missing_column_is_named(params: Params, frame: pd.DataFrame) -> None:
    name = params.data.features[0]
    with pytest.raises(UserError, match=r"the table lacks .*data\.features"):
        preprocessing.select_features(params, frame.drop(columns=name))


def test_another_digest_is_refused(piped: Path) -> None:
    path = piped / "models/model.skops"
    model_file.load_model(path, sha256(path))
    with pytest.raises(UserError, match="is not the model 000000000000"):
        model_file.load_model(path, "0" * 64)


def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        model_file.load_model(tmp_path / "none.skops")
    (tmp_path / "broken.skops").write_bytes(b"not a zip")
    with pytest.raises(InvalidFileError):
        model_file.load_model(tmp_path / "broken.skops")


def test_a_model_that_skops_cannot_write_is_one_sentence(params: Params, rows: pd.DataFrame, tmp_path: Path) -> None:
    arguments = {"max_iter": 2, "early_stopping": True, "scoring": "roc_auc"}
    pipeline = fitted(params, rows, "ensemble.HistGradientBoostingClassifier", arguments, "classification")
    with pytest.raises(UserError, match="cannot be saved by skops"):
        model_file.save_model(pipeline, tmp_path / "model.skops")


def test_types_that_nobody_reviewed_are_refused(tmp_path: Path) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(FunctionTransformer(Path.unlink), tmp_path / "evil.skops")
    with pytest.raises(UserError, match="is refused"):
        model_file.load_model(tmp_path / "evil.skops")
