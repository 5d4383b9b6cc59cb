"""Write the monitoring page: what is not in order first, then every signal over the windows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.core.files import atomic_write
from modelyard.report.charts import draw_time_series
from modelyard.report.page import Section, render_html, render_markdown

MONITOR_PAGE = Path("reports/monitor.html")
DECISION_BY_STATE = {"warning": "warn", "critical": "block"}
REPORTED_STATES = ("critical", "warning", "notice")
DRIFT_MEASURES = ("psi", "jensen_shannon", "wasserstein")
ESTIMATE_NOTE = (
    "An estimate supposes that a score means what it meant on the holdout: it cannot see concept drift, a change of "
    "the truth itself."
)
LIMITS_NOTE = (
    "The dashed line is the limit: what random splits of the reference and its own periods of time hardly ever exceed, "
    "and at least the floor in params.yaml."
)
LABELS_NOTE = (
    "How much the scores of labelled rows differ from those of the rows that wait for their label. Above 1 the labels "
    "did not come at random, and the performance of the window is not judged. Contradicted labels is the number of "
    "predictions that were given several truths; the first one counts."
)
SECTION_TEXTS = {  # title, note and unit of each kind of signal
    "labels": ("Labels", LABELS_NOTE, "difference"),
    "prediction": ("Predictions", LIMITS_NOTE, "drift"),
    "feature": ("Features", LIMITS_NOTE, "drift"),
    "quality": ("Data quality", "The share of values that schema.yaml does not allow.", "share"),
    "service": ("Service", "What the service has reported since its start.", ""),
}
MonitorResult = dict[str, Any]


def build_findings_section(found: MonitorResult) -> Section:
    """Show every signal that is not in order, the most severe ones first."""
    rows = [[signal["state"], signal["kind"], signal["name"], signal["sentence"]] for signal in sort_findings(found)]
    return Section("Findings", "" if rows else "None.", ["state", "kind", "what", "why"], rows, collapsed=False)


def sort_findings(found: MonitorResult) -> list[dict[str, Any]]:
    """Return the signals that are not in order, the most severe ones first."""
    reported = [signal for signal in found["signals"] if signal["state"] in REPORTED_STATES]
    return sorted(reported, key=lambda signal: REPORTED_STATES.index(signal["state"]))


def describe_state(found: MonitorResult) -> str:
    """Return the headline: the state and the first of its reasons."""
    reasons = [signal["sentence"] for signal in sort_findings(found) if signal["state"] == found["state"]]
    if not reasons:
        return "In order: the service sees data like those that the model was trained on"
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{found['state'].capitalize()}: {reasons[0]}{more}"


def build_performance_section(found: MonitorResult) -> Section:
    """Show the metric in each window, measured or estimated, and the loss since the holdout."""
    times = [window["start"] for window in found["windows"]]
    rows = []
    charts = []
    for signal in found["signals"]:
        if any(signal["shown"]):
            how = "estimated" if signal["kind"] == "estimate" else "measured"
            rows += build_performance_rows(found["windows"], signal, how)
            title = f"Loss of {signal['name']}, {how}"
            band = compute_loss_band(signal)
            charts.append(
                draw_time_series(title, "loss since the holdout", times, signal["values"], signal["limits"], band)
            )
    header = ["window from", "how", "metric, 95 % interval", "on the holdout", "limit of the loss"]
    return Section("Performance", ESTIMATE_NOTE, header, sorted(rows), charts=charts)


def build_performance_rows(windows: Sequence[dict[str, Any]], signal: dict[str, Any], how: str) -> list[list[Any]]:
    """Return a table row for each window in which the metric is known."""
    shown_how = f"**{how}**" if how == "estimated" else how
    rows = []
    for window, shown, limit in zip(windows, signal["shown"], signal["limits"], strict=True):
        if shown:
            interval = f"{shown[0]:.4f} [{shown[1]:.4f}, {shown[2]:.4f}]"
            rows.append([window["start"][:10], shown_how, interval, signal["base"], limit])
    return rows


def compute_loss_band(signal: dict[str, Any]) -> list[tuple[float, float] | None]:
    """Return the interval of the loss in each window, None where the metric is not known."""
    band: list[tuple[float, float] | None] = []
    for shown, loss in zip(signal["shown"], signal["values"], strict=True):
        if shown:
            half_width = (shown[2] - shown[1]) / 2
            band.append((loss - half_width, loss + half_width))
        else:
            band.append(None)
    return band


def build_signals_section(found: MonitorResult, kind: str) -> Section:
    """Show all signals of a kind: a table, and a chart of each that has more than one value."""
    title, text, unit = SECTION_TEXTS[kind]
    signals = [signal for signal in found["signals"] if signal["kind"] == kind]
    measures = DRIFT_MEASURES if any(signal["sizes"] for signal in signals) else ()
    times = [window["start"] for window in found["windows"]]
    rows = []
    charts = []
    for signal in signals:
        values = signal["values"]
        latest = [get_last_known(values), get_last_known(signal["limits"])]
        sizes = [signal["sizes"].get(measure) for measure in measures]
        rows.append([signal["name"], signal["state"], *latest, *sizes])
        if sum(value is not None for value in values) > 1 and any(values):
            charts.append(draw_time_series(signal["name"], unit, times, values, signal["limits"]))
    return Section(title, text, ["what", "state", "value", "limit", *measures], rows, charts=charts)


def get_last_known(values: Sequence[float | None]) -> float | None:
    """Return the latest value that is known, rounded to three decimals; None where none is."""
    known = [value for value in values if value is not None]
    return round(known[-1], 3) if known else None


def build_traffic_section(found: MonitorResult) -> Section:
    """Show the number of predictions in each window."""
    windows = found["windows"]
    rows = [[window["start"][:16].replace("T", " "), window["rows"], window["labelled"]] for window in windows]
    times = [window["start"] for window in windows]
    chart = draw_time_series("Predictions", "rows per window", times, [window["rows"] for window in windows])
    return Section("Traffic", "", ["window from", "predictions", "labelled, in the sample"], rows, charts=[chart])


def build_logs_section(found: MonitorResult) -> Section:
    """Show what was read, and what could not be."""
    text = f"Model {found['model'][:12]}, until {found['until'][:16]}."
    rows = [[reason, count] for reason, count in found["logs"]["counts"].items()]
    rows += [[f"file not readable to its end: {name}", problem] for name, problem in found["logs"]["broken"].items()]
    return Section("Logs", text, ["what", "number"], rows)


def write_monitor_report(found: MonitorResult) -> None:
    """Write reports/monitor.md and reports/monitor.html from the contents of reports/monitor.json."""
    sections = [
        build_performance_section(found),
        build_signals_section(found, "labels"),
        build_signals_section(found, "prediction"),
        build_signals_section(found, "feature"),
        build_signals_section(found, "quality"),
        build_traffic_section(found),
        build_signals_section(found, "service"),
        build_logs_section(found),
    ]
    shown = [build_findings_section(found), *(section for section in sections if section.rows)]
    decision = DECISION_BY_STATE.get(found["state"], "pass")
    verdict = {"decision": decision, "sentence": describe_state(found), "notes": []}
    pages = {
        MONITOR_PAGE: render_html(verdict, shown),
        MONITOR_PAGE.with_suffix(".md"): render_markdown(verdict, shown),
    }
    for path, text in pages.items():
        with atomic_write(path) as draft:
            draft.write_text(text, encoding="utf-8")
