"""Each hook, in a project that uses it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import HookError, SettingError, UserError
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, METRICS_JSON, MODEL_FILE, PREDICTIONS_PARQUET
from modelyard.core.predictions import Predictions
from modelyard.gate.pairs import PairedPredictions
from modelyard.pipeline import evaluate, train
from modelyard.pipeline.model_file import load_model, save_model
from modelyard.report.model_card import render_metrics_table
from modelyard.statistics.comparison import compute_difference, compute_interval
from modelyard.statistics.metrics import get_metric

OWN_ESTIMATOR = """\
from sklearn.dummy import DummyClassifier

def make_estimator(train, *, seed, task):
    return DummyClassifier(strategy="prior", random_state=seed)
"""
OWN_PREPROCESSOR = """\
from sklearn.compose import ColumnTransformer

def make_preprocessor(train, table):
    return ColumnTransformer([("numbers", "passthrough", list(table.select_dtypes("number")))])
"""
OWN_METRICS = """\
import numpy as np
from modelyard import Metric, mean_metric

def compute_surprise(truth, scores):
    return float(np.quantile(1 - scores[np.arange(len(truth)), truth], 0.9))

METRICS = [
    mean_metric("certainty", lambda truth, scores: scores.max(axis=1), True, 0.01),
    Metric("surprise", "classification", False, 0.05, value_function=compute_surprise),
    Metric("worst", "regression", False, 0.05, value_function=lambda truth, scores: 0.0),
]
"""


def write_module(name: str, text: str) -> None:
    Path(f"src/flight_delays/{name}.py").write_text(text)


@pytest.fixture(autouse=True)
def _project(project: Path) -> None:
    """A project whose pipeline ran, as the current folder."""


def test_own_estimator_is_trained() -> None:
    write_module("model", OWN_ESTIMATOR)
    train.main()
    assert type(load_model(MODEL_FILE)[-1]).__name__ == "DummyClassifier"


def test_own_preprocessor_is_used() -> None:
    write_module("model", OWN_PREPROCESSOR)
    train.main()
    names = load_model(MODEL_FILE)[:-1].get_feature_names_out()
    assert all(name.startswith("numbers__") for name in names)


def test_estimator_for_another_task_is_one_sentence() -> None:
    text = "from sklearn.linear_model import Ridge\ndef make_estimator(train, *, seed, task):\n    return Ridge()\n"
    write_module("model", text)
    with pytest.raises(SettingError, match="Ridge is not for classification"):
        train.main()


@pytest.mark.parametrize(
    ("text", "hook"),
    [
        ("def make_estimator(train, *, seed, task):\n    return 1\n", "make_estimator"),
        ("def make_preprocessor(train, table):\n    return None\n", "make_preprocessor"),
    ],
)
def test_a_hook_that_returns_something_else_is_one_sentence(text: str, hook: str) -> None:
    write_module("model", text)
    with pytest.raises(HookError, match="must return") as caught:
        train.main()
    assert (caught.value.file, caught.value.hook) == ("src/flight_delays/model.py", hook)


def test_features_that_look_at_other_rows_stop_the_training() -> None:
    before = MODEL_FILE.read_bytes()
    write_module(
        "features",
        "def features(raw):\n    table = raw.select_dtypes('number').copy()\n"
        "    return table.assign(distance=table['distance'].rank())\n",
    )
    with pytest.raises(HookError, match="another distance"):
        train.main()
    assert MODEL_FILE.read_bytes() == before


def test_a_type_that_the_project_trusts_is_saved_and_loaded(tmp_path: Path) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    model = make_pipeline(FunctionTransformer(pd.isna))
    with pytest.raises(UserError, match=r"add it to TRUSTED_TYPES in model\.py"):
        save_model(model, tmp_path / "m.skops")
    write_module("model", "TRUSTED_TYPES = {'pandas.core.dtypes.missing.isna', 'pandas.isna'}\n")
    save_model(model, tmp_path / "m.skops")
    assert load_model(tmp_path / "m.skops")[0].func is pd.isna


def test_own_metrics_of_the_task_are_listed() -> None:
    write_module("metrics", OWN_METRICS)
    evaluate.main()
    metrics = json.loads(METRICS_JSON.read_text())
    assert {"certainty", "surprise", "roc_auc"} <= set(metrics)
    assert "worst" not in metrics


def test_own_metric_can_be_the_primary_one(capsys: pytest.CaptureFixture[str]) -> None:
    write_module("metrics", OWN_METRICS)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("metric: roc_auc", "metric: certainty"))
    evaluate.main()
    assert "certainty 0." in capsys.readouterr().out


def make_scores(rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth and the scores of a good and a bad model."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, rows)
    good, bad = (np.clip(0.5 + (truth - 0.5) * s + random.normal(0, 0.1, rows), 0, 1) for s in (0.8, 0.1))
    return truth, good, bad


def test_a_mean_has_an_interval_in_closed_form() -> None:
    write_module("metrics", OWN_METRICS)
    truth, good, bad = make_scores()
    found = compute_difference("certainty", truth, bad, good)
    assert found.method == "paired mean"
    assert found.resamples == 0
    assert 0 < found.low < found.difference < found.high


def test_any_other_metric_has_an_interval_by_bootstrap() -> None:
    write_module("metrics", OWN_METRICS)
    truth, good, bad = make_scores()
    found = compute_difference("surprise", truth, bad, good)
    assert "bootstrap" in found.method
    assert found.resamples > 500
    assert 0 < found.low < found.difference < found.high


def test_bootstrap_respects_groups() -> None:
    write_module("metrics", OWN_METRICS)
    truth, good, bad = make_scores()
    truth, good, bad = (np.tile(values, 4) for values in (truth, good, bad))
    alone = compute_difference("surprise", truth, bad, good)
    grouped = compute_difference("surprise", truth, bad, good, groups=np.tile(np.arange(400), 4))
    assert grouped.error > 1.5 * alone.error


def test_one_model_has_an_interval_by_bootstrap() -> None:
    write_module("metrics", OWN_METRICS)
    truth, good, _ = make_scores()
    found = compute_interval("surprise", truth, good)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ("[len]", "holds a builtin_function_or_method"),
        ("[mean_metric('roc_auc', None, True, 0)]", "second metric named roc_auc"),
        ("[mean_metric('a', None, True, 0), mean_metric('a', None, True, 0)]", "second metric named a"),
    ],
)
def test_metrics_that_are_none_are_one_sentence(metrics: str, reason: str) -> None:
    write_module("metrics", f"from modelyard import mean_metric\nMETRICS = {metrics}\n")
    with pytest.raises(HookError, match=reason):
        evaluate.main()


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("mean_metric('a', lambda t, s: s, True, 0)", r"returns shape \(\d+, 2\)"),
        ("mean_metric('a', lambda t, s: t * float('nan'), True, 0)", "missing or infinite"),
        ("Metric('a', 'classification', True, 0, value_function=lambda t, s: s)", "must return one number"),
    ],
)
def test_a_metric_that_returns_something_else_is_one_sentence(metric: str, reason: str) -> None:
    write_module("metrics", f"from modelyard import Metric, mean_metric\nMETRICS = [{metric}]\n")
    with pytest.raises(HookError, match=reason):
        evaluate.main()


def test_an_unknown_metric_lists_the_projects_own() -> None:
    write_module("metrics", OWN_METRICS)
    with pytest.raises(UserError, match=r"roc_auc.*certainty"):
        get_metric("accurracy")


def test_the_gate_compares_own_metrics(params: Params) -> None:
    write_module("metrics", OWN_METRICS)
    rows = pd.read_parquet(HOLDOUT_PARQUET)
    predictions = Predictions.from_parquet(PREDICTIONS_PARQUET)
    pairs = PairedPredictions.of(params, rows, predictions, predictions)
    assert {"certainty", "surprise"} <= set(pairs.compute_metrics(pairs.candidate))
    assert pairs.compare_metric("surprise").difference == 0


def test_the_model_card_shows_own_metrics_with_intervals(params: Params) -> None:
    write_module("metrics", OWN_METRICS)
    evaluate.main()
    table = render_metrics_table(params, pd.read_parquet(PREDICTIONS_PARQUET))
    assert "surprise" in table
    assert "certainty" in table
