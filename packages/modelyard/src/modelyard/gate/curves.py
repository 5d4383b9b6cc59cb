"""Keep the points of both models' plots for the report, in reports/curves.parquet.

Only the gate has the predictions of both models on the same rows. The points stay out of the verdict, whose digest is
recorded and which other jobs read.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from modelyard.gate.pairs import PairedPredictions
from modelyard.pipeline.evaluate import build_plot_tables

CURVES_PARQUET = Path("reports/curves.parquet")


def choose_models(source: str, unchanged: bool) -> list[str]:
    """Return the models whose curves the report shows.

    A dummy champion is left out, since its curves are the lines of chance, and so is an unchanged one, since its
    curves are the candidate's.
    """
    if unchanged or source == "dummy":
        return ["candidate"]
    return ["champion", "candidate"]


def write_curves(pairs: PairedPredictions, models: Sequence[str]) -> None:
    """Write the points of every plot of these models ("champion", "candidate") on the rows that were compared."""
    tables = []
    for model in models:
        scores = getattr(pairs, model)
        for plot, table in build_plot_tables(pairs.truth, scores).items():
            tables.append(table.set_axis(["x", "y"], axis=1).assign(plot=plot, model=model))
    pd.concat(tables).to_parquet(CURVES_PARQUET, index=False)


def read_curves() -> dict[str, dict[str, pd.DataFrame]]:
    """Return the points by plot and model, each of shape (n, 2), x first; empty where the gate wrote no curves."""
    curves: dict[str, dict[str, pd.DataFrame]] = {}
    if not CURVES_PARQUET.exists():
        return curves
    for (plot, model), table in pd.read_parquet(CURVES_PARQUET).groupby(["plot", "model"], sort=False):
        curves.setdefault(str(plot), {})[str(model)] = table[["x", "y"]]
    return curves
