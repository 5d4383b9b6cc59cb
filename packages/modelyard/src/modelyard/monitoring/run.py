"""Verb: what the service saw and said, against what the model learned from: performance, drift, quality, traffic."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import read_json, replace_nonfinite, sha256, write_json
from modelyard.core.params import Params, load_params, parse_duration
from modelyard.core.paths import MODEL_FILE
from modelyard.monitoring import log_reader, performance, quality, report, service, signals
from modelyard.monitoring.windows import ReferenceData, Window, collect_windows, load_reference
from modelyard.statistics import drift

MONITOR_JSON = Path("reports/monitor.json")
IMPORTANCE_JSON = Path("reports/importance.json")
# What speaks for training again: a measured loss, and drift that the model feels.
RETRAIN_TRIGGERS = {
    ("performance", "critical"): "performance",
    ("feature", "warning"): "drift",
    ("prediction", "warning"): "drift",
}


def load_importance_shares(params: Params, model: str) -> dict[str, float]:
    """Each raw column's share of the model's importance; worked out once for a model."""
    from modelyard.report.importance import compute_importance

    if IMPORTANCE_JSON.exists() and (kept := read_json(IMPORTANCE_JSON))["model"] == model:
        return dict(kept["shares"])
    if not MODEL_FILE.exists() or sha256(MODEL_FILE) != model:
        return {}
    lost = {name: max(value, 0.0) for name, value, _ in compute_importance(params)}
    shares = {name: value / (sum(lost.values()) or 1.0) for name, value in lost.items()}
    write_json(IMPORTANCE_JSON, {"model": model, "shares": shares})
    return shares


def compute_signals(params: Params, ref: ReferenceData, windows: Sequence[Window]) -> list[signals.Signal]:
    """Every signal, weighed and put into words."""
    rules = params.monitor
    columns, year = len(ref.table.columns) + 2, signals.YEAR / parse_duration(rules.window)
    chance = drift.compute_alarm_chance(rules.false_alarms / 2, columns, year, *rules.persist)
    moved = signals.feature_drift(params, ref, windows, chance)
    if drifted := [signal for signal in moved if signal.state == "notice"]:
        signals.escalate_by_importance(drifted, load_importance_shares(params, ref.model), rules.importance)
    said = signals.prediction_drift(params, ref, windows, chance)
    found = [*performance.model_performance(params, ref, windows), *said, *moved]
    for signal in found:
        if signals.SEVERITIES.index(signal.state) > 1:
            signal.sentence = signals.describe(signal, rules)
    return [*found, *quality.data_quality(params, ref, windows), service.traffic_drop(rules, windows)]


def find_retrain_triggers(found: Sequence[signals.Signal]) -> dict[str, str]:
    """What speaks for training again, with the first reason of each kind."""
    fired = [(RETRAIN_TRIGGERS.get((signal.kind, signal.state)), signal.sentence) for signal in found[::-1]]
    return {name: sentence for name, sentence in fired if name}


def explain_empty_windows(params: Params, model: str, tally: log_reader.ReadStats) -> str:
    """Why there is nothing to judge."""
    rules = params.monitor
    if not tally.counts["rows"]:
        return f"{rules.logs}/ has no predictions (predictions-*.jsonl or .parquet); the service writes them"
    if tally.counts["of another model"]:
        return f"{rules.logs}/ has only predictions of other models than {model[:12]}; look at the deployed model's own"
    return f"no prediction in {rules.logs}/ lies in the last {rules.history} whole windows of {rules.window}"


def scrape_metrics(source: str) -> str:
    """A service's /metrics, from an address or a file; else a `UserError`."""
    from urllib.request import urlopen

    try:
        if not source.startswith(("http://", "https://")):
            return Path(source).read_text(encoding="utf-8")
        with urlopen(source, timeout=10) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError) as problem:
        raise UserError(f"{source} gives no metrics ({problem}); METRICS is where /metrics is") from None


def monitor_model(params: Params, now: pd.Timestamp, metrics: str = "") -> dict[str, Any]:
    """Everything that reports/monitor.json holds."""
    rules, ref = params.monitor, load_reference(params)
    windows, tally = collect_windows(params, ref, now)
    if not any(w.rows for w in windows):
        raise UserError(explain_empty_windows(params, ref.model, tally))
    found = compute_signals(params, ref, windows) + (
        service.service_health(rules, scrape_metrics(metrics)) if metrics else []
    )
    return {
        "version": 1,
        "model": ref.model,
        "until": (windows[-1].start + parse_duration(rules.window)).isoformat(),
        "windows": [{"start": w.start.isoformat(), "rows": w.rows, "labelled": len(w.labelled)} for w in windows],
        "signals": [asdict(signal) for signal in found],
        "state": max((signal.state for signal in found), key=signals.SEVERITIES.index),
        "triggers": find_retrain_triggers(found),
        "cooldown": rules.cooldown,
        "logs": {"counts": {key: n for key, n in tally.counts.items() if n}, "broken": tally.broken},
    }


def parse_timestamp(until: str | None) -> pd.Timestamp:
    """A time in UTC, now where none is given; a text that is none is a `UserError`."""
    try:
        found = pd.Timestamp(until) if until else pd.Timestamp.now("UTC")
    except ValueError:
        raise UserError(f"UNTIL={until} is no time; write a day or a moment such as 2026-05-04T06:00") from None
    return found.tz_localize("UTC") if found.tz is None else found.tz_convert("UTC")


def main(until: str | None = None, metrics: str = "", logs_: str = "") -> int:
    """Judge the whole windows up to UNTIL (default: now); LOGS is where logs come from, METRICS the service's own."""
    params, now = load_params(), parse_timestamp(until)
    if logs_:
        log_reader.fetch_logs(logs_, Path(params.monitor.logs))
    found = replace_nonfinite(monitor_model(params, now, metrics))
    write_json(MONITOR_JSON, found)
    report.write_monitor_report(found)
    print_result(
        "monitor", f"{found['state']}: {sum(w['rows'] for w in found['windows']):,} predictions → {MONITOR_JSON}"
    )
    for signal in found["signals"]:
        if signal["sentence"]:
            print_line(f"{'':<10}{signal['state']}: {signal['sentence']}")
    return 0
