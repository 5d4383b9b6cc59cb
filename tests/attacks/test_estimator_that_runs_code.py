"""A name in params.yaml, or in the form of a retrain, that means something else than an estimator."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.automation import retrain
from modelyard.core.errors import SettingError
from modelyard.core.params import Params, TrainParams, load_params
from modelyard.pipeline.estimator import find_estimator_class, make_default_estimator
from tests.library.support import PROJECT

FOREST = "sklearn.ensemble.RandomForestClassifier"
IMPORTED = 'Path("canary").touch()\nclass Own'
HOSTILE = """from pathlib import Path
from sklearn.base import BaseEstimator
Path("canary").touch()
class Own(BaseEstimator):
    def fit(self, X, y): return self
    def predict(self, X): return [0] * len(X)
def start(**arguments): Path("canary").touch()
class Other:
    def __init__(self, **arguments): Path("canary").touch()
"""
REFUSED = {
    "sklearn.utils._testing.check_output": {"args": ["touch", "canary"]},  # subprocess's own
    "sklearn.datasets.clear_data_home": {"data_home": "kept"},
    "sklearn.datasets._base.clear_data_home": {"data_home": "kept"},
    "sklearn.set_config": {},
    "sklearn.show_versions": {},
    "sklearn.base.BaseEstimator": {},
    "sklearn.ensemble.BaseEnsemble.fit": {},
    "sklearn.ensemble._forest.RandomForestClassifier": {},
    "sklearn.conftest.pytest": {},
    "sklearn.utils.Bunch": {},
    "sklearn.pipeline.make_pipeline": {},
    "subprocess.check_output": {"args": ["touch", "canary"]},
    "os.system": {"command": "touch canary"},
    "planted.Own": {},
    "sklearn.RandomForestClassifier": {},
    "RandomForestClassifier": {},
    "": {},
    "..": {},
    "flight_delays.model.Other": {},
    "flight_delays.model.start": {},
    "flight_delays._hidden.Own": {},
    "flight_delays.nothing.Own": {},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a folder that is not to be deleted, and modules that leave a canary when they are imported."""
    for name in ("pyproject.toml", "params.yaml"):
        shutil.copyfile(PROJECT / name, tmp_path / name)
    shutil.copytree(PROJECT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src/flight_delays/_hidden.py").write_text(HOSTILE)
    (tmp_path / "src/flight_delays/model.py").write_text(HOSTILE.replace(IMPORTED, "class Own"))
    (tmp_path / "planted.py").write_text(HOSTILE)
    (tmp_path / "kept").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "flight_delays"]:
        del sys.modules[name]


def make(estimator: str, arguments: dict[str, Any]) -> Any:
    return make_default_estimator(TrainParams(estimator, arguments), seed=0, task="classification")


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_of_something_else_is_one_sentence_and_starts_nothing(here: Path, name: str) -> None:
    with pytest.raises(SettingError) as caught:
        make(name, REFUSED[name])
    assert "name a scikit-learn class" in str(caught.value) and "\n" not in str(caught.value)
    assert not (here / "canary").exists() and (here / "kept").is_dir()


@pytest.mark.parametrize("name", ["sklearn.utils._testing.check_output", "sklearn.datasets.clear_data_home"])
@pytest.mark.parametrize("key", ["estimator", "estimators"])
def test_a_nested_name_is_refused_likewise(here: Path, name: str, key: str) -> None:
    nested = {"estimator": name, "arguments": REFUSED[name]}
    outer = "CalibratedClassifierCV" if key == "estimator" else "VotingClassifier"
    module = "calibration" if key == "estimator" else "ensemble"
    with pytest.raises(SettingError, match="name a scikit-learn class"):
        make(f"sklearn.{module}.{outer}", {key: nested if key == "estimator" else [nested]})
    assert not (here / "canary").exists() and (here / "kept").is_dir()


@pytest.mark.parametrize("nested", [{"estimator": 5}, {"estimator": FOREST, "start": "a model"}])
def test_a_nested_name_of_another_form_is_one_sentence(here: Path, nested: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="cannot be made"):
        make("sklearn.calibration.CalibratedClassifierCV", {"estimator": nested})


def test_a_folder_of_pickles_is_no_argument(here: Path) -> None:
    steps = [{"estimator": "sklearn.preprocessing.StandardScaler"}, {"estimator": FOREST}]
    assert make("sklearn.pipeline.Pipeline", {"steps": steps})
    with pytest.raises(SettingError, match="pickles"):
        make("sklearn.pipeline.Pipeline", {"steps": steps, "memory": "data"})


def test_a_retrain_refuses_it_before_anything_is_written(here: Path) -> None:
    params: Params = load_params()
    with pytest.raises(SettingError, match="not supported"):
        retrain.build_train_changes(params, None, "sklearn.utils._testing.check_output", False)


def test_every_estimator_of_scikit_learn_and_of_the_project_may_be_named(here: Path) -> None:
    from sklearn.utils import all_estimators

    for name, kind in all_estimators(type_filter=["classifier", "regressor"]):
        if kind.__module__.startswith("sklearn._"):
            continue
        public = kind.__module__.split(".")[1]
        assert find_estimator_class(f"sklearn.{public}.{name}") is kind
    assert find_estimator_class("flight_delays.model.Own").__name__ == "Own"
