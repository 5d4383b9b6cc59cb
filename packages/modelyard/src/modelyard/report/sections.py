"""Write the verdict as a page for people: Markdown for GitHub, HTML with charts, and the model card."""

from collections.abc import Sequence
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
from modelyard.core.predictions import Predictions
from modelyard.gate.curves import read_curves
from modelyard.gate.pairs import PairedPredictions
from modelyard.gate.verdict import load_verdict
from modelyard.pipeline.estimator import fit_pipeline, predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.pipeline.train import read_training_sample, select_training_rows
from modelyard.provenance import lineage
from modelyard.report.charts import PLOT_KINDS, Interval, draw_importance, draw_intervals, draw_model_plot
from modelyard.report.importance import N_REPEATS, compute_contributions, compute_importance
from modelyard.report.model_card import MODEL_CARD, render_model_card
from modelyard.report.page import Section, format_difference, format_number, render_html, render_markdown
from modelyard.statistics.comparison import Difference

REPORT_PAGE = REPORT_MARKDOWN.with_suffix(".html")
# The line in Mermaid's own colour is nearly white on white.
MERMAID_THEME = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#0969da"}}}}%%\n'
MERMAID_POINTS = 21
MAX_ROWS_SHOWN = 12
MAX_CHANGES_SHOWN = 40
MAX_CHANGES_OPEN = 8  # more changes than these are folded
BACKGROUND_ROWS = 50
COLUMNS_PER_EXPLANATION = 5
MIN_CORRELATION = 0.9  # of two explanations with different background rows
MAX_TRAINING_ROWS = 20_000


def build_metrics_section(verdict: dict[str, Any]) -> Section:
    """Show every metric of both models on the same rows, the primary one first."""
    primary = verdict["primary"]
    rows = []
    for item in sorted(verdict["metrics"], key=lambda item: item["metric"] != primary["metric"]):
        name = f"**{item['metric']}**" if item["metric"] == primary["metric"] else item["metric"]
        rows.append([name, item["champion"], item["candidate"], format_difference(item)])
    text = (
        f"Both models on the same {verdict['rows']['compared']:,} rows; a difference above 0 is an improvement. "
        f"The margin is {primary['margin']:.4f}; "
        f"the smallest difference that these rows can detect is {format_number(primary['detectable'])}."
    )
    text += describe_clusters(verdict["rows"])
    header = ["metric", "champion", "candidate", f"difference [{100 * primary['confidence']:g} %]"]
    return Section("Metrics", text, header, rows, collapsed=False)


def describe_clusters(rows: dict[str, Any]) -> str:
    """Return which rows count as one, and how much wider that made the interval; empty where each stands for itself."""
    if not rows["clusters"]:
        return ""
    counts = " and ".join(f"{name} ({count:,} of them)" for name, count in rows["clusters"].items())
    return (
        f" Rows with the same {counts} are not independent of each other; the interval allows for that, which makes it "
        f"{format_number(rows['widening'])} times as wide."
    )


def build_rules_section(verdict: dict[str, Any]) -> Section:
    """Show the result of every other rule, open when one of them failed."""
    rows = [[format_rule_state(rule), rule["name"], rule["sentence"]] for rule in verdict["rules"]]
    failed = sum(not rule["passed"] for rule in verdict["rules"])
    title = f"Rules: {failed} of {len(rows)} failed" if failed else f"Rules: all {len(rows)} passed"
    return Section(title, "", ["", "rule", "result"], rows, collapsed=not failed)


def format_rule_state(rule: dict[str, Any]) -> str:
    """Return the emoji of a rule: passed, failed and blocking, or failed and a warning."""
    if rule["passed"]:
        return "✅"
    return "❌" if rule["blocking"] else "⚠️"


def build_slices_section(verdict: dict[str, Any]) -> Section | None:
    """Show the slices, the worst first, open when one of them blocks; None without slices."""
    slices = sorted(verdict["slices"], key=lambda part: part["difference"]["difference"])
    if not slices:
        return None
    rows = []
    intervals = []
    for part in slices[:MAX_ROWS_SHOWN]:
        name = f"{part['column']} = {part['value']}"
        difference = part["difference"]
        rows.append([name, part["counts"]["rows"], format_difference(difference), "❌" if part["blocks"] else "✅"])
        intervals.append(Interval(name, difference["difference"], difference["low"], difference["high"]))
    chart = draw_intervals("Difference by slice", "difference; above 0 the candidate is better", intervals)
    blocked = any(part["blocks"] for part in slices)
    return Section(f"Slices: {len(slices)}", "", ["slice", "rows", "difference", ""], rows, not blocked, [chart])


def format_change(old: Any, new: Any) -> tuple[str, str]:
    """Return two values as text; of two lists only the elements that the other one lacks."""
    if not isinstance(old, list) or not isinstance(new, list) or set(map(str, old)) == set(map(str, new)):
        return format_number(old), format_number(new)
    removed = [format_number(value) for value in old if value not in new]
    added = [format_number(value) for value in new if value not in old]
    return ", ".join(removed) or "—", ", ".join(added) or "—"


def build_changes_section(verdict: dict[str, Any]) -> Section | None:
    """Show what differs from the base in parameters, schema and data; None where nothing does."""
    rows = []
    for title, changes in verdict["changes"].items():
        for name, (old, new) in changes.items():
            rows.append([title, f"`{name}`", *format_change(old, new)])
    if not rows:
        return None
    collapsed = len(rows) > MAX_CHANGES_OPEN
    header = ["where", "what", "before", "now"]
    return Section(f"Changes: {len(rows)}", "", header, rows[:MAX_CHANGES_SHOWN], collapsed)


def build_importance_section(params: Params, importance: list[tuple[str, float, float]]) -> Section:
    """Show the most important columns, and name those without which nothing is lost."""
    text = (
        f"Loss of {params.evaluate.metric} when the column is shuffled, and the standard deviation of the loss "
        f"over {N_REPEATS} shuffles."
    )
    n_columns = len(params.data.features)
    if len(importance) < n_columns:
        text += (
            f" Of {n_columns:,} columns {len(importance)} were measured: those in the groups of columns that lose most "
            "when the whole group is shuffled."
        )
    useless = [f"`{name}`" for name, loss, spread in importance if loss <= spread]
    if useless:
        text += f" Nothing is lost without {', '.join(useless)}: consider leaving them out."
    rows = importance[:MAX_ROWS_SHOWN]
    bars = [Interval(name, loss, loss - spread, loss + spread) for name, loss, spread in rows]
    chart = draw_importance("Importance", f"loss of {params.evaluate.metric} when shuffled", bars)
    return Section("Top features", text, ["column", "importance", "spread"], rows, charts=[chart])


def build_explanation_section(params: Params, columns: Sequence[str]) -> Section:
    """Explain the lowest, the median and the highest prediction by some columns, and say how stable that is."""
    rows = pd.read_parquet(HOLDOUT_PARQUET).reset_index(drop=True)
    scores = Predictions.from_parquet(PREDICTIONS_PARQUET).get_last_scores()
    order = np.argsort(scores, kind="stable")
    last = len(order) - 1
    chosen = [int(order[place]) for place in (0, last // 2, last)]
    pipeline = load_model(MODEL_FILE)
    draws = []
    for draw in range(2):
        background = rows.sample(min(BACKGROUND_ROWS, len(rows)), random_state=params.seed + draw)
        draws.append(compute_contributions(params, pipeline, rows, chosen, background, columns))
    mean = (draws[0] + draws[1]) / 2
    correlation = float(np.corrcoef(draws[0].ravel(), draws[1].ravel())[0, 1])
    lines = []
    for row, contributions in zip(chosen, mean, strict=True):
        largest = np.argsort(-abs(contributions))[:COLUMNS_PER_EXPLANATION]
        moves = [f"{columns[column]} {contributions[column]:+.3g}" for column in largest]
        lines.append([f"{row} ({scores[row]:.4g})", ", ".join(moves)])
    text = f"How much a prediction changes with the value of one column. {describe_agreement(correlation)}"
    return Section("Three predictions explained", text, ["holdout row (prediction)", "columns that move it"], lines)


def describe_agreement(correlation: float) -> str:
    """Return a sentence on how far two explanations with different background rows agree."""
    verdict = "well" if correlation >= MIN_CORRELATION else "badly: do not rely on them"
    return f"Explanations from two samples of other rows agree {verdict} (correlation {correlation:.3f})."


def build_data_age_section(params: Params) -> Section | None:
    """Show what older training rows cost: the recipe trained on the earlier and on the later half of them.

    At most 20,000 training rows are used; both models predict the same holdout. None where the rows have no time or
    are too few.
    """
    data = params.data
    if not data.time:
        return None
    rows = select_training_rows(params, read_training_sample(MAX_TRAINING_ROWS)).sort_values(data.time, kind="stable")
    middle = len(rows) // 2
    older = rows[:middle]
    newer = rows[middle:]
    difference = compare_training_sets(params, older, newer)
    if difference is None:
        return None
    older_end = older[data.time].max()
    newer_end = newer[data.time].max()
    text = (
        f"The same recipe trained on {len(older):,} rows until {older_end:%Y-%m-%d} and on as many until "
        f"{newer_end:%Y-%m-%d}: {difference.metric} {difference.champion:.4f} and {difference.candidate:.4f} on this "
        f"holdout. Rows that are {(newer_end - older_end).days:,} days younger improve it by "
        f"{format_difference(asdict(difference))}. Use this to choose `retrain.schedule` and `train.window`."
    )
    return Section("Age", text)


def compare_training_sets(params: Params, first: pd.DataFrame, second: pd.DataFrame) -> Difference | None:
    """Return the gain in the primary metric of the recipe trained on the second rows over that on the first.

    None where the rows are too few: for the estimator, or for every class to be among them.
    """
    target = params.data.target
    holdout = pd.read_parquet(HOLDOUT_PARQUET)
    if params.data.task == "classification":
        classes = [set(rows[target].astype(str)) for rows in (holdout, first, second)]
        if classes[0] != classes[1] or classes[0] != classes[2]:
            return None
    predictions = []
    for rows in (first, second):
        try:
            model = fit_pipeline(params, select_features(params, rows), rows[target])
        except UserError:  # too few rows for this estimator
            return None
        predictions.append(Predictions.from_frame(predict_frame(model, select_features(params, holdout))))
    return PairedPredictions.of(params, holdout, *predictions).compare_metric(params.evaluate.metric)


def build_plots_section() -> Section:
    """Show the plots of both models; in Markdown the candidate's first one as a Mermaid chart."""
    paths = {name: PLOTS_FOLDER / f"{name}.csv" for name in PLOT_KINDS}
    tables = {name: pd.read_csv(path) for name, path in paths.items() if path.exists()}
    if not tables:
        return Section("Plots", "No plots.")
    curves = read_curves()
    charts = [draw_model_plot(name, curves.get(name, {"candidate": table})) for name, table in tables.items()]
    first = next(iter(tables))
    return Section("Plots", "", charts=charts, mermaid=draw_mermaid(first, tables[first]))


def draw_mermaid(title: str, points: pd.DataFrame) -> str:
    """Return a Mermaid line chart of a curve at 21 evenly spaced places; points have shape (n, 2), x ascending."""
    x, y = points.columns
    grid = np.linspace(points[x].min(), points[x].max(), MERMAID_POINTS)
    values = ", ".join(f"{value:.3f}" for value in np.interp(grid, points[x], points[y]))
    x_axis = f'x-axis "{x}" {grid[0]:.2f} --> {grid[-1]:.2f}'
    return f'{MERMAID_THEME}xychart-beta\n    title "{title}"\n    {x_axis}\n    y-axis "{y}"\n    line [{values}]'


def build_lineage_section(verdict: dict[str, Any]) -> Section:
    """Show the digests of everything that was compared."""
    champion = verdict["champion"]
    candidate = verdict["candidate"]
    digests = {
        "candidate model": candidate["model"],
        "champion model": f"{champion['model'] or 'none'} ({champion['source']})",
        "champion commit": champion["commit"] or "none",
        "commit": candidate["commit"],
        "base, rules from": f"{verdict['base']}, {verdict['rules_from']}",
        "data": read_json(DATA_JSON)["sha256"],
        "dvc.lock": sha256(DVC_LOCK),
        "models' code confined by": verdict.get("confinement", "unknown"),  # a base's older gate does not say
    }
    return Section("Lineage", "", ["what", "digest"], [[name, f"`{digest}`"] for name, digest in digests.items()])


def build_sections(params: Params, verdict: dict[str, Any]) -> list[Section]:
    """Return the sections of the report, those that explain the decision first."""
    importance = compute_importance(params)
    columns = [name for name, _, _ in importance]
    sections = [
        build_metrics_section(verdict),
        build_rules_section(verdict),
        build_slices_section(verdict),
        build_changes_section(verdict),
        build_importance_section(params, importance),
        build_explanation_section(params, columns),
        build_data_age_section(params),
        build_plots_section(),
        build_lineage_section(verdict),
    ]
    return [section for section in sections if section]


def write_report(params: Params, verdict: dict[str, Any], sections: Sequence[Section]) -> None:
    """Write reports/report.md, reports/report.html and reports/model-card.md."""
    pages = {
        REPORT_MARKDOWN: render_markdown(verdict, sections),
        REPORT_PAGE: render_html(verdict, sections),
        MODEL_CARD: render_model_card(params, verdict, sections),
    }
    for path, text in pages.items():
        with atomic_write(path) as draft:
            draft.write_text(text, encoding="utf-8")


def main() -> int:
    """Write the report, the model card and reports/lineage.json from the verdict of the gate."""
    params = load_params()
    verdict = load_verdict()
    sections = build_sections(params, verdict)
    lineage.write_lineage()
    write_report(params, verdict, sections)
    print_result("report", f"{REPORT_MARKDOWN}  {REPORT_PAGE}  {MODEL_CARD}")
    return 0
