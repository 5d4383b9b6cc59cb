"""Watch the deployed model: performance, drift, data quality and traffic against what it was trained on."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import OptionError
from modelyard.core.files import read_json, replace_nonfinite, sha256, write_json
from modelyard.core.params import Params, load_params, parse_duration
from modelyard.core.paths import MODEL_FILE
from modelyard.monitoring import log_reader, performance, quality, report, service, signals
from modelyard.monitoring.windows import ReferenceData, Window, collect_windows, load_reference
from modelyard.statistics import drift

MONITOR_JSON = Path("reports/monitor.json")
IMPORTANCE_JSON = Path("reports/importance.json")
SCRAPE_SECONDS = 10
N_PREDICTION_SIGNALS = 2  # score and class, watched besides the features
# The reasons to train again: a measured loss, and drift that matters to the model.
RETRAIN_TRIGGERS = {
    ("performance", "critical"): "performance",
    ("feature", "warning"): "drift",
    ("prediction", "warning"): "drift",
}


def load_importance_shares(params: Params, model: str) -> dict[str, float]:
    """Return each raw column's share of the model's importance, which is computed once for a model.

    Parameters
    ----------
    params
        The project's parameters.
    model
        The digest of the deployed model; without its file in this folder, the shares are not known.
    """
    from modelyard.report.importance import compute_importance

    if IMPORTANCE_JSON.exists():
        stored = read_json(IMPORTANCE_JSON)
        if stored["model"] == model:
            return dict(stored["shares"])
    if not MODEL_FILE.exists() or sha256(MODEL_FILE) != model:
        return {}
    losses = {name: max(loss, 0.0) for name, loss, _ in compute_importance(params)}
    total = sum(losses.values()) or 1.0
    shares = {name: loss / total for name, loss in losses.items()}
    write_json(IMPORTANCE_JSON, {"model": model, "shares": shares})
    return shares


def compute_signals(params: Params, reference: ReferenceData, windows: Sequence[Window]) -> list[signals.Signal]:
    """Return every signal with its state and, where it is not in order, a sentence."""
    rules = params.monitor
    n_columns = len(reference.features.columns) + N_PREDICTION_SIGNALS
    windows_per_year = signals.YEAR / parse_duration(rules.window)
    chance = drift.compute_alarm_chance(rules.false_alarms / 2, n_columns, windows_per_year, *rules.persist)
    feature_signals = signals.feature_drift(params, reference, windows, chance)
    drifted = [signal for signal in feature_signals if signal.state == "notice"]
    if drifted:
        shares = load_importance_shares(params, reference.model)
        signals.escalate_by_importance(drifted, shares, rules.importance)
    found = [
        *performance.model_performance(params, reference, windows),
        *signals.prediction_drift(params, reference, windows, chance),
        *feature_signals,
    ]
    for signal in found:
        is_finding = signals.SEVERITIES.index(signal.state) >= signals.SEVERITIES.index("notice")
        if is_finding and not signal.sentence:
            signal.sentence = signals.describe(signal, rules)
    return [*found, *quality.data_quality(params, reference, windows), service.traffic_drop(rules, windows)]


def find_retrain_triggers(found: Sequence[signals.Signal]) -> dict[str, str]:
    """Return the reasons to train again ("performance", "drift"), each with the sentence of its first signal."""
    triggers: dict[str, str] = {}
    for signal in found:
        trigger = RETRAIN_TRIGGERS.get((signal.kind, signal.state))
        if trigger:
            triggers.setdefault(trigger, signal.sentence)
    return triggers


def scrape_metrics(source: str) -> str:
    """Return the text of a service's /metrics, from an address or a file.

    Raises
    ------
    OptionError
        Nothing can be read there.
    """
    from urllib.request import urlopen

    try:
        if not source.startswith(("http://", "https://")):
            return Path(source).read_text(encoding="utf-8")
        with urlopen(source, timeout=SCRAPE_SECONDS) as response:
            return str(response.read().decode())
    except (OSError, ValueError) as problem:
        cure = "name the address or the file of the service's /metrics"
        raise OptionError("METRICS", f"{source} cannot be read ({problem})", cure) from None


def monitor_model(params: Params, now: pd.Timestamp, metrics: str = "") -> dict[str, Any]:
    """Judge the whole windows up to now.

    Parameters
    ----------
    params
        The project's parameters.
    now
        The last window ends at this time at the latest.
    metrics
        The address or the file of the service's /metrics; empty for none.

    Returns
    -------
    dict
        The contents of reports/monitor.json.

    Raises
    ------
    EmptyLogError
        No window has a prediction of the model.
    """
    rules = params.monitor
    reference = load_reference(params)
    windows, stats = collect_windows(params, reference, now)
    found = [*compute_signals(params, reference, windows), label_contradictions(stats)]
    if metrics:
        found += service.service_health(rules, scrape_metrics(metrics))
    return {
        "version": 1,
        "model": reference.model,
        "until": (windows[-1].start + parse_duration(rules.window)).isoformat(),
        "windows": [summarize_window(window) for window in windows],
        "signals": [asdict(signal) for signal in found],
        "state": max((signal.state for signal in found), key=signals.SEVERITIES.index),
        "triggers": find_retrain_triggers(found),
        "cooldown": rules.cooldown,
        "logs": summarize_logs(stats),
    }


def label_contradictions(stats: log_reader.ReadStats) -> signals.Signal:
    """Return a notice where labels came with another truth than the first label of their prediction."""
    count = stats.counts["labels contradicted"]
    sentence = f"{count:,} predictions have labels that contradict the first one, which counts"
    return signals.threshold_check("labels", "contradicted labels", [float(count)], 0.0, "notice", sentence)


def summarize_window(window: Window) -> dict[str, Any]:
    """Return a window's start and the numbers of its rows, as reports/monitor.json holds them."""
    return {"start": window.start.isoformat(), "rows": window.rows, "labelled": len(window.labelled)}


def summarize_logs(stats: log_reader.ReadStats) -> dict[str, Any]:
    """Return what was read and what was left out, as reports/monitor.json holds it."""
    counts = {reason: count for reason, count in stats.counts.items() if count}
    return {"counts": counts, "broken": stats.unreadable_files}


def parse_timestamp(until: str | None) -> pd.Timestamp:
    """Return a time in UTC, the present one if none is given.

    Raises
    ------
    OptionError
        The text is not a time.
    """
    error = OptionError("UNTIL", f"{until} is not a time", "write a day, or a moment such as 2026-05-04T06:00")
    try:
        time = pd.Timestamp(until) if until else pd.Timestamp.now("UTC")
    except ValueError:
        raise error from None
    if pd.isna(time):
        raise error
    return time.tz_localize("UTC") if time.tz is None else time.tz_convert("UTC")


def main(until: str | None = None, metrics: str = "", logs_: str = "") -> int:
    """Judge the whole windows up to UNTIL (default: now); fetch LOGS first, and read the service's METRICS."""
    params = load_params()
    now = parse_timestamp(until)
    if logs_:
        log_reader.fetch_logs(logs_, Path(params.monitor.logs))
    found = replace_nonfinite(monitor_model(params, now, metrics))
    write_json(MONITOR_JSON, found)
    report.write_monitor_report(found)
    rows = sum(window["rows"] for window in found["windows"])
    print_result("monitor", f"{found['state']}: {rows:,} predictions → {MONITOR_JSON}")
    for signal in found["signals"]:
        if signal["sentence"]:
            print_line(f"{'':<10}{signal['state']}: {signal['sentence']}")
    return 0
