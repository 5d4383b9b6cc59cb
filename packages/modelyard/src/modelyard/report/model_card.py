"""Write the model card."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from modelyard.core.files import read_json
from modelyard.core.params import Params
from modelyard.core.paths import DATA_JSON, HOLDOUT_PARQUET, METRICS_JSON, PREDICTIONS_PARQUET
from modelyard.core.predictions import Predictions
from modelyard.core.project import PYPROJECT_TOML
from modelyard.report.page import Section, format_number, render_table
from modelyard.statistics.clusters import build_clusters
from modelyard.statistics.comparison import compute_interval
from modelyard.statistics.metrics import METRICS, load_own_metrics

MODEL_CARD = Path("reports/model-card.md")
CARD_SECTIONS = ("Slices", "Lineage", "Top features")


def render_model_card(params: Params, verdict: dict[str, Any], sections: Sequence[Section]) -> str:
    """Return the model card as Markdown: purpose, data, metrics with intervals, slices, limits, lineage.

    Parameters
    ----------
    params
        The project's parameters.
    verdict
        The contents of reports/verdict.json.
    sections
        The sections of the report, of which the card takes slices, lineage and top features.

    References
    ----------
    Mitchell, M. et al. (2019). Model cards for model reporting. FAT* 2019.
    """
    project = tomllib.loads(PYPROJECT_TOML.read_text(encoding="utf-8"))["project"]
    predictions = pd.read_parquet(PREDICTIONS_PARQUET)
    body = [
        f"# Model card: {project['name']}",
        f"**Purpose.** {describe_purpose(params, project.get('description', ''))}",
        describe_data(params, len(predictions)),
        f"**Verdict.** {verdict['sentence']}",
        f"## Metrics\n\n{render_metrics_table(params, predictions)}",
    ]
    for section in sections:
        if section.title.split(":")[0] in CARD_SECTIONS:
            body.append(f"## {section.title}\n\n{render_table(section.header, section.rows)}")
    body.append(f"## Limits\n\n{describe_limits(params, verdict['primary'])}")
    return "\n\n".join(body) + "\n"


def describe_purpose(params: Params, description: str) -> str:
    """Return the project's own description, if it has one, and what the model predicts from what."""
    text = (
        f"{description} It predicts `{params.data.target}` ({params.data.task}) "
        f"from {len(params.data.features)} columns with `{params.train.estimator}`."
    )
    return text.strip()


def describe_data(params: Params, holdout_rows: int) -> str:
    """Return where the rows come from, and which of them are held out."""
    data = read_json(DATA_JSON)
    share = f"{params.split.holdout:.0%}"
    split = f"the latest {share} by {params.data.time}" if params.data.time else share
    return f"**Data.** `{data['path']}`, {data['rows']:,} rows; {split} of them held out ({holdout_rows:,} rows)."


def render_metrics_table(params: Params, predictions: pd.DataFrame) -> str:
    """Return every metric of the holdout with its confidence interval, as a Markdown table."""
    truth, scores = Predictions.from_frame(predictions).encode(predictions["truth"])
    confidence = params.gate.confidence
    cost = params.evaluate.cost
    clusters = build_clusters(params.data, pd.read_parquet(HOLDOUT_PARQUET))
    known = {*METRICS, *load_own_metrics(params.data.task)}
    rows = []
    for name in read_json(METRICS_JSON):
        if name in known:
            interval = compute_interval(name, truth, scores, groups=clusters, cost=cost, confidence=confidence)
            rows.append([name, interval.value, f"{interval.low:.4g} to {interval.high:.4g}"])
    return render_table(["metric", "value", f"{100 * confidence:g} % interval"], rows)


def describe_limits(params: Params, primary: dict[str, Any]) -> str:
    """Return what the model and its evaluation cannot tell."""
    left_out = [f"{name} ({reason})" for name, reason in params.data.left_out.items()]
    detectable = format_number(primary["detectable"])
    return (
        f"This holdout is too small to detect differences in {primary['metric']} below {detectable}. "
        "The model is valid only for rows that satisfy schema.yaml. "
        f"Columns left out: {', '.join(left_out) or 'none'}. "
        f"Sensitive columns watched: {', '.join(params.data.sensitive) or 'none'}."
    )
