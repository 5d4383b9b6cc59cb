import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import asdict, replace

from modelyard.automation import retrain
from modelyard.automation.retrain import RetrainInputs, decide_retrain
from modelyard.core import git_objects, model_at, process
from modelyard.core.errors import SettingError, UserError
from modelyard.core.params import Params, RetrainParams, StartParams, load_params, parse_duration
from modelyard.gate import champion
from modelyard.github.api import ApiError, GitHubClient

NOW = datetime(2024, 6, 3, tzinfo=UTC)
DAY = timedelta(days=1)
PROJECT_PARAMS = Path(__file__).parents[1] / "project/params.yaml"
DRIFT, LOSS = {"drift": "temp moved"}, {"performance": "roc_auc fell"}


def facts(**more: Any) -> RetrainInputs:
    return RetrainInputs(**{"now": NOW, "trained_at": NOW - 30 * DAY, "new_rows": 1000, **more})


@pytest.mark.parametrize(
    ("rules", "found", "trigger"),
    [
        pytest.param({}, {}, "none", id="nothing"),
        pytest.param({}, {"alarms": DRIFT}, "drift", id="drift"),
        pytest.param({}, {"alarms": LOSS}, "performance", id="performance"),
        pytest.param({}, {"alarms": DRIFT | LOSS}, "performance", id="the gravest first"),
        pytest.param({"rows": 900}, {}, "rows", id="rows"),
        pytest.param({"rows": 1100}, {}, "none", id="too few rows"),
        pytest.param({"schedule": "28d"}, {}, "schedule", id="schedule"),
        pytest.param({"schedule": "31d"}, {}, "none", id="not yet"),
        pytest.param({"schedule": "28d"}, {"retrain_times": [NOW - 20 * DAY]}, "none", id="tried since"),
        pytest.param({"schedule": "28d"}, {"trained_at": None}, "none", id="never trained"),
        pytest.param({"drift": False}, {"alarms": DRIFT}, "none", id="drift switched off"),
        pytest.param({"performance": False}, {"alarms": LOSS}, "none", id="performance switched off"),
    ],
)
def test_decide_retrain_by_trigger(rules: dict[str, Any], found: dict[str, Any], trigger: str) -> None:
    decision = decide_retrain(RetrainParams(**rules), facts(**found))
    assert (decision.trigger, decision.should_train) == (trigger, trigger != "none")


@pytest.mark.parametrize("rules", [RetrainParams(), load_params(PROJECT_PARAMS).retrain], ids=["library", "project"])
def test_decide_retrain_cooldown_lets_a_weekly_clock_that_is_early_train(rules: RetrainParams) -> None:
    last = NOW - 7 * DAY + timedelta(minutes=20)
    assert decide_retrain(rules, facts(alarms=LOSS, retrain_times=[last])).should_train
    assert not decide_retrain(rules, facts(alarms=LOSS, retrain_times=[last + 2 * DAY])).should_train


@pytest.mark.parametrize(
    ("rules", "found", "words"),
    [
        pytest.param({"minimum": 2000}, {}, "fewer than retrain.minimum", id="minimum"),
        pytest.param({}, {"retrain_times": [NOW - 3 * DAY]}, "within retrain.cooldown", id="cooldown"),
        pytest.param({"cooldown": "60d"}, {"retrain_times": [NOW - 40 * DAY]}, "retrain.cooldown", id="long cooldown"),
        pytest.param({"budget": 2}, {"retrain_times": [NOW - 10 * DAY, NOW - 20 * DAY]}, "retrain.budget", id="budget"),
        pytest.param({"budget": 2}, {"retrain_times": [NOW - 10 * DAY, NOW - 40 * DAY]}, "", id="long ago"),
    ],
)
def test_decide_retrain_waits(rules: dict[str, Any], found: dict[str, Any], words: str) -> None:
    decision = decide_retrain(RetrainParams(**rules), facts(alarms=DRIFT, **found))
    assert decision.should_train == (not words)
    assert words in decision.reason
    assert "temp moved" in decision.reason


@pytest.mark.parametrize(("text", "length"), [("7d", 7 * DAY), ("12h", DAY / 2), ("0d", 0 * DAY)])
def test_parse_duration(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["7", "a week", "-1d", "7d "])
def test_parse_duration_refuses_other_text(text: str) -> None:
    with pytest.raises(UserError, match="a duration is"):
        parse_duration(text)


@pytest.mark.usefixtures("project")
def test_update_train_params_keeps_comments() -> None:
    before = Path("params.yaml").read_text().splitlines()
    retrain.update_train_params({"window": "90"})
    after = Path("params.yaml").read_text().splitlines()
    assert load_params().train.window == "90"
    assert len([1 for a, b in zip(before, after, strict=True) if a != b]) <= 1


@pytest.mark.usefixtures("project")
def test_build_train_changes_names_only_what_changes(params: Params) -> None:
    assert not retrain.build_train_changes(params, None, None, False)
    assert not retrain.build_train_changes(params, params.train.window, params.train.estimator, False)
    assert retrain.build_train_changes(params, "90", "sklearn.svm.SVC", False) == {
        "window": "90",
        "estimator": "sklearn.svm.SVC",
        "arguments": {},
    }
    started = replace(params, train=replace(params.train, start="abc"))
    assert retrain.build_train_changes(started, None, None, False) == {"start": None}


def test_changes_of_a_stateful_retrain_name_the_champion(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    start = StartParams("head", model="m", rows="r", holdout="h")
    monkeypatch.setattr(process, "run_git", lambda *_: "head")
    monkeypatch.setattr(champion, "find_champion", lambda base, _: model_at.Champion("base", None, base))
    monkeypatch.setattr(retrain, "bring_start_model", lambda commit: start)
    assert retrain.build_train_changes(params, None, None, True) == {"start": asdict(start)}


def test_changes_of_a_stateful_retrain_need_a_champion(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run_git", lambda *_: "head")
    monkeypatch.setattr(champion, "find_champion", lambda *_: model_at.Champion("dummy"))
    with pytest.raises(SettingError, match="no model to go on from") as failure:
        retrain.build_train_changes(params, None, None, True)
    assert failure.value.setting == "retrain.stateful"


@pytest.fixture
def done(project: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The project with many new rows and the default switches; pipeline and gate are noted and not run."""
    called: list[str] = []

    def gate() -> int:
        Path("reports/verdict.json").write_text(json.dumps({"unattended": "open"}))
        called.append("gate")
        return 0

    monkeypatch.setattr(retrain, "run_pipeline", lambda: called.append("pipeline"))
    monkeypatch.setattr("modelyard.gate.verdict.main", gate)
    monkeypatch.setattr(process, "run_git", lambda *_: NOW.isoformat())
    monkeypatch.setattr(retrain, "count_new_rows", lambda: 10_000)
    monkeypatch.setattr(retrain, "load_params", lambda *_: replace(params, retrain=RetrainParams()))
    yield called


def result() -> dict[str, Any]:
    return dict(json.loads(Path("reports/retrain.json").read_text()))


def test_main_by_hand_always_trains(done: list[str]) -> None:
    assert retrain.main(reason="the boss wants it", window="90") == 0
    assert done == ["pipeline", "gate"]
    assert (result()["trigger"], result()["outcome"]) == ("manual", "open")
    assert "the boss wants it" in result()["reason"]
    assert load_params().train.window == "90"


def test_main_with_a_named_trigger_trains(done: list[str]) -> None:
    retrain.main(reason="drift")
    assert done and result()["trigger"] == "drift"


def test_main_auto_without_a_trigger_does_nothing(done: list[str]) -> None:
    retrain.main(reason="auto")
    assert not done
    assert (result()["outcome"], result()["reason"]) == ("nothing", "no trigger fired")


@pytest.mark.parametrize("only", [True, False])
def test_main_auto_follows_monitoring(done: list[str], only: bool) -> None:
    Path("reports/monitor.json").write_text(json.dumps({"triggers": DRIFT}))
    retrain.main(reason="auto", decide_only=only)
    assert done == ([] if only else ["pipeline", "gate"])
    assert result()["outcome"] == ("train" if only else "open")


def test_main_auto_remembers_the_last_retrain(done: list[str]) -> None:
    Path("reports/monitor.json").write_text(json.dumps({"triggers": LOSS}))
    for _ in range(2):
        retrain.main(reason="auto")
    assert done == ["pipeline", "gate"]
    assert "retrain.cooldown" in result()["reason"]


def test_main_restores_params_when_the_pipeline_fails(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise UserError("the pipeline stopped")

    before = Path("params.yaml").read_bytes()
    monkeypatch.setattr(retrain, "run_pipeline", stop)
    with pytest.raises(UserError, match="stopped"):
        retrain.main(window="90")
    assert Path("params.yaml").read_bytes() == before
    assert not done


def test_count_new_rows_since_the_last_run(project: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_objects, "read_yaml_at", lambda *_: json.loads(Path("reports/data.json").read_text()))
    assert retrain.count_new_rows() == 0
    table = pd.read_parquet(params.data.path)
    pd.concat([table, table.head(7)]).to_parquet(params.data.path)
    assert retrain.count_new_rows() == 7
    (project / params.data.path).unlink()
    with pytest.raises(UserError, match="is missing"):
        retrain.count_new_rows()


RUNS = [
    {"created_at": "2024-06-01T00:00:00Z"},
    {"created_at": "2024-05-27T00:00:00Z"},
]


def test_list_retrain_runs_asks_github(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GitHubClient, "from_environment", lambda: GitHubClient("owner/name", "token"))
    monkeypatch.setattr(GitHubClient, "request", lambda *_: {"workflow_runs": RUNS})
    assert retrain.list_retrain_runs() == [NOW - 2 * DAY, NOW - 7 * DAY]


def test_list_retrain_runs_is_empty_where_github_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ApiError(403, "GET", "no")

    monkeypatch.setattr(GitHubClient, "from_environment", lambda: GitHubClient("owner/name", "token"))
    monkeypatch.setattr(GitHubClient, "request", refuse)
    assert retrain.list_retrain_runs() == []
