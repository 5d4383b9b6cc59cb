import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.params import LogParams
from modelyard.serving.prediction_log import LogWriter, PredictionRecord, encode_line


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return all lines of all logs in a folder."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


@pytest.fixture
def lost() -> list[int]:
    """The numbers of lines that were lost."""
    return []


def open_log(folder: Path, lost: list[int], **rules: Any) -> LogWriter:
    """Return a log that is written every 10 ms unless the rules say otherwise."""
    return LogWriter(folder, "predictions", LogParams(**{"seconds": 0.01, **rules}), lost.append)


def test_lines_are_written_in_order_with_their_rows(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path / "logs", lost)
    for number in range(120):
        log.append({"id": str(number), "p_a": 0.5}, {"x": number})
    log.close()
    assert read_lines(tmp_path / "logs") == [{"id": str(n), "p_a": 0.5, "x": n} for n in range(120)]


@pytest.mark.parametrize("parts", [({"id": "a"}, {}), ({}, {"id": "a"}), ({}, {"id": "a"}, {})])
def test_an_empty_part_leaves_a_line_of_json(parts: tuple[dict[str, str], ...]) -> None:
    assert encode_line(parts) == b'{"id":"a"}\n'


def test_a_log_keeps_its_folder_when_the_current_folder_changes(
    tmp_path: Path, lost: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = open_log(Path("logs"), lost, seconds=60)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    log.append({"id": "a"})
    log.close()
    assert len(read_lines(tmp_path / "logs")) == 1


def test_a_full_queue_loses_and_counts(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path, lost, seconds=60, queue=3)
    for number in range(5):
        log.append({"id": str(number)})
    log.close()
    assert sum(lost) == 2 and len(read_lines(tmp_path)) == 3


def test_a_file_ends_at_its_size_and_the_oldest_goes(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path, lost, seconds=60, megabytes=0, files=2)
    for number in range(4):
        log.write(json.dumps({"id": number}).encode() + b"\n")
    log.close()
    assert [line["id"] for line in read_lines(tmp_path)] == [2, 3]


def test_a_queue_is_bounded_in_bytes(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path, lost, seconds=60, megabytes=1)
    for _ in range(10):
        log.append({"text": "x" * 300_000}, size=300_000)
    log.close()
    assert sum(lost) == 7 and len(read_lines(tmp_path)) == 3


def test_a_queue_that_was_written_has_room_again(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path, lost, seconds=60, megabytes=1)
    for _ in range(4):
        log.append({"text": "x" * 900_000}, size=900_000)
        log.write(log.encode_queue())
    log.close()
    assert not lost and len(read_lines(tmp_path)) == 4


@pytest.mark.parametrize("lines", [1, 12], ids=["line by line", "all at once"])
def test_no_file_exceeds_its_size(tmp_path: Path, lost: list[int], lines: int) -> None:
    log = open_log(tmp_path, lost, seconds=60, megabytes=1)
    for number in range(12):
        log.append({"id": number, "text": "x" * 300_000}, size=1)  # which is far too low
        if lines == 1:
            log.write(log.encode_queue())
    log.close()
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 1 << 20
    assert [line["id"] for line in read_lines(tmp_path)] == list(range(12))


def test_with_a_quota_nothing_is_deleted(tmp_path: Path, lost: list[int]) -> None:
    rules = LogParams(seconds=60, megabytes=0, files=2)
    log = LogWriter(tmp_path, "feedback", rules, lost.append, quota=100)
    for number in range(4):
        log.write(json.dumps({"id": number}).encode() + b"\n")
    log.close()
    assert [line["id"] for line in read_lines(tmp_path)] == [0, 1, 2, 3]


def test_has_room_counts_files_and_queue(tmp_path: Path, lost: list[int]) -> None:
    (tmp_path / "feedback-1.jsonl").write_text("x" * 500)  # of an earlier process
    log = LogWriter(tmp_path, "feedback", LogParams(seconds=60), lost.append, quota=1000)
    assert log.has_room(500) and not log.has_room(501)
    log.append({"id": "a"}, size=200)
    assert log.has_room(300) and not log.has_room(301)
    (tmp_path / "feedback-1.jsonl").unlink()
    assert log.has_room(800)
    log.close()


def test_a_removed_folder_is_made_again(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path / "logs", lost, seconds=60)
    log.write(b'{"id": 1}\n')
    next((tmp_path / "logs").iterdir()).unlink()
    (tmp_path / "logs").rmdir()
    log.write(b'{"id": 2}\n')
    log.close()
    assert [line["id"] for line in read_lines(tmp_path / "logs")] == [2]


def test_what_cannot_be_written_waits(tmp_path: Path, lost: list[int]) -> None:
    (tmp_path / "logs").write_text("no folder")
    log = open_log(tmp_path / "logs", lost)
    log.append({"id": "1"})
    log.stop.wait(0.1)
    (tmp_path / "logs").unlink()
    log.close()
    assert [line["id"] for line in read_lines(tmp_path / "logs")] == ["1"] and not lost


def test_what_never_can_be_written_is_counted_at_the_end(tmp_path: Path, lost: list[int]) -> None:
    (tmp_path / "logs").write_text("no folder")
    log = open_log(tmp_path / "logs", lost)
    log.append({"id": "1"})
    log.close()
    assert sum(lost) == 1


def test_score_is_the_probability_of_the_last_class_or_the_number() -> None:
    assert PredictionRecord("1", "a", "model", {"a": 0.9, "b": 0.1}).score == 0.1
    assert PredictionRecord("1", 2.5, "model").score == 2.5
