"""The monitoring page: what is not in order first, then a line for each signal over the windows."""

from pathlib import Path
from typing import Any

from . import svg
from .config import atomic
from .report import Section, html, markdown, number

PAGE = Path("reports/monitor.html")
DECISIONS = {"unjudged": "pass", "ok": "pass", "notice": "pass", "warning": "warn", "critical": "block"}
GRAVE = ("critical", "warning", "notice")
ESTIMATE = "An estimate supposes that each score still means what it meant on the holdout: it cannot see a changed world."


def headline(found: dict[str, Any]) -> str:
    """The state in words."""
    worst = [s for s in found["signals"] if s["state"] == found["state"]]
    if found["state"] not in GRAVE:
        return "In order: what the service sees is like what the model learned from."
    more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
    return f"{found['state'].capitalize()}: {worst[0]['sentence']}{more}"


def chart(signal: dict[str, Any]) -> str:
    """A signal's values over the windows, and its limits."""
    if signal["shown"]:
        points = [(float(i), p[0]) for i, p in enumerate(signal["shown"]) if p]
        borders = [
            (float(i), signal["base"] + (-limit if points[0][1] is not None and limit is not None else 0.0))
            for i, limit in enumerate(signal["limits"])
            if limit is not None
        ]
    else:
        points = [(float(i), v) for i, v in enumerate(signal["values"]) if v is not None]
        borders = [(float(i), v) for i, v in enumerate(signal["limits"]) if v is not None]
    title = f"{signal['name']} ({signal['kind']})"
    return svg.chart(title, "window", "", {"value": points, "limit": borders})


def alarms(found: dict[str, Any]) -> Section:
    """What a person should look at."""
    ordered = sorted((s for s in found["signals"] if s["state"] in GRAVE), key=lambda s: GRAVE.index(s["state"]))
    rows = [[s["state"], s["kind"], s["name"], s["sentence"]] for s in ordered]
    return Section("Findings", "" if rows else "None.", ["state", "kind", "what", "why"] if rows else (), rows, False)


def latest(values: list[Any]) -> Any:
    """The last value that there is."""
    return next((value for value in reversed(values) if value is not None), None)


def kind(found: dict[str, Any], title: str, kinds: tuple[str, ...], text: str = "") -> Section:
    """All signals of some kinds: a table, and a chart of each that has values."""
    signals = [s for s in found["signals"] if s["kind"] in kinds]
    rows = [
        [s["name"], s["state"], latest(s["values"]), latest(s["limits"]), *[s["sizes"].get(m) for m in SIZES]]
        for s in signals
    ]
    charts = [chart(s) for s in signals if any(v is not None for v in s["values"])]
    return Section(title, text, ["what", "state", "value", "limit", *SIZES], rows, charts=charts)


SIZES = ("psi", "jensen_shannon", "wasserstein")


def traffic(found: dict[str, Any]) -> Section:
    """Predictions and labels in each window."""
    rows = [[w["start"][:16].replace("T", " "), w["rows"], w["labelled"]] for w in found["windows"]]
    points = [(float(i), float(w["rows"])) for i, w in enumerate(found["windows"])]
    head = ["window from", "predictions", "labelled, in the sample"]
    return Section("Traffic", "", head, rows, charts=[svg.chart("predictions", "window", "", {"rows": points})])


def reading(found: dict[str, Any]) -> Section:
    """What was read, and what had to be left out."""
    rows = [[name, value] for name, value in found["logs"]["counts"].items()]
    rows += [[f"broken: {name}", why] for name, why in found["logs"]["broken"].items()]
    return Section("Logs", f"Model {found['model'][:12]}, until {found['until'][:16]}.", ["what", "number"], rows)


def write(found: dict[str, Any]) -> None:
    """Write reports/monitor.md and reports/monitor.html."""
    parts = [
        alarms(found),
        kind(found, "Performance", ("performance", "estimate"), ESTIMATE),
        kind(found, "Predictions", ("prediction",)),
        kind(found, "Features", ("feature",)),
        kind(found, "Data quality: share of values that break schema.yaml", ("quality",)),
        traffic(found),
        reading(found),
    ]
    verdict = {"decision": DECISIONS[found["state"]], "sentence": headline(found), "notes": []}
    with atomic(PAGE) as draft:
        draft.write_text(html(verdict, parts), encoding="utf-8")
    with atomic(PAGE.with_suffix(".md")) as draft:
        draft.write_text(markdown(verdict, parts), encoding="utf-8")


__all__ = ["number", "write"]
