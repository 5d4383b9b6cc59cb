import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.params import LogParams
from modelyard.serving.prediction_log import LogWriter, Reading
from modelyard.serving.shadow import ShadowMirror
from modelyard.serving.smoke import probe_service
from modelyard.serving.telemetry import ServiceMetrics

MINE = Reading("1", 0, "mine", {"0": 0.9, "1": 0.1})


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


@pytest.fixture
def lost() -> list[int]:
    return []


def open_log(folder: Path, lost: list[int], **rules: Any) -> LogWriter:
    return LogWriter(folder, "predictions", LogParams(**{"seconds": 0.01, **rules}), lost.append)


def test_lines_are_written_in_order_with_their_rows(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path / "logs", lost)
    for number in range(120):
        log.append({"id": str(number), "p_a": 0.5}, {"x": number})
    log.close()
    assert lines(tmp_path / "logs") == [{"id": str(n), "p_a": 0.5, "x": n} for n in range(120)]


def test_a_full_queue_loses_and_counts(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path, lost, seconds=60, queue=3)
    for number in range(5):
        log.append({"id": str(number)})
    log.close()
    assert sum(lost) == 2 and len(lines(tmp_path)) == 3


def test_a_file_ends_at_its_size_and_the_oldest_goes(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path, lost, seconds=60, megabytes=0, files=2)
    for number in range(4):
        log.write(json.dumps({"id": number}).encode() + b"\n")
    log.close()
    assert [line["id"] for line in lines(tmp_path)] == [2, 3]


def test_a_removed_folder_is_made_again(tmp_path: Path, lost: list[int]) -> None:
    log = open_log(tmp_path / "logs", lost, seconds=60)
    log.write(b'{"id": 1}\n')
    next((tmp_path / "logs").iterdir()).unlink()
    (tmp_path / "logs").rmdir()
    log.write(b'{"id": 2}\n')
    log.close()
    assert [line["id"] for line in lines(tmp_path / "logs")] == [2]


def test_what_cannot_be_written_waits(tmp_path: Path, lost: list[int]) -> None:
    (tmp_path / "logs").write_text("no folder")
    log = open_log(tmp_path / "logs", lost)
    log.append({"id": "1"})
    log.stop.wait(0.1)
    (tmp_path / "logs").unlink()
    log.close()
    assert [line["id"] for line in lines(tmp_path / "logs")] == ["1"] and not lost


def test_what_never_can_be_written_is_counted_at_the_end(tmp_path: Path, lost: list[int]) -> None:
    (tmp_path / "logs").write_text("no folder")
    log = open_log(tmp_path / "logs", lost)
    log.append({"id": "1"})
    log.close()
    assert sum(lost) == 1


@pytest.fixture
def other() -> Iterator[dict[str, Any]]:
    """Another service: what it says, with which status, and what it was asked."""
    told: dict[str, Any] = {"status": 200, "answers": [], "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # pylint: disable=invalid-name
            told["asked"].append((self.headers["X-Shadow"], self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps(told["answers"]).encode()
            self.send_response(told["status"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:  # pylint: disable=arguments-differ
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told["address"] = f"127.0.0.1:{server.server_port}"
    yield told
    server.shutdown()
    server.server_close()


def outcome(other: dict[str, Any], folder: Path, address: str | None = None) -> tuple[dict[str, float], list[Any]]:
    """What one mirrored request leads to: counts by outcome, and the lines of the log."""
    counters = ServiceMetrics([0.1, 0.9])
    log = LogWriter(folder, "shadow", LogParams(seconds=0.01), lambda _: None)
    shadow = ShadowMirror(other["address"] if address is None else address, log, counters)
    shadow.send(b"{}", [MINE])
    counted = dict[str, float]()
    for _ in range(100):
        found = [s for metric in counters.shadow.collect() for s in metric.samples if s.name.endswith("_total")]
        counted = {sample.labels["outcome"]: sample.value for sample in found}
        if counted:
            break
        log.stop.wait(0.05)
    log.close()
    return counted, [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


def test_a_shadows_answer_is_compared_and_logged(other: dict[str, Any], tmp_path: Path) -> None:
    other["answers"] = {"id": "2", "prediction": 1, "model": "theirs", "probabilities": {"0": 0.4, "1": 0.6}}
    counted, lines = outcome(other, tmp_path)
    assert counted == {"changed": 1.0} and other["asked"] == [("1", b"{}")]
    told = {key: lines[0][key] for key in ("id", "model", "shadow", "prediction", "shadow_prediction")}
    assert told == {"id": "1", "model": "mine", "shadow": "theirs", "prediction": 0, "shadow_prediction": 1}


def test_a_shadow_that_says_the_same_is_counted(other: dict[str, Any], tmp_path: Path) -> None:
    other["answers"] = [{"id": "2", "prediction": 0, "model": "theirs", "probabilities": {"0": 0.8, "1": 0.2}}]
    assert outcome(other, tmp_path)[0] == {"answered": 1.0}


@pytest.mark.parametrize("status", [200, 422, 500])
def test_a_shadow_that_fails_is_counted(other: dict[str, Any], tmp_path: Path, status: int) -> None:
    other |= {"status": status, "answers": {"error": "no"}}
    assert outcome(other, tmp_path)[0] == {"failed": 1.0}


def test_a_shadow_that_is_not_there_is_counted(other: dict[str, Any], tmp_path: Path) -> None:
    assert outcome(other, tmp_path, "127.0.0.1:9")[0] == {"failed": 1.0}
    assert outcome(other, tmp_path, "")[0] == {"lost": 1.0}


@pytest.mark.usefixtures("project")
def test_a_probe_tells_how_far_and_how_fast(other: dict[str, Any], params: Any) -> None:
    from modelyard.inference.prepare import load_or_build_bundle

    right = load_or_build_bundle(params).answers
    other["answers"] = [{**answer, "model": "m"} for answer in right]
    assert probe_service(other["address"], 0, 0)["difference"] == 0
    found = probe_service(other["address"], 0.2, 2)
    assert found["requests"] > 0 and found["errors"] == 0 and found["p99"] > 0
    other |= {"status": 503, "answers": "busy"}
    assert probe_service(other["address"], 0, 0) == {"difference": None, "said": "busy"}
