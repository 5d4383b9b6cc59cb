"""Decides whether to train again, and why; then trains, judges, and says what should follow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core import files, git_objects, paths, process
from modelyard.core.console import print_result
from modelyard.core.errors import SettingError, ToolError, UserError
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
NOT_TRAINED = ("nothing", "train")  # outcomes of a command that decided only
RUNS_PATH = "/actions/workflows/retrain.yml/runs?per_page=100"
BUDGET_PERIOD = timedelta(days=30)
STATELESS_CURE = "set retrain.stateful to false"


class ForgettingError(UserError):
    """A model that went on learning is worse on the holdout of the model that it started from.

    Parameters
    ----------
    summary
        The metric before and after.
    """

    def __init__(self, summary: str) -> None:
        super().__init__(f"the model forgets what it had learned ({summary}); {STATELESS_CURE} and train from nothing")
        self.summary = summary


@dataclass(frozen=True)
class RetrainInputs:
    """The facts that the decision rests on.

    Parameters
    ----------
    now
        The time, with its zone.
    trained_at
        When dvc.lock changed last; None before the first training.
    retrain_times
        When earlier retrainings started.
    new_rows
        How many rows the data has gained since the last training.
    alarms
        What monitoring found, as a sentence for `drift` and `performance`.
    """

    now: datetime
    trained_at: datetime | None = None
    retrain_times: Sequence[datetime] = ()
    new_rows: int = 0
    alarms: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to train, the trigger that asked for it, and the reason as a phrase."""

    should_train: bool
    trigger: str
    reason: str


def find_triggers(rules: RetrainParams, inputs: RetrainInputs) -> list[tuple[str, str]]:
    """Return the triggers that fire, the most serious first, each with its reason."""
    found = []
    for name, is_on in (("performance", rules.performance), ("drift", rules.drift)):
        if is_on and name in inputs.alarms:
            found.append((name, inputs.alarms[name]))
    if rules.rows is not None and inputs.new_rows >= rules.rows:
        found.append(("rows", f"there are {inputs.new_rows:,} new rows (retrain.rows is {rules.rows:,})"))
    if rules.schedule and inputs.trained_at:
        last = max([inputs.trained_at, *inputs.retrain_times])
        age = inputs.now - last
        if age >= parse_duration(rules.schedule):
            found.append(
                ("schedule", f"the last training was {age.days} days ago (retrain.schedule: {rules.schedule})")
            )
    return found


def decide_retrain(rules: RetrainParams, inputs: RetrainInputs) -> RetrainDecision:
    """Decide to train where a trigger fires and nothing blocks it.

    Parameters
    ----------
    rules
        The block `retrain` of params.yaml.
    inputs
        The facts.
    """
    triggers = find_triggers(rules, inputs)
    if not triggers:
        return RetrainDecision(False, "none", "no trigger fired")
    trigger, reason = triggers[0]
    blocked = blocking_reason(rules, inputs)
    if blocked:
        return RetrainDecision(False, trigger, f"{reason}; but {blocked}")
    return RetrainDecision(True, trigger, reason)


def blocking_reason(rules: RetrainParams, inputs: RetrainInputs) -> str | None:
    """Return why a training has to wait; None where it does not."""
    if inputs.new_rows < rules.minimum:
        return f"there are {inputs.new_rows:,} new rows, fewer than retrain.minimum ({rules.minimum:,})"
    if inputs.retrain_times:
        last = max(inputs.retrain_times)
        if inputs.now - last < parse_duration(rules.cooldown):
            return f"the last retrain started {last:%Y-%m-%d %H:%M}, within retrain.cooldown ({rules.cooldown})"
    recent = [moment for moment in inputs.retrain_times if inputs.now - moment < BUDGET_PERIOD]
    if len(recent) >= rules.budget:
        return f"there were {len(recent)} retrains in {BUDGET_PERIOD.days} days, as many as retrain.budget allows"
    return None


def count_new_rows() -> int:
    """Return how many rows the data has gained since the pipeline of HEAD ran."""
    before = git_objects.read_yaml_at("HEAD", paths.DATA_JSON) or {"rows": 0}
    return max(count_rows(open_table(Project.load())) - int(before["rows"]), 0)


def list_retrain_runs() -> list[datetime]:
    """Return when the workflow retrain.yml ran, by GitHub; empty where GitHub cannot be asked."""
    client = GitHubClient.from_environment()
    if not client.token or not client.repository:
        return []
    try:
        runs = client.request("GET", RUNS_PATH)["workflow_runs"]
    except (ApiError, ServiceUnavailableError) as problem:
        print_result("retrain", f"earlier runs are unknown: {problem}")
        return []
    return [datetime.fromisoformat(run["created_at"]) for run in runs]


def gather_inputs(now: datetime) -> RetrainInputs:
    """Return the facts of this folder and of GitHub."""
    alarms = read_json(MONITOR_JSON)["triggers"] if MONITOR_JSON.exists() else {}
    retrain_times = list_retrain_runs()
    if RETRAIN_JSON.exists():
        last = read_json(RETRAIN_JSON)
        if last["outcome"] not in NOT_TRAINED:
            retrain_times.append(datetime.fromisoformat(last["time"]))
    changed = process.run_git("log", "-1", "--format=%cI", "--", str(paths.DVC_LOCK))
    trained_at = datetime.fromisoformat(changed) if changed else None
    return RetrainInputs(now, trained_at, retrain_times, count_new_rows(), alarms)


def update_train_params(changes: dict[str, Any]) -> None:
    """Write values into the block `train` of params.yaml; its comments and order stay."""
    from modelyard.core.yaml_edit import edit_yaml

    with edit_yaml(paths.PARAMS_YAML) as document:
        document["train"].update(changes)
    load_params()


def build_train_changes(params: Params, window: str | None, estimator: str | None, stateful: bool) -> dict[str, Any]:
    """Return what changes in the block `train` of params.yaml.

    Parameters
    ----------
    params
        The present parameters.
    window, estimator
        The wanted values; None keeps the present one.
    stateful
        Whether the champion goes on learning.

    Raises
    ------
    SettingError
        There is no champion to go on from.
    """
    changes: dict[str, Any] = {}
    if window and window != params.train.window:
        changes["window"] = window
    if estimator and estimator != params.train.estimator:
        changes |= {"estimator": estimator, "arguments": {}}
    if stateful:
        found = champion.find_champion(process.run_git("rev-parse", "HEAD"), params.data.target)
        if not found.commit:
            raise SettingError(
                "retrain.stateful", "finds no model to go on from", f"train once first: {STATELESS_CURE}"
            )
        changes["start"] = msgspec.structs.asdict(bring_start_model(found.commit))
    elif params.train.start:
        changes["start"] = None
    return changes


def run_pipeline() -> None:
    """Run the DVC pipeline; raise a `ToolError` where a stage fails."""
    if process.run_dvc("repro", shown=True).returncode:
        raise ToolError("dvc repro", "a stage of the pipeline failed; its messages are above")


def train_and_judge(changes: dict[str, Any]) -> str:
    """Run pipeline and gate with changed parameters; on an error, params.yaml gets its former contents back.

    Returns
    -------
    str
        What the verdict says should follow where nobody watches: `open`, `merge` or the like.
    """
    from modelyard.gate import verdict

    with files.restore_files_on_error(paths.PARAMS_YAML):
        if changes:
            update_train_params(changes)
        run_pipeline()
        verdict.main()
        check_forgetting(load_params())
    return str(read_json(paths.VERDICT_JSON)["unattended"])


def check_forgetting(params: Params) -> None:
    """Raise a `ForgettingError` where a model that went on learning is worse on the earlier holdout, beyond doubt."""
    if not params.train.start:
        return
    from modelyard.automation.forgetting import measure_forgetting

    loss = measure_forgetting(params, params.train.start)
    summary = f"{loss.metric} on the earlier holdout: {loss.champion:.4f} → {loss.candidate:.4f}"
    print_result("retrain", f"{summary} [{loss.low:+.4f}, {loss.high:+.4f}]")
    if loss.high < 0 and loss.difference < -loss.margin:
        raise ForgettingError(summary)


def main(
    reason: str = "manual",
    window: str | None = None,
    estimator: str | None = None,
    stateful: bool = False,
    decide_only: bool = False,
) -> int:
    """Train again and judge; REASON=auto trains only if params.yaml says so, DECIDE_ONLY=1 only prints the decision."""
    params = load_params()
    now = datetime.now(UTC)
    if reason == "auto":
        decision = decide_retrain(params.retrain, gather_inputs(now))
    else:
        trigger = reason if reason in TRIGGER_NAMES else "manual"
        decision = RetrainDecision(True, trigger, f"asked for: {reason}")
    outcome = "train" if decision.should_train else "nothing"
    print_result("retrain", f"{outcome}: {decision.trigger}: {decision.reason}")
    if decision.should_train and not decide_only:
        wanted_window = window or params.retrain.window
        goes_on = stateful or params.retrain.stateful
        outcome = train_and_judge(build_train_changes(params, wanted_window, estimator, goes_on))
        print_result("retrain", f"outcome: {outcome}")
    result = {"version": 1, "time": now.isoformat(), "outcome": outcome}
    files.write_json(RETRAIN_JSON, result | {"trigger": decision.trigger, "reason": decision.reason})
    return 0
