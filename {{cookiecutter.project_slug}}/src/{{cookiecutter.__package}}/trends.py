"""The monitoring page: what is not in order first, then every signal over the windows."""

from pathlib import Path
from typing import Any

from . import svg
from .config import atomic
from .report import Section, html, markdown

PAGE = Path("reports/monitor.html")
DECISIONS = {"warning": "warn", "critical": "block"}
GRAVE = ("critical", "warning", "notice")
SIZES = ("psi", "jensen_shannon", "wasserstein")
ESTIMATE = "An estimate supposes that a score means what it meant on the holdout: it cannot see a changed world."
LIMITS = (
    "The dashed line is the limit: what the reference's own random splits, and its own stretches of time, "
    "hardly ever pass, and never less than the floor in params.yaml."
)
Found = dict[str, Any]


def headline(found: Found) -> str:
    """The state in words."""
    worst = [s["sentence"] for s in found["signals"] if s["state"] == found["state"]]
    if found["state"] not in GRAVE:
        return "In order: what the service sees is like what the model learned from"
    return f"{found['state'].capitalize()}: {worst[0]}" + (f" (and {len(worst) - 1} more)" if len(worst) > 1 else "")


def points(values: list[float | None]) -> list[tuple[float, float]]:
    """The windows that have a value, counted back from the last one."""
    return [(float(i - len(values) + 1), round(value, 3)) for i, value in enumerate(values) if value is not None]


def line(signal: Found) -> str:
    """A signal's values over the windows, and its limits."""
    series: dict[str, svg.Points] = {"value": points(signal["values"]), "limit": points(signal["limits"])}
    return svg.chart(signal["name"], "windows back", signal["kind"], series)


def losses(found: Found, signal: Found) -> str:
    """The loss in each window, with its interval."""
    rows = []
    for window, loss, shown in zip(found["windows"], signal["values"], signal["shown"], strict=True):
        if shown is not None:
            half = (shown[2] - shown[1]) / 2
            rows.append((window["start"][:10], loss, loss - half, loss + half))
    word = "estimated loss" if signal["kind"] == "estimate" else "loss"
    return svg.bars(f"{word} of {signal['name']} since the holdout", rows) if rows else ""


def findings(found: Found) -> Section:
    """What a person should look at, the gravest first."""
    ordered = sorted((s for s in found["signals"] if s["state"] in GRAVE), key=lambda s: GRAVE.index(s["state"]))
    rows = [[s["state"], s["kind"], s["name"], s["sentence"]] for s in ordered]
    return Section("Findings", "" if rows else "None.", ["state", "kind", "what", "why"], rows, False)


def performance(found: Found) -> Section:
    """The metric in each window: measured where labels have come, else estimated and marked so."""
    rows, charts = [], []
    for signal in (s for s in found["signals"] if s["shown"]):
        how = "**estimated**" if signal["kind"] == "estimate" else "measured"
        for window, shown, limit in zip(found["windows"], signal["shown"], signal["limits"], strict=True):
            if shown is not None:
                interval = f"{shown[0]:.4f} [{shown[1]:.4f}, {shown[2]:.4f}]"
                rows.append([window["start"][:10], how, interval, signal["base"], limit])
        charts.append(losses(found, signal))
    head = ["window from", "how", "metric, 95 % interval", "on the holdout", "loss that counts"]
    return Section("Performance", ESTIMATE, head, sorted(rows), charts=list(filter(None, charts)))


def latest(values: list[Any]) -> Any:
    """The last value that there is."""
    return next((value for value in reversed(values) if value is not None), None)


def signals(found: Found, title: str, kind: str, text: str = "") -> Section:
    """All signals of a kind: a table, and a line of each that has more than one value."""
    some = [s for s in found["signals"] if s["kind"] == kind]
    sizes = SIZES if any(s["sizes"] for s in some) else ()
    rows = [
        [s["name"], s["state"], latest(s["values"]), latest(s["limits"]), *(s["sizes"].get(m) for m in sizes)]
        for s in some
    ]
    charts = [line(s) for s in some if len(points(s["values"])) > 1 and any(v for v in s["values"])]
    return Section(title, text, ["what", "state", "value", "limit", *sizes], rows, charts=charts)


def traffic(found: Found) -> Section:
    """Predictions and labels in each window."""
    rows = [[w["start"][:16].replace("T", " "), w["rows"], w["labelled"]] for w in found["windows"]]
    chart = svg.chart(
        "predictions", "windows back", "rows", {"rows": points([float(w["rows"]) for w in found["windows"]])}
    )
    return Section("Traffic", "", ["window from", "predictions", "labelled, in the sample"], rows, charts=[chart])


def reading(found: Found) -> Section:
    """What was read, and what had to be left out."""
    rows = [[key, number] for key, number in found["logs"]["counts"].items()]
    rows += [[f"file that ends in the middle: {key}", why] for key, why in found["logs"]["broken"].items()]
    return Section("Logs", f"Model {found['model'][:12]}, until {found['until'][:16]}.", ["what", "number"], rows)


def write(found: Found) -> None:
    """Write reports/monitor.md and reports/monitor.html."""
    parts = [
        findings(found),
        performance(found),
        signals(found, "Predictions", "prediction", LIMITS),
        signals(found, "Features", "feature", LIMITS),
        signals(found, "Data quality", "quality", "Share of values that schema.yaml does not allow."),
        traffic(found),
        signals(found, "Service", "service", "What the service says of itself since its start."),
        reading(found),
    ]
    said = {"decision": DECISIONS.get(found["state"], "pass"), "sentence": headline(found), "notes": []}
    parts = [part for part in parts if part.rows or part.title == "Findings"]
    for path, text in ((PAGE, html(said, parts)), (PAGE.with_suffix(".md"), markdown(said, parts))):
        with atomic(path) as draft:
            draft.write_text(text, encoding="utf-8")
