import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import OptionError
from modelyard.core.params import Params
from modelyard.core.paths import MODEL_FILE
from modelyard.monitoring import run
from modelyard.monitoring.log_reader import EmptyLogError
from modelyard.monitoring.report import MONITOR_PAGE
from modelyard.monitoring.run import IMPORTANCE_JSON, MONITOR_JSON
from modelyard.monitoring.signals import Signal
from modelyard.monitoring.windows import load_reference
from tests.library.monitoring.examples import MONDAY, write_logs


def monitor(params: Params) -> dict[str, Any]:
    """Write logs, judge them, and return what was found."""
    write_logs(params)
    assert run.main(until="2024-06-03") == 0
    found: dict[str, Any] = json.loads(MONITOR_JSON.read_text(encoding="utf-8"))
    return found


@pytest.mark.usefixtures("local")
def test_main_writes_what_was_found(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    found = monitor(params)
    assert [window["rows"] for window in found["windows"][-3:]] == [250, 250, 250]
    assert {signal["kind"] for signal in found["signals"]} >= {"feature", "prediction", "quality", "traffic"}
    assert "750 predictions" in capsys.readouterr().out


@pytest.mark.usefixtures("local")
def test_main_writes_one_page_and_markdown(params: Params) -> None:
    monitor(params)
    page = MONITOR_PAGE.read_text(encoding="utf-8")
    assert "<svg" in page and "http://" not in page and "https://" not in page
    assert MONITOR_PAGE.with_suffix(".md").read_text(encoding="utf-8").startswith("## ")


@pytest.mark.usefixtures("local")
def test_main_reads_repeated_and_half_written_logs(params: Params) -> None:
    write_logs(params)
    whole = Path("logs/predictions-2.jsonl").read_text(encoding="utf-8")
    Path("logs/predictions-3.jsonl").write_text(whole[:-40], encoding="utf-8")
    Path("logs/predictions-4.parquet").write_bytes(b"PAR1")
    run.main(until="2024-06-03")
    logs = json.loads(MONITOR_JSON.read_text(encoding="utf-8"))["logs"]
    assert (logs["counts"]["broken lines"], logs["counts"]["repeated, in the samples"]) == (1, 249)
    assert list(logs["broken"]) == ["predictions-4.parquet"]


def add_labels_with_another_truth(time: str, count: int = 40) -> None:
    """Write a second label of some predictions, which says the contrary of the first."""
    lines = Path("logs/feedback-0.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    records = [json.loads(line) for line in lines]
    forged = [json.dumps(record | {"truth": 1 - int(record["truth"]), "time": time}) + "\n" for record in records]
    Path("logs/feedback-9.jsonl").write_text("".join(forged), encoding="utf-8")


@pytest.mark.usefixtures("local")
def test_main_first_truth_wins_and_contradictions_are_shown(params: Params) -> None:
    before = monitor(params)
    add_labels_with_another_truth("2024-06-02T23:59:59Z")
    run.main(until="2024-06-03")
    found = json.loads(MONITOR_JSON.read_text(encoding="utf-8"))
    assert found["windows"] == before["windows"]
    of_labels = [signal["name"] for signal in found["signals"] if signal not in before["signals"]]
    assert of_labels == ["contradicted labels"]
    assert found["logs"]["counts"]["labels contradicted"] == 40
    sentence = "40 predictions have labels that contradict the first one"
    assert sentence in MONITOR_PAGE.read_text(encoding="utf-8")


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    ("logs", "problem"),
    [
        pytest.param(None, "has no predictions", id="no logs"),
        pytest.param({"model": "f" * 64}, "has only predictions of other models", id="another model"),
        pytest.param({}, "has no prediction in the last", id="too old"),
    ],
)
def test_main_nothing_to_judge_is_refused(params: Params, logs: dict[str, Any] | None, problem: str) -> None:
    if logs is not None:
        write_logs(params, **logs)
    with pytest.raises(EmptyLogError) as caught:
        run.main(until="2026-01-01")
    assert caught.value.problem.startswith(problem)
    assert not MONITOR_JSON.exists()


@pytest.mark.usefixtures("local")
def test_main_with_metrics_watches_the_service(params: Params) -> None:
    write_logs(params)
    Path("metrics").write_text("log_lines_lost_total 3.0\n", encoding="utf-8")
    run.main(until="2024-06-03", metrics="metrics")
    signals = json.loads(MONITOR_JSON.read_text(encoding="utf-8"))["signals"]
    assert [signal["name"] for signal in signals if signal["kind"] == "service"][-1] == "lost log lines"


@pytest.mark.parametrize("source", ["nowhere", "http://127.0.0.1:9/metrics", Path("/dev/null").as_uri()])
def test_scrape_metrics_unreadable_is_refused(source: str) -> None:
    with pytest.raises(OptionError) as caught:
        run.scrape_metrics(source)
    assert caught.value.option == "METRICS"


def test_scrape_metrics_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("text", encoding="utf-8")
    assert run.scrape_metrics(str(tmp_path / "metrics")) == "text"


@pytest.mark.usefixtures("local")
def test_load_importance_shares_is_computed_once(params: Params) -> None:
    model = load_reference(params).model
    shares = run.load_importance_shares(params, model)
    assert sum(shares.values()) == pytest.approx(1) or not any(shares.values())
    MODEL_FILE.unlink()
    assert run.load_importance_shares(params, model) == shares


@pytest.mark.usefixtures("local")
def test_load_importance_shares_of_another_model_is_empty(params: Params) -> None:
    assert run.load_importance_shares(params, "f" * 64) == {}
    assert not IMPORTANCE_JSON.exists()


def test_find_retrain_triggers_first_reason_counts() -> None:
    found = [
        Signal("feature", "x", [], [], "warning", "x drifted"),
        Signal("feature", "y", [], [], "warning", "y drifted"),
        Signal("feature", "z", [], [], "notice", "z drifted"),
    ]
    assert run.find_retrain_triggers(found) == {"drift": "x drifted"}


@pytest.mark.parametrize("until", ["soon", "NaT"])
def test_parse_timestamp_no_time_is_refused(until: str) -> None:
    with pytest.raises(OptionError) as caught:
        run.parse_timestamp(until)
    assert caught.value.option == "UNTIL"


@pytest.mark.parametrize("until", ["2024-06-03", "2024-06-03T05:45+05:45"])
def test_parse_timestamp_is_utc(until: str) -> None:
    assert run.parse_timestamp(until) == MONDAY
