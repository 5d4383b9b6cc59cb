import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import ToolError
from modelyard.monitoring.log_reader import (
    HashSample,
    LabelSample,
    ReadStats,
    fetch_logs,
    read_records,
    with_id_and_time,
)


def make_records(count: int = 10, start: int = 0, **columns: Any) -> pd.DataFrame:
    """Return records whose ids are counted from `start`."""
    times = pd.date_range("2024-01-01", periods=count, freq="h", tz="UTC").astype(str)
    ids = [f"r{number}" for number in range(start, start + count)]
    return pd.DataFrame({"id": ids, "time": times, "model": "m", "x": 1.0, **columns})


def to_json_lines(frame: pd.DataFrame) -> str:
    return "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))


def read_predictions(folder: Path) -> tuple[pd.DataFrame, ReadStats]:
    stats = ReadStats()
    parts = list(read_records(folder, "predictions", stats))
    return (pd.concat(parts) if parts else pd.DataFrame()), stats


def fill_sample(frames: list[pd.DataFrame], size: int) -> HashSample:
    sample = HashSample(size)
    for frame in frames:
        sample.add(with_id_and_time(frame, ReadStats()))
    return sample


def test_read_records_both_formats_in_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "predictions-1.jsonl").write_text(to_json_lines(make_records(3)), encoding="utf-8")
    make_records(3, 3).to_parquet(tmp_path / "predictions-2.parquet")
    found, stats = read_predictions(tmp_path)
    assert list(found["id"]) == [f"r{number}" for number in range(6)]
    assert stats.counts["files"] == 2


@pytest.mark.parametrize(
    ("text", "good", "broken"),
    [
        pytest.param("", 0, 0, id="empty"),
        pytest.param("\n\n", 0, 0, id="blank lines"),
        pytest.param(to_json_lines(make_records(3))[:-20], 2, 1, id="half-written"),
        pytest.param("not json\n" + to_json_lines(make_records(3)), 3, 1, id="nonsense"),
        pytest.param("[1, 2]\n" + to_json_lines(make_records(3)), 3, 1, id="no objects"),
        pytest.param(to_json_lines(make_records(3)) + to_json_lines(make_records(3, 3, y="new")), 6, 0, id="versions"),
        pytest.param(to_json_lines(make_records(3)) + to_json_lines(make_records(3, 3, x="text")), 6, 0, id="types"),
        pytest.param("\x00\x00\x00\n" + to_json_lines(make_records(2)), 2, 1, id="zeros"),
    ],
)
def test_read_records_good_lines_of_any_file(tmp_path: Path, text: str, good: int, broken: int) -> None:
    (tmp_path / "predictions-1.jsonl").write_text(text, encoding="utf-8")
    found, stats = read_predictions(tmp_path)
    assert len(found) == good
    assert stats.counts["broken lines"] == broken


def test_read_records_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "predictions-1.parquet"
    make_records().to_parquet(broken)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    (tmp_path / "predictions-2.jsonl").write_text(to_json_lines(make_records(2)), encoding="utf-8")
    found, stats = read_predictions(tmp_path)
    assert len(found) == 2
    assert list(stats.unreadable_files) == ["predictions-1.parquet"]


def test_read_records_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert read_predictions(tmp_path / "nowhere")[1].counts["files"] == 0


def test_read_records_without_id_or_time_are_counted(tmp_path: Path) -> None:
    frame = make_records(4).astype(object)
    frame.loc[0, "id"] = None
    frame.loc[1, "time"] = "yesterday"
    (tmp_path / "predictions-1.jsonl").write_text(to_json_lines(frame), encoding="utf-8")
    found, stats = read_predictions(tmp_path)
    assert list(found["id"]) == ["r2", "r3"]
    assert stats.counts["without id or time"] == 2


def test_with_id_and_time_any_zone_is_utc() -> None:
    found = with_id_and_time(make_records(1).assign(time="2024-01-01T02:00:00+02:00"), ReadStats())
    assert str(found["time"].iloc[0]) == "2024-01-01 00:00:00+00:00"


def test_hash_sample_order_of_parts_does_not_matter() -> None:
    parts = [make_records(500, 500 * number) for number in range(20)]
    first = fill_sample(parts, 200).shrink()
    second = fill_sample(parts[::-1], 200).shrink()
    assert len(first) == 200
    assert set(first["id"]) == set(second["id"])


def test_hash_sample_repeated_id_keeps_the_latest_row() -> None:
    later = make_records(50, y=2).assign(time="2025-01-01T00:00:00Z")
    sample = fill_sample([make_records(50, y=1), later], 100)
    assert list(sample.shrink()["y"].unique()) == [2]
    assert sample.repeated == 50


def test_hash_sample_is_fair() -> None:
    numbers = fill_sample([make_records(20_000)], 2000).shrink()["id"].str[1:].astype(int)
    standard_error = 20_000 / np.sqrt(12 * 2000)
    assert abs(numbers.mean() - 10_000) < 5 * standard_error


def test_hash_sample_memory_is_bounded() -> None:
    sample = HashSample(100)
    for number in range(50):
        sample.add(with_id_and_time(make_records(1000, 1000 * number), ReadStats()))
        assert sample.rows_in_memory <= 4 * 100 + 1000


def make_labels(truths: list[Any], hour: int, start: int = 0) -> pd.DataFrame:
    """Return labels that came in one hour; their ids are counted from `start`."""
    ids = [f"r{number}" for number in range(start, start + len(truths))]
    labels = pd.DataFrame({"id": ids, "truth": pd.Series(truths, dtype="object"), "time": f"2024-01-01T{hour:02}:00Z"})
    return with_id_and_time(labels, ReadStats())


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
@pytest.mark.parametrize("size", [2, 1000])
def test_label_sample_keeps_the_first_truth(order: tuple[int, ...], size: int) -> None:
    sample = LabelSample(size)
    for hour in order:
        sample.add(make_labels([int(hour > 1), 5], hour))
        sample.shrink()
    found = sample.shrink().set_index("id")
    assert found["truth"].to_dict() == {"r0": 0, "r1": 5}
    assert found["is_contradicted"].to_dict() == {"r0": True, "r1": False}


def test_label_sample_knows_one_truth_however_it_is_spelled() -> None:
    sample = LabelSample(10)
    for hour, truth in enumerate([1, 1.0, "1", True]):
        sample.add(make_labels([truth], hour))
    assert sample.shrink()["is_contradicted"].tolist() == [False]


def test_fetch_logs_replaces_what_was_fetched_before(tmp_path: Path) -> None:
    source = tmp_path / "bucket"
    folder = tmp_path / "here" / "logs"
    (source / "champion").mkdir(parents=True)
    for name in ("predictions-1.jsonl", "champion/predictions-2.jsonl"):
        (source / name).write_text(to_json_lines(make_records(3)), encoding="utf-8")
        fetch_logs(str(source), folder)
    assert read_predictions(folder)[1].counts["files"] == 2


def test_fetch_logs_wrong_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        fetch_logs(str(tmp_path / "nowhere"), tmp_path / "logs")
    assert caught.value.tool == "DVC"
    assert "could not be fetched" in caught.value.problem
