"""Rows, predictions and windows of a small classification, and logs of the small project."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.params import MonitorParams, Params
from modelyard.core.predictions import to_log_column
from modelyard.monitoring.windows import ReferenceData, Window, cast_columns, load_reference

MONDAY = pd.Timestamp("2024-06-03", tz="UTC")
WEEK = pd.Timedelta(days=7)
RULES = MonitorParams(minimum=100, history=4)


def make_rows(rows: int, seed: int = 0, shift: float = 0.0, letters: str = "abcd") -> pd.DataFrame:
    """Return raw rows: a number x and a category y."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(shift, 1, rows), "y": rng.choice(list(letters), rows)})


def make_predictions(rows: int, seed: int = 0, lift: float = 0.0, quality: float = 1.0) -> pd.DataFrame:
    """Return predictions of two classes, with a truth that follows the scores for the share `quality` of the rows."""
    rng = np.random.default_rng(seed)
    score = np.clip(rng.beta(2, 4, rows) + lift, 0, 1)
    truth = np.where(rng.random(rows) < quality, rng.random(rows) < score, rng.random(rows) < score.mean())
    frame = pd.DataFrame({"prediction": (score > 0.5).astype(int), "p_0": 1 - score, "p_1": score})
    return frame.assign(truth=truth.astype(int))


REFERENCE = ReferenceData("m" * 64, make_rows(10_000), make_rows(10_000), make_predictions(8000))


def make_window(rows: pd.DataFrame, predictions: pd.DataFrame | None = None, labelled: bool = False) -> Window:
    """Return a window with these raw rows and predictions, whose truth is known if it is labelled."""
    if predictions is None:
        predictions = make_predictions(len(rows), seed=5)
    known = predictions if labelled else predictions.head(0)
    raw, unreadable_shares = cast_columns(rows, REFERENCE.raw)
    is_labelled = np.full(len(predictions), labelled)
    return Window(MONDAY, len(rows), predictions.drop(columns="truth"), known, raw, unreadable_shares, is_labelled)


def write_logs(params: Params, weeks: int = 3, rows: int = 250, model: str | None = None, **columns: Any) -> None:
    """Write logs like the project's own data, a file for each week up to Monday, with all labels."""
    reference = load_reference(params)
    holdout = pd.read_parquet("data/holdout.parquet")
    predictions = reference.predictions.drop(columns="truth")
    Path("logs").mkdir(exist_ok=True)
    for week in range(weeks):
        chosen = np.random.default_rng(week).integers(len(holdout), size=rows)
        ids = [f"{week}-{number}" for number in range(rows)]
        start = MONDAY - WEEK * (weeks - week)
        times = (start + pd.to_timedelta(np.linspace(0, 6.9, rows), unit="D")).astype(str)
        raw = holdout[params.data.features].iloc[chosen].assign(**columns).rename(columns=to_log_column)
        parts = [
            pd.DataFrame({"id": ids, "time": times, "model": model or reference.model}),
            predictions.iloc[chosen].reset_index(drop=True),
            raw.reset_index(drop=True),
        ]
        log = pd.concat(parts, axis=1)
        log.to_json(f"logs/predictions-{week}.jsonl", orient="records", lines=True, date_format="iso")
        truth = holdout[params.data.target].iloc[chosen].to_numpy()
        feedback = pd.DataFrame({"id": ids, "truth": truth, "time": str(MONDAY)})
        feedback.to_json(f"logs/feedback-{week}.jsonl", orient="records", lines=True)
