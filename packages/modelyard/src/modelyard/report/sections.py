"""Verb: the verdict as a page for people: Markdown for GitHub, HTML with plots, and the model card."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write, read_json, sha256
from modelyard.core.params import Params, load_params
from modelyard.core.paths import (
    DATA_JSON,
    DVC_LOCK,
    HOLDOUT_PARQUET,
    MODEL_FILE,
    PLOTS_FOLDER,
    PREDICTIONS_PARQUET,
    REPORT_MARKDOWN,
)
from modelyard.gate.pairs import PairedPredictions
from modelyard.gate.verdict import load_verdict
from modelyard.pipeline.estimator import fit_pipeline, predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.pipeline.train import read_training_sample, select_training_rows
from modelyard.provenance import lineage
from modelyard.report import charts
from modelyard.report.importance import N_REPEATS, compute_contributions, compute_importance, extract_scores
from modelyard.report.model_card import MODEL_CARD, render_model_card
from modelyard.report.page import Section, format_difference, format_number, render_html, render_markdown

REPORT_PAGE = REPORT_MARKDOWN.with_suffix(".html")
# Mermaid's own line is nearly white on white.
MERMAID_THEME = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#0969da"}}}}%%\n'
MAX_ROWS_SHOWN = 12
BACKGROUND_ROWS, COLUMNS_PER_EXPLANATION, MIN_CORRELATION = 50, 5, 0.9
MAX_TRAINING_ROWS = 20_000


def build_metrics_section(verdict: dict[str, Any]) -> Section:
    """Every metric of both models on the same rows, the primary one first."""
    primary = verdict["primary"]["metric"]
    ordered = sorted(verdict["metrics"], key=lambda item: item["metric"] != primary)
    rows = [
        [
            f"**{m['metric']}**" if m["metric"] == primary else m["metric"],
            m["champion"],
            m["candidate"],
            format_difference(m),
        ]
        for m in ordered
    ]
    held, p = verdict["rows"], verdict["primary"]
    text = (
        f"On the same {held['compared']:,} rows; a difference above 0 is an improvement. "
        f"Margin {p['margin']:.4f}; the smallest difference that these rows can detect is {p['detectable']:.4f}."
    )
    return Section("Metrics", text, ["metric", "champion", "candidate", "difference [95 %]"], rows, collapsed=False)


def build_rules_section(verdict: dict[str, Any]) -> Section:
    """Each further rule on a line; open when one of them failed."""
    rows = [
        ["✅" if r["passed"] else "❌" if r["blocking"] else "⚠️", r["name"], r["sentence"]] for r in verdict["rules"]
    ]
    failed = sum(not r["passed"] for r in verdict["rules"])
    title = f"Rules: {failed} of {len(rows)} failed" if failed else f"Rules: all {len(rows)} hold"
    return Section(title, "", ["", "rule", "what was found"], rows, collapsed=not failed)


def build_slices_section(verdict: dict[str, Any]) -> Section | None:
    """The slices, worst first; open when one of them blocks."""
    parts = sorted(verdict["slices"], key=lambda s: s["difference"]["difference"])
    if not parts:
        return None
    rows, bars, blocks = [], [], any(s["blocks"] for s in parts)
    for s in parts[:MAX_ROWS_SHOWN]:
        name, found = f"{s['column']} = {s['value']}", s["difference"]
        rows.append([name, s["counts"]["rows"], format_difference(found), "❌" if s["blocks"] else "✅"])
        bars.append((name, found["difference"], found["low"], found["high"]))
    chart = charts.bars("difference by slice", bars)
    return Section(f"Slices: {len(parts)}", "", ["slice", "rows", "difference", ""], rows, not blocks, [chart])


def format_change(old: Any, new: Any) -> tuple[str, str]:
    """Two values in words; of two lists only what the other one lacks."""
    if isinstance(old, list) and isinstance(new, list) and set(map(str, old)) != set(map(str, new)):
        old, new = ([value for value in one if value not in two] for one, two in ((old, new), (new, old)))
        return ", ".join(map(format_number, old)) or "—", ", ".join(map(format_number, new)) or "—"
    return format_number(old), format_number(new)


def build_changes_section(verdict: dict[str, Any]) -> Section | None:
    """What this change altered in parameters, schema and data."""
    rows = [
        [title, f"`{name}`", *format_change(old, new)]
        for title, items in verdict["changes"].items()
        for name, (old, new) in items.items()
    ]
    if not rows:
        return None
    return Section(f"Changes: {len(rows)}", "", ["where", "what", "before", "now"], rows[:40], len(rows) > 8)


def build_importance_section(params: Params) -> Section:
    """The features that the model leans on most, and those that it does as well without."""
    every = compute_importance(params)
    rows, idle = every[:MAX_ROWS_SHOWN], [name for name, lost, spread in every if lost <= spread]
    text = f"Loss of {params.evaluate.metric} when the column is shuffled, and how far {N_REPEATS} shuffles differ."
    if idle:
        text += f" No loss without {', '.join(f'`{name}`' for name in idle)}: what they cost may be saved."
    chart = charts.bars("importance", [(name, value, min(value, 0.0), max(value, 0.0)) for name, value, _ in rows])
    return Section("Top features", text, ["column", "importance", "spread"], rows, charts=[chart])


def build_explanation_section(params: Params) -> Section:
    """Why three predictions are what they are: the lowest, the middle and the highest; and whether that is stable."""
    rows = pd.read_parquet(HOLDOUT_PARQUET).reset_index(drop=True)
    scores = extract_scores(pd.read_parquet(PREDICTIONS_PARQUET).drop(columns="truth"))
    order = np.argsort(scores, kind="stable")
    chosen = [int(order[int(share * (len(order) - 1))]) for share in (0, 0.5, 1)]
    others = [rows.sample(min(BACKGROUND_ROWS, len(rows)), random_state=params.seed + draw) for draw in range(2)]
    pipeline = load_model(MODEL_FILE)
    first, second = (compute_contributions(params, pipeline, rows, chosen, draw) for draw in others)
    mean, agree = (first + second) / 2, float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    shown = [np.argsort(-abs(row))[:COLUMNS_PER_EXPLANATION] for row in mean]
    lines = [
        [f"{at} ({scores[at]:.4g})", ", ".join(f"{params.data.features[c]} {mean[i, c]:+.3g}" for c in shown[i])]
        for i, at in enumerate(chosen)
    ]
    text = f"By how much a prediction differs from what it is with other rows' values. {describe_agreement(agree)}"
    return Section("Three predictions explained", text, ["holdout row (prediction)", "columns that move it"], lines)


def build_data_age_section(params: Params) -> Section | None:
    """What it costs to know only older rows: the recipe with the earlier and with the later half of the training rows.

    At most 20,000 of them; both models answer for the same holdout. None where the rows have no time, or are too few.
    """
    data, metric = params.data, params.evaluate.metric
    if not data.time:
        return None
    rows = select_training_rows(params, read_training_sample(MAX_TRAINING_ROWS)).sort_values(data.time, kind="stable")
    halves, held = [rows[: len(rows) // 2], rows[len(rows) // 2 :]], pd.read_parquet(HOLDOUT_PARQUET)
    classes = [set(part[data.target].astype(str)) for part in (held, *halves)]
    if data.task == "classification" and any(known != classes[0] for known in classes):
        return None
    try:
        models = [fit_pipeline(params, select_features(params, half), half[data.target]) for half in halves]
    except UserError:  # half of the rows is too little for this estimator
        return None
    found = PairedPredictions.of(
        params, held, *(predict_frame(model, select_features(params, held)) for model in models)
    ).compare_metric(metric)
    until = [half[data.time].max() for half in halves]
    text = (
        f"The same recipe with {len(halves[0]):,} rows until {until[0]:%Y-%m-%d} and as many until "
        f"{until[1]:%Y-%m-%d}: {metric} {found.champion:.4f} and {found.candidate:.4f} on this holdout. Rows that are "
        f"{(until[1] - until[0]).days:,} days younger are worth {format_difference(asdict(found))}: what `retrain.schedule` "
        "and `train.window` rest on."
    )
    return Section("Age", text)


def describe_agreement(agree: float) -> str:
    """Whether two draws say the same, in words."""
    return f"Two draws agree {'well' if agree >= MIN_CORRELATION else 'badly: do not lean on it'} (correlation {agree:.3f})."


def build_plots_section() -> Section:
    """The plots that the pipeline made, as charts; in Markdown one of them as a Mermaid chart."""
    axes = {
        "roc": ("ROC", "false positive rate", "true positive rate", {"diagonal": True}),
        "precision_recall": ("Precision and recall", "recall", "precision", {}),
        "calibration": ("Calibration", "predicted", "observed", {"diagonal": True}),
        "residuals": ("Residuals", "predicted", "actual − predicted", {"dots": True, "zero": True}),
    }
    made = {name: pd.read_csv(path) for name in axes if (path := PLOTS_FOLDER / f"{name}.csv").exists()}
    if not made:
        return Section("Plots", "No plots.")
    drawings = [
        charts.chart(title, x, y, {"model": list(made[name].itertuples(index=False, name=None))}, **style)
        for name, (title, x, y, style) in axes.items()
        if name in made
    ]
    name, points = next(iter(made.items()))
    x, y = points.columns
    grid = np.linspace(points[x].min(), points[x].max(), 21)
    values = ", ".join(f"{v:.3f}" for v in np.interp(grid, points[x], points[y]))
    span = f'    x-axis "{x}" {grid[0]:.2f} --> {grid[-1]:.2f}\n    y-axis "{y}"'
    drawn = f'{MERMAID_THEME}xychart-beta\n    title "{name}"\n{span}\n    line [{values}]'
    return Section("Plots", "", charts=drawings, mermaid=drawn)


def build_lineage_section(verdict: dict[str, Any]) -> Section:
    """Which bytes this is about."""
    champion, candidate = verdict["champion"], verdict["candidate"]
    rows = [
        ["candidate model", candidate["model"]],
        ["champion model", f"{champion['model'] or 'none'} ({champion['source']})"],
        ["champion commit", champion["commit"] or "none"],
        ["commit", candidate["commit"]],
        ["base, rules from", f"{verdict['base']}, {verdict['rules_from']}"],
        ["data", read_json(DATA_JSON)["sha256"]],
        ["dvc.lock", sha256(DVC_LOCK)],
    ]
    return Section("Lineage", "", ["what", "digest"], [[a, f"`{b}`"] for a, b in rows])


def main() -> int:
    """Write reports/report.md, reports/report.html and reports/model-card.md from the verdict."""
    params, verdict = load_params(), load_verdict()
    every = [  # what decides comes first
        build_metrics_section(verdict),
        build_rules_section(verdict),
        build_slices_section(verdict),
        build_changes_section(verdict),
        build_importance_section(params),
        build_explanation_section(params),
        build_data_age_section(params),
        build_plots_section(),
        build_lineage_section(verdict),
    ]
    parts = [part for part in every if part]
    pages = {
        REPORT_MARKDOWN: render_markdown(verdict, parts),
        REPORT_PAGE: render_html(verdict, parts),
        MODEL_CARD: render_model_card(params, verdict, parts),
    }
    lineage.write_lineage()
    for path, text in pages.items():
        with atomic_write(path) as draft:
            draft.write_text(text, encoding="utf-8")
    print_result("report", f"{REPORT_MARKDOWN}  {REPORT_PAGE}  {MODEL_CARD}")
    return 0
