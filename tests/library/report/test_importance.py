from pathlib import Path

import pandas as pd

from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE
from modelyard.pipeline.model_file import load_model
from modelyard.report.importance import compute_contributions, compute_importance


def test_compute_importance_most_important_first(project: Path, params: Params) -> None:
    importance = compute_importance(params)
    losses = [loss for _, loss, _ in importance]
    assert losses == sorted(losses, reverse=True)
    assert {name for name, _, _ in importance} == set(params.data.features)


def test_compute_contributions_own_values_change_nothing(project: Path, params: Params) -> None:
    rows = pd.read_parquet(HOLDOUT_PARQUET).reset_index(drop=True)
    contributions = compute_contributions(params, load_model(MODEL_FILE), rows, [3], rows.iloc[[3]])
    assert contributions.shape == (1, len(params.data.features))
    assert abs(contributions).max() < 1e-9


def test_compute_contributions_other_values_move_predictions(project: Path, params: Params) -> None:
    rows = pd.read_parquet(HOLDOUT_PARQUET).reset_index(drop=True)
    contributions = compute_contributions(params, load_model(MODEL_FILE), rows, list(range(9)), rows)
    assert abs(contributions).max() > 0
