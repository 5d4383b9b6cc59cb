"""The monitoring page: what is not in order first, then every signal over the windows."""

from pathlib import Path
from typing import Any

from modelyard.core.files import atomic_write
from modelyard.report import charts
from modelyard.report.page import Section, render_html, render_markdown

MONITOR_PAGE = Path("reports/monitor.html")
DECISION_BY_STATE = {"warning": "warn", "critical": "block"}
REPORTED_STATES = ("critical", "warning", "notice")
DRIFT_MEASURES = ("psi", "jensen_shannon", "wasserstein")
ESTIMATE_NOTE = "An estimate supposes that a score means what it meant on the holdout: it cannot see a changed world."
LIMITS_NOTE = (
    "The dashed line is the limit: what the reference's own random splits, and its own stretches of time, "
    "hardly ever pass, and never less than the floor in params.yaml."
)
SECTION_TEXTS = {  # title and note of each kind of signal
    "prediction": ("Predictions", LIMITS_NOTE),
    "feature": ("Features", LIMITS_NOTE),
    "quality": ("Data quality", "Share of values that schema.yaml does not allow."),
    "service": ("Service", "What the service says of itself since its start."),
}
MonitorResult = dict[str, Any]


def to_points(values: list[float | None]) -> charts.Points:
    """The windows that have a value, counted back from the last one."""
    return [(float(i - len(values) + 1), round(value, 3)) for i, value in enumerate(values) if value is not None]


def build_performance_section(found: MonitorResult) -> Section:
    """The metric in each window, measured where labels have come, else estimated; and the loss since the holdout."""
    rows, charts = [], []
    for signal in (s for s in found["signals"] if s["shown"]):
        how, bars = "**estimated**" if signal["kind"] == "estimate" else "measured", []
        parts = zip(found["windows"], signal["shown"], signal["values"], signal["limits"], strict=True)
        for window, shown, loss, limit in parts:
            if shown:
                start, half = window["start"][:10], (shown[2] - shown[1]) / 2
                interval = f"{shown[0]:.4f} [{shown[1]:.4f}, {shown[2]:.4f}]"
                rows.append([start, how, interval, signal["base"], limit])
                bars.append((start, loss, loss - half, loss + half))
        if bars:
            charts.append(charts.bars(f"loss of {signal['name']}, {how.strip('*')}", bars))
    head = ["window from", "how", "metric, 95 % interval", "on the holdout", "loss that counts"]
    return Section("Performance", ESTIMATE_NOTE, head, sorted(rows), charts=charts)


def build_signals_section(found: MonitorResult, kind: str) -> Section:
    """All signals of a kind: a table, and a line of each that has more than one value."""
    some, (title, text) = [s for s in found["signals"] if s["kind"] == kind], SECTION_TEXTS[kind]
    sizes, rows, charts = DRIFT_MEASURES if any(s["sizes"] for s in some) else (), [], []
    for signal in some:
        values, limits = to_points(signal["values"]), to_points(signal["limits"])
        last = [values[-1][1] if values else None, limits[-1][1] if limits else None]
        rows.append([signal["name"], signal["state"], *last, *(signal["sizes"].get(size) for size in sizes)])
        if len(values) > 1 and any(value for _, value in values):
            series = {"value": values, "limit": limits}
            charts.append(charts.chart(signal["name"], "windows back", "value", series, zero=True))
    return Section(title, text, ["what", "state", "value", "limit", *sizes], rows, charts=charts)


def write_monitor_report(found: MonitorResult) -> None:
    """Write reports/monitor.md and reports/monitor.html: what a person should look at first, the gravest before all."""
    ordered = [s for state in REPORTED_STATES for s in found["signals"] if s["state"] == state]
    rows = [[s["state"], s["kind"], s["name"], s["sentence"]] for s in ordered]
    worst = [s["sentence"] for s in ordered if s["state"] == found["state"]]
    headline = "In order: what the service sees is like what the model learned from"
    if worst:
        more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
        headline = f"{found['state'].capitalize()}: {worst[0]}{more}"
    series = {"rows": to_points([float(w["rows"]) for w in found["windows"]])}
    chart = charts.chart("predictions", "windows back", "rows", series, zero=True)
    traffic = [[w["start"][:16].replace("T", " "), w["rows"], w["labelled"]] for w in found["windows"]]
    read = [*found["logs"]["counts"].items()]
    read += [(f"file that ends in the middle: {name}", why) for name, why in found["logs"]["broken"].items()]
    about = f"Model {found['model'][:12]}, until {found['until'][:16]}."
    parts = [
        Section("Findings", "" if rows else "None.", ["state", "kind", "what", "why"], rows, False),
        build_performance_section(found),
        *(build_signals_section(found, kind) for kind in ("prediction", "feature", "quality")),
        Section("Traffic", "", ["window from", "predictions", "labelled, in the sample"], traffic, charts=[chart]),
        build_signals_section(found, "service"),
        Section("Logs", about, ["what", "number"], read),
    ]
    said = {"decision": DECISION_BY_STATE.get(found["state"], "pass"), "sentence": headline, "notes": []}
    parts = [part for part in parts if part.rows or part.title == "Findings"]
    for path, text in (
        (MONITOR_PAGE, render_html(said, parts)),
        (MONITOR_PAGE.with_suffix(".md"), render_markdown(said, parts)),
    ):
        with atomic_write(path) as draft:
            draft.write_text(text, encoding="utf-8")
