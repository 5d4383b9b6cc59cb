"""TODO doc."""

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

from modelyard.core.files import read_json
from modelyard.core.params import Params
from modelyard.core.paths import DATA_JSON, METRICS_JSON, PREDICTIONS_PARQUET
from modelyard.core.predictions import encode_predictions
from modelyard.report.page import Section, render_table
from modelyard.statistics.comparison import compute_interval
from modelyard.statistics.metrics import METRICS as KNOWN

MODEL_CARD = Path("reports/model-card.md")


def render_model_card(params: Params, verdict: dict[str, Any], parts: list[Section]) -> str:
    """The model card: purpose, data, metrics with intervals, slices, limits, lineage."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    predictions = pd.read_parquet(PREDICTIONS_PARQUET)
    truth, scores = encode_predictions(predictions.pop("truth"), predictions)
    options: dict[str, Any] = {"cost": params.evaluate.cost, "confidence": params.gate.confidence}
    values = [compute_interval(name, truth, scores, **options) for name in read_json(METRICS_JSON) if name in KNOWN]
    metrics = [[one.metric, one.value, f"{one.low:.4g} to {one.high:.4g}"] for one in values]
    data = read_json(DATA_JSON)
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
        f"## Metrics\n\n{render_table(['metric', 'value', '95 % interval'], metrics)}",
        *(f"## {part.title}\n\n{render_table(part.head, part.rows)}" for part in kept),
        f"## Limits\n\n{limits}",
    ]
    return "\n\n".join(body) + "\n"
