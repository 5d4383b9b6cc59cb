"""Verb: the verdict as a page for people: Markdown for GitHub, HTML with plots, and the model card."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.files import atomic, read_json, sha256
from modelyard.core.params import Params, load_params
from modelyard.core.paths import DATA, HOLDOUT, LOCK, MODEL, PLOTS, PREDICTIONS, REPORT
from modelyard.gate.pairs import Sides
from modelyard.gate.verdict import load_verdict
from modelyard.pipeline.estimator import build, predict
from modelyard.pipeline.model_file import load
from modelyard.pipeline.preprocessing import inputs
from modelyard.pipeline.train import learnable, sampled
from modelyard.provenance import lineage
from modelyard.report import charts
from modelyard.report.importance import REPEATS, contributions, importance, said
from modelyard.report.model_card import CARD, card
from modelyard.report.page import Section, html, markdown, number, signed

PAGE = REPORT.with_suffix(".html")
# Mermaid's own line is nearly white on white.
CHART = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#0969da"}}}}%%\n'
SHOWN = 12
BACKGROUND, REASONS, AGREE = 50, 5, 0.9
LEARN = 20_000


def metric_section(verdict: dict[str, Any]) -> Section:
    """Every metric of both models on the same rows, the primary one first."""
    primary = verdict["primary"]["metric"]
    ordered = sorted(verdict["metrics"], key=lambda item: item["metric"] != primary)
    rows = [
        [f"**{m['metric']}**" if m["metric"] == primary else m["metric"], m["champion"], m["candidate"], signed(m)]
        for m in ordered
    ]
    held, p = verdict["rows"], verdict["primary"]
    text = (
        f"On the same {held['compared']:,} rows; a difference above 0 is an improvement. "
        f"Margin {p['margin']:.4f}; the smallest difference that these rows can detect is {p['detectable']:.4f}."
    )
    return Section("Metrics", text, ["metric", "champion", "candidate", "difference [95 %]"], rows, folded=False)


def rule_section(verdict: dict[str, Any]) -> Section:
    """Each further rule on a line; open when one of them failed."""
    rows = [
        ["✅" if r["passed"] else "❌" if r["blocking"] else "⚠️", r["name"], r["sentence"]] for r in verdict["rules"]
    ]
    failed = sum(not r["passed"] for r in verdict["rules"])
    title = f"Rules: {failed} of {len(rows)} failed" if failed else f"Rules: all {len(rows)} hold"
    return Section(title, "", ["", "rule", "what was found"], rows, folded=not failed)


def slice_section(verdict: dict[str, Any]) -> Section | None:
    """The slices, worst first; open when one of them blocks."""
    parts = sorted(verdict["slices"], key=lambda s: s["difference"]["difference"])
    if not parts:
        return None
    rows, bars, blocks = [], [], any(s["blocks"] for s in parts)
    for s in parts[:SHOWN]:
        name, found = f"{s['column']} = {s['value']}", s["difference"]
        rows.append([name, s["counts"]["rows"], signed(found), "❌" if s["blocks"] else "✅"])
        bars.append((name, found["difference"], found["low"], found["high"]))
    chart = charts.bars("difference by slice", bars)
    return Section(f"Slices: {len(parts)}", "", ["slice", "rows", "difference", ""], rows, not blocks, [chart])


def apart(old: Any, new: Any) -> tuple[str, str]:
    """Two values in words; of two lists only what the other one lacks."""
    if isinstance(old, list) and isinstance(new, list) and set(map(str, old)) != set(map(str, new)):
        old, new = ([value for value in one if value not in two] for one, two in ((old, new), (new, old)))
        return ", ".join(map(number, old)) or "—", ", ".join(map(number, new)) or "—"
    return number(old), number(new)


def change_section(verdict: dict[str, Any]) -> Section | None:
    """What this change altered in parameters, schema and data."""
    rows = [
        [title, f"`{name}`", *apart(old, new)]
        for title, items in verdict["changes"].items()
        for name, (old, new) in items.items()
    ]
    if not rows:
        return None
    return Section(f"Changes: {len(rows)}", "", ["where", "what", "before", "now"], rows[:40], len(rows) > 8)


def importance_section(params: Params) -> Section:
    """The features that the model leans on most, and those that it does as well without."""
    every = importance(params)
    rows, idle = every[:SHOWN], [name for name, lost, spread in every if lost <= spread]
    text = f"Loss of {params.evaluate.metric} when the column is shuffled, and how far {REPEATS} shuffles differ."
    if idle:
        text += f" No loss without {', '.join(f'`{name}`' for name in idle)}: what they cost may be saved."
    chart = charts.bars("importance", [(name, value, min(value, 0.0), max(value, 0.0)) for name, value, _ in rows])
    return Section("Top features", text, ["column", "importance", "spread"], rows, charts=[chart])


def reason_section(params: Params) -> Section:
    """Why three predictions are what they are: the lowest, the middle and the highest; and whether that is stable."""
    rows = pd.read_parquet(HOLDOUT).reset_index(drop=True)
    scores = said(pd.read_parquet(PREDICTIONS).drop(columns="truth"))
    order = np.argsort(scores, kind="stable")
    chosen = [int(order[int(share * (len(order) - 1))]) for share in (0, 0.5, 1)]
    others = [rows.sample(min(BACKGROUND, len(rows)), random_state=params.seed + draw) for draw in range(2)]
    pipeline = load(MODEL)
    first, second = (contributions(params, pipeline, rows, chosen, draw) for draw in others)
    mean, agree = (first + second) / 2, float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    shown = [np.argsort(-abs(row))[:REASONS] for row in mean]
    lines = [
        [f"{at} ({scores[at]:.4g})", ", ".join(f"{params.data.features[c]} {mean[i, c]:+.3g}" for c in shown[i])]
        for i, at in enumerate(chosen)
    ]
    text = f"By how much a prediction differs from what it is with other rows' values. {stable(agree)}"
    return Section("Three predictions explained", text, ["holdout row (prediction)", "columns that move it"], lines)


def age_section(params: Params) -> Section | None:
    """What it costs to know only older rows: the recipe with the earlier and with the later half of the training rows.

    At most 20,000 of them; both models answer for the same holdout. None where the rows have no time, or are too few.
    """
    data, metric = params.data, params.evaluate.metric
    if not data.time:
        return None
    rows = learnable(params, sampled(LEARN)).sort_values(data.time, kind="stable")
    halves, held = [rows[: len(rows) // 2], rows[len(rows) // 2 :]], pd.read_parquet(HOLDOUT)
    classes = [set(part[data.target].astype(str)) for part in (held, *halves)]
    if data.task == "classification" and any(known != classes[0] for known in classes):
        return None
    try:
        models = [build(params, inputs(params, half), half[data.target]) for half in halves]
    except UserError:  # half of the rows is too little for this estimator
        return None
    found = Sides.of(params, held, *(predict(model, inputs(params, held)) for model in models)).differ(metric)
    until = [half[data.time].max() for half in halves]
    text = (
        f"The same recipe with {len(halves[0]):,} rows until {until[0]:%Y-%m-%d} and as many until "
        f"{until[1]:%Y-%m-%d}: {metric} {found.champion:.4f} and {found.candidate:.4f} on this holdout. Rows that are "
        f"{(until[1] - until[0]).days:,} days younger are worth {signed(asdict(found))}: what `retrain.schedule` "
        "and `train.window` rest on."
    )
    return Section("Age", text)


def stable(agree: float) -> str:
    """Whether two draws say the same, in words."""
    return f"Two draws agree {'well' if agree >= AGREE else 'badly: do not lean on it'} (correlation {agree:.3f})."


def plot_section() -> Section:
    """The plots that the pipeline made, as charts; in Markdown one of them as a Mermaid chart."""
    axes = {
        "roc": ("ROC", "false positive rate", "true positive rate", {"diagonal": True}),
        "precision_recall": ("Precision and recall", "recall", "precision", {}),
        "calibration": ("Calibration", "predicted", "observed", {"diagonal": True}),
        "residuals": ("Residuals", "predicted", "actual − predicted", {"dots": True, "zero": True}),
    }
    made = {name: pd.read_csv(path) for name in axes if (path := PLOTS / f"{name}.csv").exists()}
    if not made:
        return Section("Plots", "No plots.")
    charts = [
        charts.chart(title, x, y, {"model": list(made[name].itertuples(index=False, name=None))}, **style)
        for name, (title, x, y, style) in axes.items()
        if name in made
    ]
    name, points = next(iter(made.items()))
    x, y = points.columns
    grid = np.linspace(points[x].min(), points[x].max(), 21)
    values = ", ".join(f"{v:.3f}" for v in np.interp(grid, points[x], points[y]))
    span = f'    x-axis "{x}" {grid[0]:.2f} --> {grid[-1]:.2f}\n    y-axis "{y}"'
    drawn = f'{CHART}xychart-beta\n    title "{name}"\n{span}\n    line [{values}]'
    return Section("Plots", "", charts=charts, mermaid=drawn)


def lineage_section(verdict: dict[str, Any]) -> Section:
    """Which bytes this is about."""
    champion, candidate = verdict["champion"], verdict["candidate"]
    rows = [
        ["candidate model", candidate["model"]],
        ["champion model", f"{champion['model'] or 'none'} ({champion['source']})"],
        ["champion commit", champion["commit"] or "none"],
        ["commit", candidate["commit"]],
        ["base, rules from", f"{verdict['base']}, {verdict['rules_from']}"],
        ["data", read_json(DATA)["sha256"]],
        ["dvc.lock", sha256(LOCK)],
    ]
    return Section("Lineage", "", ["what", "digest"], [[a, f"`{b}`"] for a, b in rows])


def main() -> int:
    """Write reports/report.md, reports/report.html and reports/model-card.md from the verdict."""
    params, verdict = load_params(), load_verdict()
    every = [  # what decides comes first
        metric_section(verdict),
        rule_section(verdict),
        slice_section(verdict),
        change_section(verdict),
        importance_section(params),
        reason_section(params),
        age_section(params),
        plot_section(),
        lineage_section(verdict),
    ]
    parts = [part for part in every if part]
    pages = {REPORT: markdown(verdict, parts), PAGE: html(verdict, parts), CARD: card(params, verdict, parts)}
    lineage.write()
    for path, text in pages.items():
        with atomic(path) as draft:
            draft.write_text(text, encoding="utf-8")
    print(f"{'report':<10}{REPORT}  {PAGE}  {CARD}")
    return 0
