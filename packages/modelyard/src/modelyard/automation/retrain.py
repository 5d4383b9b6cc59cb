"""Verb: whether to train again and why; then train, judge, and say what should come of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from modelyard.core import files, git_objects, paths, process
from modelyard.core.errors import UserError
from modelyard.core.files import read_json
from modelyard.core.params import Params, Retrain, load_params, span
from modelyard.data.parquet import size
from modelyard.gate import champion
from modelyard.github.api import Api, ApiError, Unavailable

RESULT = Path("reports/retrain.json")
MONITOR = Path("reports/monitor.json")
TRIGGERS = ("manual", "schedule", "rows", "drift", "performance")


@dataclass(frozen=True)
class Facts:
    """What the decision rests on: the time, the last training, retrains, new rows, what monitoring found."""

    now: datetime
    trained: datetime | None = None
    retrains: Sequence[datetime] = ()
    rows: int = 0
    alarms: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """Whether to train, the trigger that asked for it, and the reason in words."""

    go: bool
    trigger: str
    reason: str


def decide(rules: Retrain, facts: Facts) -> Decision:
    """Train when a trigger that is switched on fires, the gravest first, and nothing stands against it."""
    wanted = {"performance": rules.performance, "drift": rules.drift}
    found = [(name, facts.alarms[name]) for name, on in wanted.items() if on and name in facts.alarms]
    if rules.rows is not None and facts.rows >= rules.rows:
        found.append(("rows", f"{facts.rows:,} new rows, {rules.rows:,} were waited for"))
    if rules.schedule and facts.trained:
        last = max([facts.trained, *facts.retrains])
        if facts.now - last >= span(rules.schedule):
            days = (facts.now - last).days
            found.append(("schedule", f"the last training was {days} days ago, {rules.schedule} is the schedule"))
    if not found:
        return Decision(False, "none", "no trigger fired")
    (trigger, reason), wait = found[0], hindrance(rules, facts)
    return Decision(not wait, trigger, f"{reason}; but {wait}" if wait else reason)


def hindrance(rules: Retrain, facts: Facts) -> str | None:
    """Why a training that was asked for has to wait."""
    if facts.rows < rules.minimum:
        return f"there are {facts.rows:,} new rows, fewer than retrain.minimum ({rules.minimum:,})"
    if facts.retrains and facts.now - (last := max(facts.retrains)) < span(rules.cooldown):
        return f"the last retrain started {last:%Y-%m-%d %H:%M}, within retrain.cooldown ({rules.cooldown})"
    if (past := sum(facts.now - moment < timedelta(days=30) for moment in facts.retrains)) >= rules.budget:
        return f"there were {past} retrains in 30 days, as many as retrain.budget allows"
    return None


def new_rows(params: Params) -> int:
    """How many rows the data has gained since the pipeline last ran on this commit."""
    before = (git_objects.at("HEAD", paths.DATA) or {"rows": 0})["rows"]
    return max(size(Path(params.data.path)) - int(before), 0)


def runs() -> list[datetime]:
    """When retrain.yml ran, as GitHub remembers; nothing where it cannot be asked."""
    api = Api.of_environment()
    if not (api.token and api.repository):
        return []
    try:
        found = api.call("GET", "/actions/workflows/retrain.yml/runs?per_page=100")["workflow_runs"]
    except (ApiError, Unavailable) as problem:
        print(f"{'retrain':<10}earlier runs are unknown: {problem}", flush=True)
        return []
    return [datetime.fromisoformat(run["created_at"]) for run in found]


def gather(params: Params, now: datetime) -> Facts:
    """The facts of this folder and of GitHub's memory."""
    alarms, retrains = read_json(MONITOR)["triggers"] if MONITOR.exists() else {}, runs()
    if RESULT.exists() and (last := read_json(RESULT))["outcome"] not in ("nothing", "train"):
        retrains.append(datetime.fromisoformat(last["time"]))
    changed = process.git("log", "-1", "--format=%cI", "--", str(paths.LOCK))
    trained = datetime.fromisoformat(changed) if changed else None
    return Facts(now, trained, retrains, new_rows(params), alarms)


def set_params(changes: dict[str, Any]) -> None:
    """Write values of the block `train` into params.yaml; comments and order stay."""
    from modelyard.core.yaml_edit import edited

    with edited(paths.PARAMS) as document:
        document["train"].update(changes)
    load_params()


def recipe(params: Params, window: str | None, estimator: str | None, stateful: bool) -> dict[str, Any]:
    """What changes in the block `train`: only what was asked for and differs."""
    changes: dict[str, Any] = {}
    if window and window != params.train.window:
        changes["window"] = window
    if estimator and estimator != params.train.estimator:
        changes |= {"estimator": estimator, "arguments": {}}
    if stateful:
        found = champion.find(process.git("rev-parse", "HEAD"), params.data.target)
        if not found.commit:
            raise UserError("there is no model to go on from; train once with retrain.stateful: false")
        changes["start"] = found.commit
    elif params.train.start:
        changes["start"] = None
    return changes


def pipeline() -> None:
    """Run the DVC pipeline; a stage that fails is a `UserError`."""
    if process.dvc("repro", shown=True).returncode:
        raise UserError("the pipeline stopped; its own words are above")


def train(changes: dict[str, Any]) -> str:
    """Run pipeline and gate with these changes, and return the verdict's unattended column."""
    from modelyard.core.files import kept_on_error
    from modelyard.gate import verdict

    with kept_on_error(paths.PARAMS):
        if changes:
            set_params(changes)
        pipeline()
        verdict.main()
        remembers(load_params())
    return str(read_json(paths.VERDICT)["unattended"])


def remembers(params: Params) -> None:
    """A model that went on learning must not be worse on the earlier holdout; else a `UserError`."""
    if not params.train.start:
        return
    from modelyard.automation.forgetting import forgetting
    from modelyard.statistics.comparison import margin_of

    found = forgetting(params, params.train.start)
    margin = margin_of(found.metric, found.champion, params.gate.margin)
    text = f"{found.metric} on the earlier holdout: {found.champion:.4f} → {found.candidate:.4f}"
    print(f"{'retrain':<10}{text} [{found.low:+.4f}, {found.high:+.4f}]", flush=True)
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
    decision = Decision(True, reason if reason in TRIGGERS else "manual", f"asked for: {reason}")
    if reason == "auto":
        decision = decide(params.retrain, gather(params, now))
    outcome = "train" if decision.go else "nothing"
    print(f"{'retrain':<10}{outcome}: {decision.trigger}: {decision.reason}", flush=True)
    if decision.go and not decide_only:
        rows = window or params.retrain.window
        outcome = train(recipe(params, rows, estimator, stateful or params.retrain.stateful))
        print(f"{'retrain':<10}outcome: {outcome}")
    result = {"version": 1, "time": now.isoformat(), "outcome": outcome}
    files.write_json(RESULT, result | {"trigger": decision.trigger, "reason": decision.reason})
    return 0
