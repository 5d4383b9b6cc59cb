"""Verb: the verdict as a page for people: Markdown for GitHub, HTML with plots, and the model card."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import lineage, svg
from .compare import interval
from .compute import slots
from .config import (
    DATA,
    HOLDOUT,
    LOCK,
    METRICS,
    MODEL,
    PLOTS,
    PREDICTIONS,
    REPORT,
    Params,
    UserError,
    atomic,
    load_params,
    read_json,
    sha256,
)
from .evaluate import encode, value
from .gate import Sides, load_verdict
from .metrics import METRICS as KNOWN
from .metrics import find
from .model import build, inputs, load, predict
from .train import learnable, sampled

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

PAGE = REPORT.with_suffix(".html")
CARD = Path("reports/model-card.md")
PLAIN = {"✅": "✓", "⚠️": "!", "❌": "✗"}  # a page must not depend on an emoji font
LIMIT = 60_000  # GitHub refuses a comment of 65,536 characters
SIGNS = {"pass": "✅", "warn": "⚠️", "block": "❌"}
# Mermaid's own line is nearly white on white.
CHART = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#0969da"}}}}%%\n'
SAMPLE, REPEATS, SHOWN = 2000, 3, 12
BACKGROUND, REASONS, AGREE = 50, 5, 0.9
LEARN = 20_000

Rows = Sequence[Sequence[Any]]


@dataclass
class Section:
    """A part of the report: a sentence, a table and charts; folded unless it is remarkable."""

    title: str
    text: str = ""
    head: Sequence[str] = ()
    rows: Rows = ()
    folded: bool = True
    charts: list[str] = field(default_factory=list)
    mermaid: str = ""


def number(value: Any) -> str:
    """A number as people read it, anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "—" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def signed(item: dict[str, Any]) -> str:
    """A difference with its interval."""
    return f"{item['difference']:+.4f} [{item['low']:+.4f}, {item['high']:+.4f}]"


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
    chart = svg.bars("difference by slice", bars)
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


def importance(params: Params) -> list[tuple[str, float, float]]:
    """The loss of the primary metric when a raw column is shuffled, on at most 2,000 rows, and its spread."""
    from sklearn.inspection import permutation_importance

    rows, target = pd.read_parquet(HOLDOUT), params.data.target
    rows = rows.sample(min(SAMPLE, len(rows)), random_state=params.seed)
    sign = 1 if find(params.evaluate.metric).higher_is_better else -1

    def score(pipeline: "Pipeline", table: pd.DataFrame, truth: pd.Series) -> float:
        return sign * value(params, pipeline, table.assign(**{target: truth}))

    options: dict[str, Any] = {"scoring": score, "n_repeats": REPEATS, "random_state": params.seed}
    with slots(params.compute):
        found = permutation_importance(load(MODEL), inputs(params, rows), rows[target], **options)
    lost = zip(params.data.features, found.importances_mean.tolist(), found.importances_std.tolist(), strict=True)
    return sorted(lost, key=lambda item: -item[1])


def importance_section(params: Params) -> Section:
    """The features that the model leans on most, and those that it does as well without."""
    every = importance(params)
    rows, idle = every[:SHOWN], [name for name, lost, spread in every if lost <= spread]
    text = f"Loss of {params.evaluate.metric} when the column is shuffled, and how far {REPEATS} shuffles differ."
    if idle:
        text += f" No loss without {', '.join(f'`{name}`' for name in idle)}: what they cost may be saved."
    chart = svg.bars("importance", [(name, value, min(value, 0.0), max(value, 0.0)) for name, value, _ in rows])
    return Section("Top features", text, ["column", "importance", "spread"], rows, charts=[chart])


def said(frame: pd.DataFrame) -> np.ndarray:
    """One number for each prediction: the probability of the last class, or the number."""
    return frame[frame.columns[-1]].to_numpy(dtype=float)


def contributions(
    params: Params, pipeline: "Pipeline", rows: pd.DataFrame, chosen: Sequence[int], others: pd.DataFrame
) -> np.ndarray:
    """By chosen row and column: how far a prediction lies from what it is with other rows' values of the column."""
    names = params.data.features
    mine = rows.iloc[np.repeat(chosen, len(names) * len(others))].reset_index(drop=True)
    for place, name in enumerate(names):
        of = np.arange(len(mine)) // len(others) % len(names) == place
        mine.loc[of, name] = others[name].array.take(np.arange(len(mine)) % len(others))[of]
    swapped = said(predict(pipeline, inputs(params, mine))).reshape(len(chosen), len(names), -1).mean(axis=2)
    return np.asarray(said(predict(pipeline, inputs(params, rows.iloc[list(chosen)])))[:, None] - swapped)


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
        svg.chart(title, x, y, {"model": list(made[name].itertuples(index=False, name=None))}, **style)
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


def cell(value: Any) -> str:
    """A value that cannot break out of its cell of a Markdown table."""
    return number(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def table(head: Sequence[str], rows: Rows) -> str:
    """A Markdown table; nothing where there are no rows."""
    lines = [head, ["---"] * len(head), *([cell(v) for v in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines if rows)


def markdown(verdict: dict[str, Any], parts: list[Section]) -> str:
    """The report for GitHub: verdict first, then the parts; the last ones are left out before it grows too long."""
    text = f"## {SIGNS[verdict['decision']]} {verdict['sentence']}\n"
    text += "".join(f"\n> {note}\n" for note in verdict["notes"])
    for part in parts:
        drawn = f"```mermaid\n{part.mermaid}\n```" if part.mermaid else ""
        body = "\n\n".join(filter(None, [part.text, table(part.head, part.rows), drawn]))
        block = f"\n### {part.title}\n\n{body}\n"
        if part.folded:
            block = f"\n<details><summary>{part.title}</summary>\n\n{body}\n\n</details>\n"
        if len(text) + len(block) < LIMIT:
            text += block
    return text


def html(verdict: dict[str, Any], parts: list[Section]) -> str:
    """The report as one self-contained page with plots."""
    words, _, numbers = verdict["sentence"].partition(": ")
    body = f"<h1>{SIGNS[verdict['decision']]} {escape(words)}</h1><p>{escape(numbers)}</p>"
    body += "".join(f"<p>{inline(note)}</p>" for note in verdict["notes"])
    for part in parts:
        inside = f"<p>{inline(part.text)}</p>" if part.text else ""
        if part.rows:
            head = "".join(f"<th>{escape(name)}</th>" for name in part.head)
            lines = "".join(f"<tr>{''.join(f'<td>{inline(number(v))}</td>' for v in row)}</tr>" for row in part.rows)
            inside += f"<table><tr>{head}</tr>{lines}</table>"
        if part.charts:
            inside += f'<div class="charts">{"".join(part.charts)}</div>'
        body += f"<section><h2>{escape(part.title)}</h2>{inside}</section>"
    for sign, plain in PLAIN.items():
        body = body.replace(sign, plain)
    return svg.page(words, body)


def inline(text: str) -> str:
    """Escaped text with Markdown's bold and code."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", bold)


def card(params: Params, verdict: dict[str, Any], parts: list[Section]) -> str:
    """The model card: purpose, data, metrics with intervals, slices, limits, lineage."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    predictions = pd.read_parquet(PREDICTIONS)
    truth, scores = encode(predictions.pop("truth"), predictions)
    options: dict[str, Any] = {"cost": params.evaluate.cost, "confidence": params.gate.confidence}
    values = [interval(name, truth, scores, **options) for name in read_json(METRICS) if name in KNOWN]
    metrics = [[one.metric, one.value, f"{one.low:.4g} to {one.high:.4g}"] for one in values]
    data = read_json(DATA)
    names = {"Slices", "Lineage", "Top features"}
    kept = [part for part in parts if part.title.split(":")[0] in names]
    left = ", ".join(f"{name} ({why})" for name, why in params.data.left_out.items()) or "none"
    share = f"{params.split.holdout:.0%}"
    split = f"the latest {share} by {params.data.time}" if params.data.time else share
    limits = (
        f"Differences in {verdict['primary']['metric']} below {verdict['primary']['detectable']:.4f} cannot be seen "
        "on this holdout. "
        f"The model knows only rows that keep schema.yaml; columns left out: {left}. "
        f"Sensitive columns watched: {', '.join(params.data.sensitive) or 'none named'}."
    )
    body = [
        f"# Model card: {project['name']}",
        f"**Purpose.** {project['description']} It predicts `{params.data.target}` ({params.data.task}) "
        f"from {len(params.data.features)} columns with `{params.train.estimator}`.",
        f"**Data.** `{data['path']}`, {data['rows']:,} rows; {split} of them held out ({len(truth):,} rows).",
        f"**Verdict.** {verdict['sentence']}",
        f"## Metrics\n\n{table(['metric', 'value', '95 % interval'], metrics)}",
        *(f"## {part.title}\n\n{table(part.head, part.rows)}" for part in kept),
        f"## Limits\n\n{limits}",
    ]
    return "\n\n".join(body) + "\n"


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
