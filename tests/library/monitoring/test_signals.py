import numpy as np
import pandas as pd
import pytest

from modelyard.core.params import MonitorParams, Params
from modelyard.core.project import Project
from modelyard.monitoring.signals import (
    Signal,
    column_drift,
    describe,
    escalate_by_importance,
    feature_drift,
    prediction_drift,
    threshold_check,
)
from modelyard.monitoring.windows import Window, sample_periods, sample_reference_rows
from modelyard.statistics import drift
from tests.library.monitoring.examples import REFERENCE, RULES, make_predictions, make_rows, make_window

CHANCE = 0.001


def find_feature_drift(params: Params, windows: list[Window]) -> dict[str, Signal]:
    return {signal.name: signal for signal in feature_drift(params, REFERENCE, windows, CHANCE)}


def test_feature_drift_like_the_reference_is_ok(small: Params) -> None:
    found = find_feature_drift(small, [make_window(make_rows(1000, seed)) for seed in (1, 2, 3)])
    assert [signal.state for signal in found.values()] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("moved", "state"),
    [
        ([False, False, True], "ok"),
        ([False, True, True], "notice"),
        ([True, True, False, False], "ok"),
    ],
)
def test_feature_drift_must_persist(small: Params, moved: list[bool], state: str) -> None:
    windows = [make_window(make_rows(1000, seed, shift=float(one))) for seed, one in enumerate(moved, 1)]
    assert find_feature_drift(small, windows)["x"].state == state


def test_feature_drift_few_rows_are_not_judged(small: Params) -> None:
    found = find_feature_drift(small, [make_window(make_rows(50, seed, shift=3)) for seed in (1, 2, 3)])
    assert {signal.state for signal in found.values()} == {"unjudged"}


def test_feature_drift_new_category_is_described(small: Params) -> None:
    windows = [make_window(make_rows(1000, seed, letters="abcdz")) for seed in (1, 2)]
    signal = find_feature_drift(small, windows)["y"]
    assert signal.moved[0]["reference"] == 0
    assert f"{signal.moved[0]['value']}: 0% → " in describe(signal, RULES)


def test_prediction_drift_moved_scores_are_a_warning(small: Params) -> None:
    windows = [make_window(make_rows(1000, seed), make_predictions(1000, seed, lift=0.3)) for seed in (1, 2)]
    found = prediction_drift(small, REFERENCE, windows, CHANCE)
    assert [signal.state for signal in found] == ["warning", "warning"]


def test_prediction_drift_empty_window_is_not_judged(small: Params) -> None:
    empty = make_window(make_rows(0), make_predictions(5).head(0))
    found = prediction_drift(small, REFERENCE, [empty], CHANCE)
    assert {signal.state for signal in found} == {"unjudged"}


def make_season(weeks: range, rows: int, shift: float = 0.0) -> tuple[pd.Series, pd.Series]:
    """Return the times of so many rows a week, and a number that goes up and down with the year."""
    day = np.concatenate([7 * week + np.arange(rows) * 7 / rows for week in weeks])
    noise = np.random.default_rng(weeks.start).normal(shift, 0.5, len(day))
    values = pd.Series(np.sin(2 * np.pi * day / 365.25) + noise, name="x")
    return pd.Series(pd.Timestamp("2021-01-04") + pd.to_timedelta(day, unit="D")), values


@pytest.mark.parametrize(("shift", "alarms"), [(0.0, 0), (4.0, 51)])
def test_column_drift_of_a_season_that_the_history_shows_is_none(shift: float, alarms: int) -> None:
    rules = MonitorParams()
    times, values = make_season(range(125), 1500)
    rows = sample_reference_rows(len(times))
    periods = sample_periods(times, rows, rules)
    parts = [make_season(range(week, week + 1), 5000, shift)[1] for week in range(125, 177)]
    signal = column_drift(rules, "feature", values.iloc[rows], parts, CHANCE, periods, values)
    flags = signal.exceeds_limit
    found = [drift.k_of_n(flags[:end], *rules.persist) for end in range(1, len(flags) + 1)]
    assert sum(found) == alarms


@pytest.mark.parametrize(("shares", "state"), [({"x": 0.9}, "warning"), ({"x": 0.01}, "notice"), ({}, "notice")])
def test_escalate_by_importance_of_the_raw_column(shares: dict[str, float], state: str) -> None:
    signal = Signal("feature", "x_hour", [1.0], [0.1], "notice")
    escalate_by_importance([signal], shares, 0.1)
    assert signal.state == state
    assert signal.importance == shares.get("x")


def test_escalate_by_importance_longest_name_wins() -> None:
    signal = Signal("feature", "x_hour_sin", [1.0], [0.1], "notice")
    escalate_by_importance([signal], {"x": 0.1, "x_hour": 0.5}, 0.1)
    assert signal.importance == 0.5


def test_signal_last_is_the_latest_known_value() -> None:
    assert Signal("feature", "x", [1.0, 2.0, None], [0.1, 0.2, None]).last == (2.0, 0.2)
    assert Signal("feature", "x", [None], [None]).last == (0.0, 0.0)


def test_signal_exceeds_limit_unknown_is_none() -> None:
    signal = Signal("feature", "x", [1.0, 0.1, None, 1.0], [0.5, 0.5, 0.5, None])
    assert signal.exceeds_limit == [True, False, None, None]


def test_threshold_check_latest_window_decides() -> None:
    assert threshold_check("quality", "x", [0.0, 0.2], 0.1, "warning", "reason").sentence == "reason"
    assert threshold_check("quality", "x", [0.2, 0.0], 0.1, "warning", "reason").sentence == ""


def test_describe_drift_names_importance() -> None:
    signal = Signal("feature", "x", [1.0], [0.1], "warning", importance=0.25)
    assert "exceeded in 1 of 1 windows" in describe(signal, RULES)
    assert "25% of the model's importance" in describe(signal, RULES)


def test_feature_drift_personal_column_is_left_out(small: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.monitoring.signals.read_personal_columns", lambda: frozenset({"y"}))
    assert list(find_feature_drift(small, [make_window(make_rows(1000, 1))])) == ["x"]


def test_feature_drift_features_are_made_once_for_all_windows(small: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def count_features(_: Project, raw: pd.DataFrame) -> pd.DataFrame:
        calls.append(len(raw))
        return raw

    monkeypatch.setattr("modelyard.monitoring.signals.Project.features", count_features)
    find_feature_drift(small, [make_window(make_rows(1000, seed)) for seed in (1, 2)])
    assert calls == [2000]
