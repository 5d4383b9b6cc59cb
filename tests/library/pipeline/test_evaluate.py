import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core import predictions
from modelyard.core.params import Params
from modelyard.pipeline import evaluate


@pytest.mark.usefixtures("project")
def test_main_writes_metrics_predictions_and_plots() -> None:
    metrics = json.loads(Path("reports/metrics.json").read_text(encoding="utf-8"))
    predictions = pd.read_parquet("reports/predictions.parquet")
    assert metrics["rows"] == len(predictions) == len(pd.read_parquet("data/holdout.parquet"))
    assert all(np.isfinite(value) for value in metrics.values())
    assert sorted(Path("reports/plots").glob("*.csv"))


@pytest.mark.usefixtures("project")
def test_the_primary_metric_is_there(params: Params) -> None:
    truth = pd.read_parquet("data/holdout.parquet")[params.data.target]
    if params.data.task == "classification" and truth.nunique() < 2:
        pytest.skip("one class alone defines no ranking")
    assert params.evaluate.metric in json.loads(Path("reports/metrics.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("project")
def test_truth_stands_beside_the_predictions(params: Params) -> None:
    truth = pd.read_parquet("data/holdout.parquet")[params.data.target]
    assert pd.read_parquet("reports/predictions.parquet")["truth"].tolist() == truth.tolist()


@pytest.mark.usefixtures("project")
def test_main_leaves_no_older_plot() -> None:
    Path("reports/plots/old.csv").write_text("a\n", encoding="utf-8")
    evaluate.main()
    assert not Path("reports/plots/old.csv").exists()


def test_encode_gives_codes_and_a_column_for_each_class() -> None:
    frame = pd.DataFrame({"prediction": ["b", "a"], "p_a": [0.2, 0.9], "p_b": [0.8, 0.1]})
    codes, scores = predictions.Predictions.from_frame(frame).encode(pd.Series(["b", "c"]))
    assert codes.tolist() == [1, 2]
    assert scores.tolist() == [[0.2, 0.8, 0.0], [0.9, 0.1, 0.0]]


def test_encode_gives_numbers_for_a_regression() -> None:
    numbers = predictions.Predictions(np.array([1.5, 2.5]))
    truth, scores = numbers.encode(pd.Series([1, 2]))
    assert (truth.tolist(), scores.tolist()) == ([1.0, 2.0], [1.5, 2.5])


@pytest.mark.parametrize("rows", [10, 5000])
def test_points_are_few_and_spread(rows: int) -> None:
    scores = np.linspace(0, 1, rows)
    tables = evaluate.build_plot_tables(scores + 0.1, scores)
    assert len(tables["residuals"]) == min(rows, evaluate.MAX_PLOT_POINTS)
    assert tables["residuals"]["predicted"].iloc[[0, -1]].tolist() == [0.0, 1.0]


def test_build_plot_tables_have_two_columns_for_each_plot() -> None:
    truth = np.arange(100) % 2
    probability = np.linspace(0, 1, 100)
    tables = evaluate.build_plot_tables(truth, np.column_stack([1 - probability, probability]))
    assert list(tables) == ["roc", "precision_recall", "calibration", "scores"]
    assert {table.shape[1] for table in tables.values()} == {2}


def test_outline_histogram_area_is_one() -> None:
    outline = evaluate.outline_histogram(np.random.default_rng(0).normal(size=1000))
    widths = np.diff(outline["prediction"])
    assert (widths * outline["density"].iloc[:-1]).sum() == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_outline_histogram_of_one_value_is_one_bin(value: float) -> None:
    assert len(evaluate.outline_histogram(np.full(10, value))) == 3
