from dataclasses import replace as replace_fields
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.params import Params
from modelyard.monitoring.performance import (
    HoldoutMetric,
    encode_labelled_rows,
    measure_holdout,
    measure_metric,
    model_performance,
    performance_drop,
)
from modelyard.monitoring.run import find_retrain_triggers
from modelyard.monitoring.signals import Signal, describe
from modelyard.monitoring.windows import ReferenceData, Window
from modelyard.statistics.comparison import ConfidenceInterval
from modelyard.statistics.drift import Periods
from modelyard.statistics.metrics import Metric
from tests.library.monitoring.examples import REFERENCE, RULES, make_predictions, make_rows, make_window


def make_labelled_window(seed: int = 1, rows: int = 3000, quality: float = 1.0) -> Window:
    return make_window(make_rows(rows, seed), make_predictions(rows, seed, quality=quality), labelled=True)


def find_performance(params: Params, *windows: Window) -> list[Signal]:
    return model_performance(params, REFERENCE, windows)


def test_model_performance_as_on_the_holdout_is_ok(small: Params) -> None:
    measured, estimated, _ = find_performance(small, make_labelled_window(1), make_labelled_window(2))
    assert (measured.state, estimated.state) == ("ok", "unjudged")
    assert all(low < measured.base < high for _, low, high in filter(None, measured.shown))


def test_model_performance_loss_is_critical_and_a_trigger(small: Params) -> None:
    windows = [make_labelled_window(seed, quality=0.2) for seed in (1, 2)]
    signal = find_performance(small, *windows)[0]
    signal.sentence = describe(signal, RULES)
    assert signal.state == "critical"
    assert "on the holdout" in find_retrain_triggers([signal])["performance"]


def test_model_performance_gain_is_ok(small: Params) -> None:
    predictions = make_predictions(3000, 1)
    better = predictions.assign(truth=(predictions["p_1"] > 0.3).astype(int))
    window = make_window(make_rows(3000, 1), better, labelled=True)
    assert find_performance(small, window, window)[0].state == "ok"


def test_model_performance_without_labels_is_estimated(small: Params) -> None:
    predictions = make_predictions(1000, 3)
    noise = np.random.default_rng(0).normal(0, 0.01, (1000, 1))
    predictions[["p_0", "p_1"]] = [0.7, 0.3] + noise * [1, -1]
    window = make_window(make_rows(1000, 3), predictions)
    measured, estimated, _ = find_performance(small, window, window)
    assert (measured.state, estimated.kind, estimated.state) == ("unjudged", "estimate", "notice")
    assert "is estimated at" in describe(estimated, RULES)


def test_model_performance_labels_of_one_class_are_not_judged(small: Params) -> None:
    one_class = make_predictions(500, 1).assign(truth=0)
    window = make_window(make_rows(500, 1), one_class, labelled=True)
    assert find_performance(small, window)[0].state == "unjudged"


def test_model_performance_holdout_too_small_has_no_signal(small: Params) -> None:
    reference = ReferenceData("m" * 64, make_rows(10), make_rows(10), make_predictions(10))
    assert model_performance(small, reference, [make_labelled_window()]) == []


def test_measure_metric_of_a_project_is_bootstrapped(small: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Metric("own", "classification", True, 0.01, value_function=lambda truth, scores: float(truth.mean()))
    for module in ("monitoring.performance", "statistics.paired_scores"):
        monkeypatch.setattr(f"modelyard.{module}.get_metric", lambda _: own)
    found = measure_metric(small, REFERENCE, make_predictions(300))
    assert found is not None
    assert found.low < found.value < found.high


@pytest.mark.parametrize("truth", [[1, 0] * 200, ["1", "0"] * 200, [1.0, 0.0] * 200, [True, False] * 200])
def test_encode_labelled_rows_truth_in_any_spelling(truth: list[Any]) -> None:
    labelled = make_predictions(400).assign(truth=pd.Series(truth, dtype=object))
    codes, _ = encode_labelled_rows(REFERENCE, labelled)
    assert codes.tolist() == [1, 0] * 200


def test_encode_labelled_rows_unknown_class_is_left_out() -> None:
    codes, scores = encode_labelled_rows(REFERENCE, make_predictions(4).assign(truth=["1", "maybe", "0", "2"]))
    assert codes.tolist() == [1, 0]
    assert len(scores) == 2


def test_encode_labelled_rows_number_that_is_missing_is_left_out() -> None:
    reference = ReferenceData("m" * 64, make_rows(1), make_rows(1), pd.DataFrame({"prediction": [1.0]}))
    labelled = pd.DataFrame({"prediction": [1.0, 2.0, None], "truth": ["1.5", "?", 3]})
    truth, scores = encode_labelled_rows(reference, labelled)
    assert (truth.tolist(), scores.tolist()) == ([1.5], [1.0])


def test_performance_drop_of_an_error_is_positive(small: Params) -> None:
    params = replace(small, evaluate=replace(small.evaluate, metric="log_loss"))
    holdout = ConfidenceInterval("log_loss", 1.0, 0.98, 1.02, 0.01, "paired mean")
    worse = ConfidenceInterval("log_loss", 1.5, 1.48, 1.52, 0.01, "paired mean")
    signal = performance_drop(params, "performance", HoldoutMetric(holdout), [worse, None])
    assert signal.values == [0.5, None]


def make_restless_reference(periods: int = 12, rows: int = 1000, worst: float = 0.6) -> ReferenceData:
    """Return a reference whose model is better in every second period of the holdout."""
    parts = [make_predictions(rows, seed, quality=1.0 if seed % 2 else worst) for seed in range(periods)]
    own = np.split(np.arange(periods * rows), periods)
    predictions = pd.concat(parts, ignore_index=True)
    return replace_fields(REFERENCE, predictions=predictions, holdout_periods=Periods(own, own))


def test_measure_holdout_knows_how_much_the_metric_varies(small: Params) -> None:
    reference = make_restless_reference()
    holdout = measure_holdout(small, reference)
    assert holdout is not None
    values = [
        measure_metric(small, reference, reference.predictions.iloc[rows]) for rows in np.split(np.arange(12_000), 12)
    ]
    spread = np.std([one.value for one in values if one])
    assert spread < holdout.spread < 2 * spread
    assert holdout.periods == 12


@pytest.mark.parametrize("reference", [REFERENCE, make_restless_reference(7)], ids=["no periods", "seven"])
def test_measure_holdout_of_few_periods_has_no_spread(small: Params, reference: ReferenceData) -> None:
    holdout = measure_holdout(small, reference)
    assert holdout is not None
    assert holdout.spread == 0


def test_model_performance_that_varies_as_on_the_holdout_is_ok(small: Params) -> None:
    weak = [make_labelled_window(seed, quality=0.6) for seed in (101, 102)]
    reference = make_restless_reference()
    steady = replace_fields(reference, holdout_periods=Periods())
    assert model_performance(small, steady, weak)[0].state == "critical"
    assert model_performance(small, reference, weak)[0].state == "ok"


def test_model_performance_far_below_the_holdout_s_periods_is_critical(small: Params) -> None:
    broken = [make_labelled_window(seed, quality=0.0) for seed in (101, 102)]
    assert model_performance(small, make_restless_reference(worst=0.9), broken)[0].state == "critical"
