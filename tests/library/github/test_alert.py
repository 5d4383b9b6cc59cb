import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelyard.github import api as github_api
from modelyard.github.alert import Alert, build_webhook_message, load_findings, main, should_notify
from modelyard.github.api import GitHubClient
from modelyard.github.sanitize import InvalidArtifactError

BOT, DAY, MODEL = "github-actions[bot]", 86_400.0, "a" * 64
MARKER = f"<!-- flights: monitor {MODEL[:12]} -->"
DRIFT = {"kind": "feature", "name": "temp", "state": "warning", "sentence": "temp moved"}
LOSS = {"kind": "performance", "name": "roc_auc", "state": "critical", "sentence": "roc_auc is 0.6"}


class Memory(GitHubClient):
    """GitHub's issues as a list."""

    rows: list[dict[str, Any]]

    def request(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        if method == "POST":
            row = {
                "number": len(self.rows) + 1,
                "state": "open",
                "user": {"login": BOT},
                "html_url": "http://x",
                **body,
            }
            self.rows.append(row)
            return row
        if method == "PATCH":
            self.rows[int(path.rpartition("/")[2]) - 1].update(body)
        return self.rows

    def iterate_rows(self, path: str) -> list[dict[str, Any]]:
        return self.rows


class Hook(BaseHTTPRequestHandler):
    """A webhook that keeps what it is sent."""

    def do_POST(self) -> None:  # pylint: disable=invalid-name
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.received, server.status = [], 200  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def api() -> Memory:
    one = Memory("owner/name", "token")
    object.__setattr__(one, "rows", [])
    return one


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_api.time, "sleep", lambda _: None)


def write(folder: Path, *signals: dict[str, str], model: str = MODEL, **more: Any) -> Path:
    (folder / "reports").mkdir(exist_ok=True)
    found = {"version": 1, "model": model, "cooldown": "7d", "signals": list(signals), **more}
    (folder / "reports/monitor.json").write_text(json.dumps(found))
    (folder / "reports/monitor.md").write_text("# Findings\n\nasked by @octocat\n")
    return folder


def alert(
    folder: Path, api: Memory | None, hook: HTTPServer | None = None, day: float = 0, project: str = "flights"
) -> bool:
    address = f"http://127.0.0.1:{hook.server_port}/x" if hook else ""
    return Alert(folder, project, api, address, BOT, 1e9 + day * DAY).send_alert()


def test_alert_opens_one_issue_and_updates_it(tmp_path: Path, api: Memory) -> None:
    alert(write(tmp_path, DRIFT), api)
    alert(write(tmp_path, DRIFT, LOSS), api, day=1)
    assert len(api.rows) == 1
    assert api.rows[0]["title"].endswith("roc_auc is 0.6")
    assert api.rows[0]["body"].startswith(MARKER)


def test_alert_closes_the_issue_when_it_is_over(tmp_path: Path, api: Memory) -> None:
    alert(write(tmp_path, DRIFT), api)
    alert(write(tmp_path), api)
    assert api.rows[0]["state"] == "closed"


def test_alert_reopens_the_same_issue(tmp_path: Path, api: Memory) -> None:
    for signals in ((DRIFT,), (), (DRIFT,)):
        alert(write(tmp_path, *signals), api)
    assert [row["state"] for row in api.rows] == ["open"]


def test_alert_of_another_model_closes_the_earlier_ones(tmp_path: Path, api: Memory) -> None:
    alert(write(tmp_path, DRIFT), api)
    alert(write(tmp_path, DRIFT, model="b" * 64), api)
    assert [row["state"] for row in api.rows] == ["closed", "open"]


def test_alert_leaves_other_peoples_issues_alone(tmp_path: Path, api: Memory) -> None:
    api.rows.append({"number": 1, "state": "open", "user": {"login": "eve"}, "body": MARKER})
    alert(write(tmp_path, DRIFT), api)
    assert len(api.rows) == 2


def test_alert_in_order_opens_nothing(tmp_path: Path, api: Memory) -> None:
    alert(write(tmp_path, {**DRIFT, "state": "notice"}), api)
    assert not api.rows


def test_alert_mentions_nobody(tmp_path: Path, api: Memory) -> None:
    alert(write(tmp_path, {**DRIFT, "sentence": "dest moved to @octocat"}), api)
    assert "@octocat" not in api.rows[0]["body"] + api.rows[0]["title"]


def test_webhook_is_called_once_for_one_finding(tmp_path: Path, api: Memory, hook: HTTPServer) -> None:
    for day in (0, 1, 2):
        alert(write(tmp_path, DRIFT), api, hook, day)
    assert len(hook.received) == 1  # type: ignore[attr-defined]


def test_webhook_is_called_once_for_many_findings_of_long_names(tmp_path: Path, api: Memory, hook: HTTPServer) -> None:
    many = [{**DRIFT, "name": f"温度{i}" * 40} for i in range(30)]
    for day in (0, 1):
        alert(write(tmp_path, *many), api, hook, day)
    assert len(hook.received) == 1  # type: ignore[attr-defined]


def test_webhook_is_called_again_after_the_cooldown(tmp_path: Path, api: Memory, hook: HTTPServer) -> None:
    for day in (0, 8):
        alert(write(tmp_path, DRIFT), api, hook, day)
    assert len(hook.received) == 2  # type: ignore[attr-defined]


def test_webhook_is_called_when_it_gets_worse_and_when_it_is_over(tmp_path: Path, hook: HTTPServer) -> None:
    for signals in ((DRIFT,), (DRIFT, LOSS), ()):
        alert(write(tmp_path, *signals), None, hook)
    assert ["critical" in said["text"] for said in hook.received] == [False, True, False]  # type: ignore[attr-defined]
    assert hook.received[-1]["text"].endswith("in order again")  # type: ignore[attr-defined]


def test_webhook_that_failed_is_called_again_next_time(tmp_path: Path, api: Memory, hook: HTTPServer) -> None:
    hook.status = 404  # type: ignore[attr-defined]
    assert not alert(write(tmp_path, DRIFT), api, hook)
    hook.status = 200  # type: ignore[attr-defined]
    assert alert(write(tmp_path, DRIFT), api, hook)
    assert len(hook.received) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param({}, [DRIFT], True, id="new"),
        pytest.param({"feature temp": "warning"}, [DRIFT], False, id="known"),
        pytest.param({"feature temp": "warning"}, [{**DRIFT, "state": "critical"}], True, id="worse"),
        pytest.param({"feature temp": "critical"}, [DRIFT], False, id="better"),
        pytest.param({"feature temp": "warning"}, [], False, id="over"),
    ],
)
def test_should_notify(before: dict[str, str], now: list[dict[str, str]], expected: bool) -> None:
    assert should_notify(now, {"levels": before, "time": 1e9}, "7d", 1e9 + 1) == expected


def test_message_is_slack_compatible() -> None:
    said = build_webhook_message("flights", MODEL, [{**LOSS, "sentence": "a < b & c"}], "http://x")
    assert said["blocks"][0]["text"]["type"] == "mrkdwn"
    assert "a &lt; b &amp; c" in said["text"]


@pytest.mark.parametrize("change", [{"version": 2}, {"model": "x"}, {"cooldown": "soon"}, {"signals": [1]}], ids=str)
def test_load_refuses_what_monitor_did_not_write(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path)
    path = tmp_path / "reports/monitor.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InvalidArtifactError):
        load_findings(path, model="[0-9a-f]{64}", cooldown="[0-9]+[dh]")


def test_main_without_a_report_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(tmp_path)) == 1
    assert "::error title=No alert::there is no monitor.json" in capsys.readouterr().out


@pytest.mark.parametrize(("outcome", "expected"), [("train", [{"reason": "temp moved"}]), ("nothing", [])])
def test_a_retrain_that_was_decided_is_started(
    tmp_path: Path, api: Memory, outcome: str, expected: list[dict[str, str]]
) -> None:
    write(tmp_path, DRIFT)
    decided = {"version": 1, "outcome": outcome, "reason": "temp  moved"}
    (tmp_path / "reports/retrain.json").write_text(json.dumps(decided))
    assert Alert(tmp_path, "flights", api, "", BOT, 1e9).start_retrain("main")
    assert [row["inputs"] for row in api.rows if row["ref"] == "main"] == expected


def test_two_projects_in_one_repository_have_an_issue_each(tmp_path: Path, api: Memory) -> None:
    alert(write(tmp_path, DRIFT), api)
    alert(write(tmp_path, DRIFT, model="b" * 64), api, project="trains")
    assert [row["state"] for row in api.rows] == ["open", "open"]
    alert(write(tmp_path), api)
    assert [row["state"] for row in api.rows] == ["closed", "open"]
