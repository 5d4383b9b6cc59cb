"""Verb: whether to train again and why; then train, judge, and say what should come of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core import files, git_objects, paths, process
from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.files import read_json
from modelyard.core.params import Params, RetrainParams, load_params, parse_duration
from modelyard.core.project import Project
from modelyard.core.start_model import bring_start_model
from modelyard.data.parquet import count_rows
from modelyard.data.source import open_table
from modelyard.gate import champion
from modelyard.github.api import ApiError, GitHubClient, ServiceUnavailableError

RETRAIN_JSON = Path("reports/retrain.json")
MONITOR_JSON = Path("reports/monitor.json")
TRIGGER_NAMES = ("manual", "schedule", "rows", "drift", "performance")


@dataclass(frozen=True)
class RetrainInputs:
    """What the decision rests on: the time, the last training, retrains, new rows, what monitoring found."""

    now: datetime
    trained: datetime | None = None
    retrains: Sequence[datetime] = ()
    rows: int = 0
    alarms: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to train, the trigger that asked for it, and the reason in words."""

    should_train: bool
    trigger: str
    reason: str


def decide_retrain(rules: RetrainParams, facts: RetrainInputs) -> RetrainDecision:
    """Train when a trigger that is switched on fires, the gravest first, and nothing stands against it."""
    wanted = {"performance": rules.performance, "drift": rules.drift}
    found = [(name, facts.alarms[name]) for name, on in wanted.items() if on and name in facts.alarms]
    if rules.rows is not None and facts.rows >= rules.rows:
        found.append(("rows", f"{facts.rows:,} new rows, {rules.rows:,} were waited for"))
    if rules.schedule and facts.trained:
        last = max([facts.trained, *facts.retrains])
        if facts.now - last >= parse_duration(rules.schedule):
            days = (facts.now - last).days
            found.append(("schedule", f"the last training was {days} days ago, {rules.schedule} is the schedule"))
    if not found:
        return RetrainDecision(False, "none", "no trigger fired")
    (trigger, reason), wait = found[0], blocking_reason(rules, facts)
    return RetrainDecision(not wait, trigger, f"{reason}; but {wait}" if wait else reason)


def blocking_reason(rules: RetrainParams, facts: RetrainInputs) -> str | None:
    """Why a training that was asked for has to wait."""
    if facts.rows < rules.minimum:
        return f"there are {facts.rows:,} new rows, fewer than retrain.minimum ({rules.minimum:,})"
    if facts.retrains and facts.now - (last := max(facts.retrains)) < parse_duration(rules.cooldown):
        return f"the last retrain started {last:%Y-%m-%d %H:%M}, within retrain.cooldown ({rules.cooldown})"
    if (past := sum(facts.now - moment < timedelta(days=30) for moment in facts.retrains)) >= rules.budget:
        return f"there were {past} retrains in 30 days, as many as retrain.budget allows"
    return None


def count_new_rows(params: Params) -> int:
    """How many rows the data has gained since the pipeline last ran on this commit."""
    before = (git_objects.read_yaml_at("HEAD", paths.DATA_JSON) or {"rows": 0})["rows"]
    return max(count_rows(open_table(Project.load())) - int(before), 0)


def list_retrain_runs() -> list[datetime]:
    """When retrain.yml ran, as GitHub remembers; nothing where it cannot be asked."""
    api = GitHubClient.from_environment()
    if not (api.token and api.repository):
        return []
    try:
        found = api.request("GET", "/actions/workflows/retrain.yml/runs?per_page=100")["workflow_runs"]
    except (ApiError, ServiceUnavailableError) as problem:
        print_result("retrain", f"earlier runs are unknown: {problem}")
        return []
    return [datetime.fromisoformat(run["created_at"]) for run in found]


def gather_inputs(params: Params, now: datetime) -> RetrainInputs:
    """The facts of this folder and of GitHub's memory."""
    alarms, retrains = read_json(MONITOR_JSON)["triggers"] if MONITOR_JSON.exists() else {}, list_retrain_runs()
    if RETRAIN_JSON.exists() and (last := read_json(RETRAIN_JSON))["outcome"] not in ("nothing", "train"):
        retrains.append(datetime.fromisoformat(last["time"]))
    changed = process.run_git("log", "-1", "--format=%cI", "--", str(paths.DVC_LOCK))
    trained = datetime.fromisoformat(changed) if changed else None
    return RetrainInputs(now, trained, retrains, count_new_rows(params), alarms)


def update_train_params(changes: dict[str, Any]) -> None:
    """Write values of the block `train` into params.yaml; comments and order stay."""
    from modelyard.core.yaml_edit import edit_yaml

    with edit_yaml(paths.PARAMS_YAML) as document:
        document["train"].update(changes)
    load_params()


def build_train_changes(params: Params, window: str | None, estimator: str | None, stateful: bool) -> dict[str, Any]:
    """What changes in the block `train`: only what was asked for and differs."""
    changes: dict[str, Any] = {}
    if window and window != params.train.window:
        changes["window"] = window
    if estimator and estimator != params.train.estimator:
        changes |= {"estimator": estimator, "arguments": {}}
    if stateful:
        found = champion.find_champion(process.run_git("rev-parse", "HEAD"), params.data.target)
        if not found.commit:
            raise UserError("there is no model to go on from; train once with retrain.stateful: false")
        changes["start"] = msgspec.structs.asdict(bring_start_model(found.commit))
    elif params.train.start:
        changes["start"] = None
    return changes


def run_pipeline() -> None:
    """Run the DVC pipeline; a stage that fails is a `UserError`."""
    if process.run_dvc("repro", shown=True).returncode:
        raise UserError("the pipeline stopped; its own words are above")


def train_and_judge(changes: dict[str, Any]) -> str:
    """Run pipeline and gate with these changes, and return the verdict's unattended column."""
    from modelyard.core.files import restore_files_on_error
    from modelyard.gate import verdict

    with restore_files_on_error(paths.PARAMS_YAML):
        if changes:
            update_train_params(changes)
        run_pipeline()
        verdict.main()
        check_forgetting(load_params())
    return str(read_json(paths.VERDICT_JSON)["unattended"])


def check_forgetting(params: Params) -> None:
    """A model that went on learning must not be worse on the earlier holdout; else a `UserError`."""
    if not params.train.start:
        return
    from modelyard.automation.forgetting import measure_forgetting
    from modelyard.statistics.comparison import compute_margin

    found = measure_forgetting(params, params.train.start)
    margin = compute_margin(found.metric, found.champion, params.gate.margin)
    text = f"{found.metric} on the earlier holdout: {found.champion:.4f} → {found.candidate:.4f}"
    print_result("retrain", f"{text} [{found.low:+.4f}, {found.high:+.4f}]")
    if found.high < 0 and found.difference < -margin:
        raise UserError(f"the model forgets what it knew ({text}); train anew, with retrain.stateful: false")


def main(
    reason: str = "manual",
    window: str | None = None,
    estimator: str | None = None,
    stateful: bool = False,
    decide_only: bool = False,
) -> int:
    """Train again and judge. REASON=auto asks the switches in params.yaml first; DECIDE_ONLY=1 only says."""
    params, now = load_params(), datetime.now(UTC)
    decision = RetrainDecision(True, reason if reason in TRIGGER_NAMES else "manual", f"asked for: {reason}")
    if reason == "auto":
        decision = decide_retrain(params.retrain, gather_inputs(params, now))
    outcome = "train" if decision.should_train else "nothing"
    print_result("retrain", f"{outcome}: {decision.trigger}: {decision.reason}")
    if decision.should_train and not decide_only:
        rows = window or params.retrain.window
        outcome = train_and_judge(build_train_changes(params, rows, estimator, stateful or params.retrain.stateful))
        print_result("retrain", f"outcome: {outcome}")
    result = {"version": 1, "time": now.isoformat(), "outcome": outcome}
    files.write_json(RETRAIN_JSON, result | {"trigger": decision.trigger, "reason": decision.reason})
    return 0
