from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.deployments import DeployedModel
from modelyard.core.errors import MissingFileError
from modelyard.core.params import MonitorParams, Params
from modelyard.core.paths import HOLDOUT_PARQUET, PREDICTIONS_PARQUET, TRAIN_PARQUET
from modelyard.monitoring.log_reader import EmptyLogError, ReadStats, with_id_and_time
from modelyard.monitoring.windows import (
    WindowCollector,
    cast_columns,
    collect_windows,
    explain_empty_windows,
    load_reference,
    locate_reference_files,
    sample_periods,
    sample_reference_rows,
)
from tests.library.monitoring.examples import MONDAY, REFERENCE, RULES, WEEK, write_logs


def make_log(time: str, model: str | None = "m", start: int = 0) -> pd.DataFrame:
    """Return five logged rows of one time, with ids of their own."""
    ids = [f"{time}{start + number}" for number in range(5)]
    frame = pd.DataFrame({"id": ids, "time": time})
    if model:
        frame["model"] = model
    return with_id_and_time(frame, ReadStats())


def collect(params: Params, *parts: pd.DataFrame) -> WindowCollector:
    collector = WindowCollector(params, "m", MONDAY + pd.Timedelta(days=1), 100)
    for part in parts:
        collector.add(part)
    return collector


def test_collector_windows_lie_on_one_grid(small: Params) -> None:
    times = [MONDAY + pd.Timedelta(hours=hours) for hours in (0, 1, 100, 167)]
    assert {WindowCollector(small, "m", time, 9).starts[-1] for time in times} == {MONDAY - WEEK}


def test_collector_rows_go_into_their_windows(small: Params) -> None:
    collector = collect(small, make_log("2024-05-28T00:00:00Z"), make_log("2024-05-21T00:00:00Z"))
    assert [window.rows for window in collector.build_windows(pd.DataFrame())] == [0, 0, 5, 5]


@pytest.mark.parametrize("time", ["2024-06-03T10:00:00Z", "2030-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_collector_rows_of_no_whole_window_are_left_out(small: Params, time: str) -> None:
    collector = collect(small, make_log(time))
    assert not any(window.rows for window in collector.build_windows(pd.DataFrame()))


def test_collector_counts_what_it_leaves_out(small: Params) -> None:
    parts = [
        make_log("2030-01-01T00:00:00Z"),
        make_log("2024-05-28T00:00:00Z", "other", 9),
        make_log("2024-05-28T00:00:00Z", None, 20),
    ]
    counts = collect(small, *parts).stats.counts
    assert (counts["in the future"], counts["of another model"], counts["of no model"]) == (5, 5, 5)


def test_cast_columns_counts_what_cannot_be_read() -> None:
    raw, unreadable = cast_columns(pd.DataFrame({"x": ["1", "?", None, "2"], "y": list("abcd")}), REFERENCE.raw)
    assert raw["x"].tolist()[0] == 1.0
    assert unreadable == {"x": 0.25, "y": 0.0}


def test_cast_columns_missing_column_is_empty() -> None:
    raw, unreadable = cast_columns(pd.DataFrame({"y": ["a"]}), REFERENCE.raw)
    assert raw["x"].isna().all()
    assert unreadable["x"] == 0


def make_times(days: int, rows: int) -> pd.Series:
    """Return the times of so many rows a day."""
    return pd.Series(pd.Timestamp("2021-01-04") + pd.to_timedelta(np.arange(days * rows) / rows, unit="D"))


def test_sample_periods_come_from_all_rows_and_not_from_the_sample() -> None:
    times = make_times(125 * 7, 200)
    found = sample_periods(times, sample_reference_rows(len(times)), MonitorParams())
    assert {len(rows) for rows in found.rows} == {400}
    assert all(times.iloc[rows].max() - times.iloc[rows].min() < WEEK for rows in found.rows)
    assert len(found.rows) == 125


def test_sample_periods_reference_rows_lie_in_their_period() -> None:
    times = make_times(70, 500)
    reference_rows = sample_reference_rows(len(times))
    found = sample_periods(times, reference_rows, MonitorParams())
    assert sum(map(len, found.reference_rows)) == 20_000
    for rows, own in zip(found.rows, found.reference_rows, strict=True):
        own_times = times.iloc[reference_rows[own]]
        assert own_times.max() - times.iloc[rows].min() < WEEK
        assert times.iloc[rows].max() - own_times.min() < WEEK


def test_sample_periods_of_many_hours_are_some_of_them() -> None:
    times = make_times(60, 24 * 200)
    found = sample_periods(times, np.arange(100), MonitorParams(window="1h"))
    assert len(found.rows) == 250
    assert {len(rows) for rows in found.rows} == {200}


def test_sample_periods_of_a_short_holdout_are_days() -> None:
    times = make_times(30, 300)
    assert [len(rows) for rows in sample_periods(times, np.arange(len(times)), MonitorParams()).rows] == [900] * 10


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_sample_periods_of_times_with_and_without_a_zone(zone: str | None) -> None:
    times = make_times(70, 300).dt.tz_localize("UTC").dt.tz_convert(zone)
    assert len(sample_periods(times, np.arange(len(times)), MonitorParams()).rows) >= 9


@pytest.mark.usefixtures("local")
def test_load_reference_without_training_rows_names_the_file() -> None:
    TRAIN_PARQUET.unlink()
    with pytest.raises(MissingFileError) as caught:
        locate_reference_files(None)
    assert caught.value.path == TRAIN_PARQUET


@pytest.mark.usefixtures("local")
def test_load_reference_rows_and_features_belong_together(params: Params) -> None:
    reference = load_reference(params)
    assert list(reference.raw) == params.data.features
    assert len(reference.raw) == len(reference.features)


def test_locate_reference_files_of_a_deployed_model_in_the_cache(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = (TRAIN_PARQUET, HOLDOUT_PARQUET, PREDICTIONS_PARQUET)
    outs = [{"path": str(path), "md5": f"{number}" * 32} for number, path in enumerate(paths)]
    monkeypatch.setattr("modelyard.core.git_objects.read_yaml_at", lambda *_: {"stages": {"all": {"outs": outs}}})
    for number, path in enumerate(paths):
        place = Path(f".dvc/cache/files/md5/{number}{number}/{f'{number}' * 30}")
        place.parent.mkdir(parents=True)
        path.rename(place)
    model, places = locate_reference_files(DeployedModel("a" * 64, "c0ffee"))
    assert model == "a" * 64
    assert all(len(pd.read_parquet(place)) for place in places.values())


@pytest.mark.usefixtures("local")
def test_collect_windows_joins_the_labels(params: Params) -> None:
    write_logs(params)
    windows, stats = collect_windows(params, load_reference(params), MONDAY)
    assert [len(window.labelled) for window in windows[-3:]] == [250, 250, 250]
    assert "truth" in windows[-1].labelled
    assert stats.counts["labels"] == 750


def keep_labels_of(weeks: range, time: str) -> None:
    """Delete the feedback of other weeks, and date the rest."""
    for path in Path("logs").glob("feedback-*"):
        if int(path.stem.split("-")[1]) not in weeks:
            path.unlink()
            continue
        pd.read_json(path, lines=True).assign(time=time).to_json(path, orient="records", lines=True)


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("time", ["2024-06-02", "2024-03-01"], ids=["came now", "dated as the rows"])
def test_collect_windows_reach_labels_that_are_90_days_late(params: Params, time: str) -> None:
    write_logs(params, weeks=18)
    keep_labels_of(range(5), time)
    windows, stats = collect_windows(params, load_reference(params), MONDAY)
    assert [(MONDAY - window.start) // WEEK for window in windows] == [16, 15, 14, *range(12, 0, -1)]
    assert [len(window.labelled) for window in windows] == [250] * 3 + [0] * 12
    assert stats.counts["rows"] == 18 * 250


@pytest.mark.usefixtures("local")
def test_collect_windows_do_not_grow_where_the_history_has_labels(params: Params) -> None:
    write_logs(params, weeks=18)
    keep_labels_of(range(9), "2024-06-02")
    windows, _ = collect_windows(params, load_reference(params), MONDAY)
    assert len(windows) == params.monitor.history


@pytest.mark.usefixtures("local")
def test_collect_windows_know_which_rows_wait_for_their_label(params: Params) -> None:
    write_logs(params, weeks=1)
    feedback = Path("logs/feedback-0.jsonl")
    feedback.write_text("".join(feedback.read_text().splitlines(keepends=True)[:50]))
    window = collect_windows(params, load_reference(params), MONDAY)[0][-1]
    with_label = window.sample["id"].isin(window.labelled["id"])
    assert 0 < with_label.sum() < len(window.sample)
    assert window.is_labelled.tolist() == with_label.tolist()


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({}, "has no predictions"),
        ({"rows": 1, "of another model": 1}, "has only predictions of other models"),
        ({"rows": 1}, "has no prediction in the last 4 whole windows"),
    ],
)
def test_explain_empty_windows_by_reason(counts: dict[str, int], problem: str) -> None:
    stats = ReadStats()
    stats.counts.update(counts)
    error = explain_empty_windows(RULES, "m" * 64, stats)
    assert isinstance(error, EmptyLogError)
    assert error.problem.startswith(problem)
