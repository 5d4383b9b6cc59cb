"""Verb: what the service saw and said, against what the model learned from: performance, drift, quality, traffic."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.files import finite, read_json, sha256, write_json
from modelyard.core.params import Params, load_params, span
from modelyard.core.paths import MODEL
from modelyard.monitoring import log_reader, performance, quality, report, service, signals
from modelyard.monitoring.windows import Reference, Window, collect, reference
from modelyard.statistics import drift

MONITOR = Path("reports/monitor.json")
IMPORTANCE = Path("reports/importance.json")
# What speaks for training again: a measured loss, and drift that the model feels.
TRIGGERS = {
    ("performance", "critical"): "performance",
    ("feature", "warning"): "drift",
    ("prediction", "warning"): "drift",
}


def importances(params: Params, model: str) -> dict[str, float]:
    """Each raw column's share of the model's importance; worked out once for a model."""
    from modelyard.report.importance import importance

    if IMPORTANCE.exists() and (kept := read_json(IMPORTANCE))["model"] == model:
        return dict(kept["shares"])
    if not MODEL.exists() or sha256(MODEL) != model:
        return {}
    lost = {name: max(value, 0.0) for name, value, _ in importance(params)}
    shares = {name: value / (sum(lost.values()) or 1.0) for name, value in lost.items()}
    write_json(IMPORTANCE, {"model": model, "shares": shares})
    return shares


def judge(params: Params, ref: Reference, windows: Sequence[Window]) -> list[signals.Signal]:
    """Every signal, weighed and put into words."""
    rules = params.monitor
    columns, year = len(ref.table.columns) + 2, signals.YEAR / span(rules.window)
    chance = drift.chance(rules.false_alarms / 2, columns, year, *rules.persist)
    moved = signals.of_features(params, ref, windows, chance)
    if drifted := [signal for signal in moved if signal.state == "notice"]:
        signals.weigh(drifted, importances(params, ref.model), rules.importance)
    said = signals.of_predictions(params, ref, windows, chance)
    found = [*performance.of_performance(params, ref, windows), *said, *moved]
    for signal in found:
        if signals.LEVELS.index(signal.state) > 1:
            signal.sentence = signals.say(signal, rules)
    return [*found, *quality.of_quality(params, ref, windows), service.of_traffic(rules, windows)]


def triggers(found: Sequence[signals.Signal]) -> dict[str, str]:
    """What speaks for training again, with the first reason of each kind."""
    fired = [(TRIGGERS.get((signal.kind, signal.state)), signal.sentence) for signal in found[::-1]]
    return {name: sentence for name, sentence in fired if name}


def nothing(params: Params, model: str, tally: log_reader.Tally) -> str:
    """Why there is nothing to judge."""
    rules = params.monitor
    if not tally.counts["rows"]:
        return f"{rules.logs}/ has no predictions (predictions-*.jsonl or .parquet); the service writes them"
    if tally.counts["of another model"]:
        return f"{rules.logs}/ has only predictions of other models than {model[:12]}; look at the deployed model's own"
    return f"no prediction in {rules.logs}/ lies in the last {rules.history} whole windows of {rules.window}"


def scrape(source: str) -> str:
    """A service's /metrics, from an address or a file; else a `UserError`."""
    from urllib.request import urlopen

    try:
        if not source.startswith(("http://", "https://")):
            return Path(source).read_text(encoding="utf-8")
        with urlopen(source, timeout=10) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError) as problem:
        raise UserError(f"{source} gives no metrics ({problem}); METRICS is where /metrics is") from None


def watch(params: Params, now: pd.Timestamp, metrics: str = "") -> dict[str, Any]:
    """Everything that reports/monitor.json holds."""
    rules, ref = params.monitor, reference(params)
    windows, tally = collect(params, ref, now)
    if not any(w.rows for w in windows):
        raise UserError(nothing(params, ref.model, tally))
    found = judge(params, ref, windows) + (service.of_service(rules, scrape(metrics)) if metrics else [])
    return {
        "version": 1,
        "model": ref.model,
        "until": (windows[-1].start + span(rules.window)).isoformat(),
        "windows": [{"start": w.start.isoformat(), "rows": w.rows, "labelled": len(w.labelled)} for w in windows],
        "signals": [asdict(signal) for signal in found],
        "state": max((signal.state for signal in found), key=signals.LEVELS.index),
        "triggers": triggers(found),
        "cooldown": rules.cooldown,
        "logs": {"counts": {key: n for key, n in tally.counts.items() if n}, "broken": tally.broken},
    }


def moment(until: str | None) -> pd.Timestamp:
    """A time in UTC, now where none is given; a text that is none is a `UserError`."""
    try:
        found = pd.Timestamp(until) if until else pd.Timestamp.now("UTC")
    except ValueError:
        raise UserError(f"UNTIL={until} is no time; write a day or a moment such as 2026-05-04T06:00") from None
    return found.tz_localize("UTC") if found.tz is None else found.tz_convert("UTC")


def main(until: str | None = None, metrics: str = "", logs_: str = "") -> int:
    """Judge the whole windows up to UNTIL (default: now); LOGS is where logs come from, METRICS the service's own."""
    params, now = load_params(), moment(until)
    if logs_:
        log_reader.fetch(logs_, Path(params.monitor.logs))
    found = finite(watch(params, now, metrics))
    write_json(MONITOR, found)
    report.write(found)
    print(f"{'monitor':<10}{found['state']}: {sum(w['rows'] for w in found['windows']):,} predictions → {MONITOR}")
    for signal in found["signals"]:
        if signal["sentence"]:
            print(f"{'':<10}{signal['state']}: {signal['sentence']}")
    return 0
