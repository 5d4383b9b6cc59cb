import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import UserError
from modelyard.monitoring import log_reader


def rows(count: int = 10, start: int = 0, **more: Any) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=count, freq="h", tz="UTC").astype(str)
    return pd.DataFrame({"id": [f"r{i + start}" for i in range(count)], "time": times, "model": "m", "x": 1.0, **more})


def lines(frame: pd.DataFrame) -> str:
    return "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))


def read(folder: Path) -> tuple[pd.DataFrame, log_reader.ReadStats]:
    tally = log_reader.ReadStats()
    parts = list(log_reader.read_records(folder, "predictions", tally))
    return (pd.concat(parts) if parts else pd.DataFrame()), tally


def test_both_formats_are_read_in_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "predictions-1.jsonl").write_text(lines(rows(3)))
    rows(3, 3).to_parquet(tmp_path / "predictions-2.parquet")
    found, tally = read(tmp_path)
    assert list(found["id"]) == [f"r{i}" for i in range(6)]
    assert tally.counts["files"] == 2


@pytest.mark.parametrize(
    ("text", "good", "broken"),
    [
        pytest.param("", 0, 0, id="empty"),
        pytest.param("\n\n", 0, 0, id="blank lines"),
        pytest.param(lines(rows(3))[:-20], 2, 1, id="half-written"),
        pytest.param("not json\n" + lines(rows(3)), 3, 1, id="nonsense"),
        pytest.param("[1, 2]\n" + lines(rows(3)), 3, 1, id="no objects"),
        pytest.param(lines(rows(3)) + lines(rows(3, 3, y="new")), 6, 0, id="mixed versions"),
        pytest.param(lines(rows(3)) + lines(rows(3, 3).assign(x="text")), 6, 0, id="mixed types"),
        pytest.param("\x00\x00\x00\n" + lines(rows(2)), 2, 1, id="zeros"),
    ],
)
def test_a_file_gives_the_lines_that_hold(tmp_path: Path, text: str, good: int, broken: int) -> None:
    (tmp_path / "predictions-1.jsonl").write_text(text)
    found, tally = read(tmp_path)
    assert len(found) == good
    assert tally.counts["broken lines"] == broken


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    rows().to_parquet(tmp_path / "predictions-1.parquet")
    whole = (tmp_path / "predictions-1.parquet").read_bytes()
    (tmp_path / "predictions-1.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "predictions-2.jsonl").write_text(lines(rows(2)))
    found, tally = read(tmp_path)
    assert len(found) == 2
    assert list(tally.broken) == ["predictions-1.parquet"]


def test_a_folder_that_is_missing_has_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere")[1].counts["files"] == 0


def test_rows_without_id_or_time_are_counted(tmp_path: Path) -> None:
    frame = rows(4).astype(object)
    frame.loc[0, "id"], frame.loc[1, "time"] = None, "yesterday"
    (tmp_path / "predictions-1.jsonl").write_text(lines(frame))
    found, tally = read(tmp_path)
    assert list(found["id"]) == ["r2", "r3"]
    assert tally.counts["without id or time"] == 2


def test_times_of_any_zone_are_utc() -> None:
    found = log_reader.with_id_and_time(rows(1).assign(time="2024-01-01T02:00:00+02:00"), log_reader.ReadStats())
    assert str(found["time"].iloc[0]) == "2024-01-01 00:00:00+00:00"


def filled(frames: list[pd.DataFrame], size: int) -> log_reader.HashSample:
    sample = log_reader.HashSample(size)
    for frame in frames:
        sample.add(log_reader.with_id_and_time(frame, log_reader.ReadStats()))
    return sample


def test_sample_does_not_depend_on_the_order_of_files() -> None:
    parts = [rows(500, 500 * i) for i in range(20)]
    first, second = filled(parts, 200).settle(), filled(parts[::-1], 200).settle()
    assert len(first) == 200
    assert set(first["id"]) == set(second["id"])


def test_sample_holds_an_id_once_and_its_last_row() -> None:
    sample = filled([rows(50, y=1), rows(50, y=2).assign(time="2025-01-01T00:00:00Z")], 100)
    assert list(sample.settle()["y"].unique()) == [2]
    assert sample.repeated == 50


def test_sample_is_fair() -> None:
    frame = rows(20_000)
    drawn = filled([frame], 2000).settle()["id"].str[1:].astype(int)
    assert abs(drawn.mean() - 10_000) < 5 * 20_000 / np.sqrt(12 * 2000)


def test_sample_is_bounded() -> None:
    sample = log_reader.HashSample(100)
    for i in range(50):
        sample.add(log_reader.with_id_and_time(rows(1000, 1000 * i), log_reader.ReadStats()))
        assert sample.held <= 4 * 100 + 1000


def test_fetch_brings_a_folder_and_what_is_new_in_it(tmp_path: Path) -> None:
    source, here = tmp_path / "bucket", tmp_path / "here" / "logs"
    (source / "champion").mkdir(parents=True)
    for name in ("predictions-1.jsonl", "champion/predictions-2.jsonl"):
        (source / name).write_text(lines(rows(3)))
        log_reader.fetch_logs(str(source), here)
    assert read(here)[1].counts["files"] == 2


def test_fetch_from_nowhere_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be fetched"):
        log_reader.fetch_logs(str(tmp_path / "nowhere"), tmp_path / "logs")
