from dataclasses import replace

import pytest

from modelyard.core.params import MonitorParams
from modelyard.monitoring.service import service_health, traffic_drop
from tests.library.monitoring.examples import RULES, make_rows, make_window

METRICS = """# HELP requests_total Requests
requests_total{path="/predict",status="200"} 980.0
requests_total{path="/predict",status="500"} 20.0
request_seconds_bucket{le="0.01",path="/predict"} 950.0
request_seconds_bucket{le="0.5",path="/predict"} 995.0
request_seconds_bucket{le="+Inf",path="/predict"} 1000.0
request_seconds_count{path="/predict"} 1000.0
log_lines_lost_total 3.0
"""


@pytest.mark.parametrize(
    ("rows", "state"),
    [((100, 100, 100), "ok"), ((100, 100, 30), "notice"), ((100, 100, 0), "critical"), ((9,), "unjudged")],
)
def test_traffic_drop_by_the_usual_number(rows: tuple[int, ...], state: str) -> None:
    windows = [replace(make_window(make_rows(10)), rows=count) for count in rows]
    assert traffic_drop(RULES, windows).state == state


def test_service_health_of_a_bad_service() -> None:
    found = service_health(MonitorParams(milliseconds=100), METRICS)
    assert [signal.last[0] for signal in found] == [0.02, 500, 3]
    assert [signal.state for signal in found] == ["critical", "warning", "notice"]


def test_service_health_without_requests_is_ok() -> None:
    found = service_health(MonitorParams(milliseconds=100), "")
    assert [signal.state for signal in found] == ["ok", "ok", "ok"]
