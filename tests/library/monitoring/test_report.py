from typing import Any

import pytest

from modelyard.monitoring import report
from modelyard.monitoring.report import MONITOR_PAGE, build_performance_section, build_signals_section

WINDOWS = [
    {"start": "2024-05-27T00:00:00+00:00", "rows": 200, "labelled": 100},
    {"start": "2024-06-03T00:00:00+00:00", "rows": 300, "labelled": 0},
]


def make_signal(kind: str, name: str, values: list[float | None], **more: Any) -> dict[str, Any]:
    base = {"state": "ok", "sentence": "", "sizes": {}, "shown": [], "base": None, "limits": [0.1] * len(values)}
    return {"kind": kind, "name": name, "values": values, **base, **more}


def make_result(*signals: dict[str, Any], state: str = "ok") -> dict[str, Any]:
    return {
        "model": "a" * 64,
        "until": "2024-06-10T00:00:00+00:00",
        "windows": WINDOWS,
        "signals": list(signals),
        "state": state,
        "logs": {"counts": {"rows": 500}, "broken": {}},
    }


LOSS = make_signal("performance", "roc_auc", [0.02, None], shown=[[0.68, 0.66, 0.70], None], base=0.7)


def test_build_performance_section_one_row_for_each_known_window() -> None:
    section = build_performance_section(make_result(LOSS))
    assert section.rows == [["2024-05-27", "measured", "0.6800 [0.6600, 0.7000]", 0.7, 0.1]]
    assert len(section.charts) == 1


def test_build_performance_section_estimate_is_marked() -> None:
    section = build_performance_section(make_result(LOSS | {"kind": "estimate"}))
    assert section.rows[0][1] == "**estimated**"


def test_compute_loss_band_is_as_wide_as_the_metrics_interval() -> None:
    band = report.compute_loss_band(LOSS)
    assert band[0] == pytest.approx((0.0, 0.04))
    assert band[1] is None


def test_build_signals_section_shows_the_latest_known_value() -> None:
    signal = make_signal("feature", "x", [0.2, None], sizes={"psi": 0.2})
    section = build_signals_section(make_result(signal), "feature")
    assert list(section.rows[0]) == ["x", "ok", 0.2, 0.1, 0.2, None, None]


@pytest.mark.parametrize(("values", "charts"), [([0.1, 0.2], 1), ([0.1, None], 0), ([0.0, 0.0], 0)])
def test_build_signals_section_chart_needs_values(values: list[float | None], charts: int) -> None:
    section = build_signals_section(make_result(make_signal("feature", "x", values)), "feature")
    assert len(section.charts) == charts


def test_describe_state_names_the_first_reason() -> None:
    signals = [make_signal("feature", name, [], state="warning", sentence=f"{name} drifted") for name in "xyz"]
    assert report.describe_state(make_result(*signals, state="warning")) == "Warning: x drifted (and 2 more)"


def test_describe_state_without_reason_is_in_order() -> None:
    assert report.describe_state(make_result()).startswith("In order: ")


def test_build_findings_section_most_severe_first() -> None:
    signals = [make_signal("feature", state, [], state=state) for state in ("notice", "ok", "critical", "warning")]
    rows = report.build_findings_section(make_result(*signals)).rows
    assert [row[0] for row in rows] == ["critical", "warning", "notice"]


def test_write_monitor_report_shows_only_sections_with_rows() -> None:
    report.write_monitor_report(make_result(LOSS))
    text = MONITOR_PAGE.with_suffix(".md").read_text(encoding="utf-8")
    assert "### Findings" in text and "Performance" in text and "Traffic" in text
    assert "Data quality" not in text


def test_write_monitor_report_has_dates_on_its_axes() -> None:
    report.write_monitor_report(make_result(LOSS))
    assert ">2024-06-03</text>" in MONITOR_PAGE.read_text(encoding="utf-8")
