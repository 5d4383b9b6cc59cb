from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE
from modelyard.pipeline.model_file import load_model
from modelyard.report.importance import choose_columns, compute_contributions, compute_importance


def test_compute_importance_most_important_first(project: Path, params: Params) -> None:
    importance = compute_importance(params)
    losses = [loss for _, loss, _ in importance]
    assert losses == sorted(losses, reverse=True)
    assert {name for name, _, _ in importance} == set(params.data.features)


def test_choose_columns_finds_the_ones_that_count_among_thousands() -> None:
    table = pd.DataFrame(np.arange(50.0)[:, None] * np.ones(3000), columns=[f"c{n}" for n in range(3000)])
    tried = []

    def score(changed: pd.DataFrame) -> float:
        tried.append(len(changed.columns))
        moved = [
            name for name in ("c7", "c1500", "c2999") if name in changed and not changed[name].is_monotonic_increasing
        ]
        return -float(len(moved))

    chosen = choose_columns(table, score, seed=0)
    assert {"c7", "c1500", "c2999"} <= set(chosen) and len(chosen) <= 48
    assert len(tried) <= 16 * 7


def test_choose_columns_takes_all_of_a_narrow_table() -> None:
    table = pd.DataFrame({"a": [1], "b": [2]})
    assert choose_columns(table, lambda _: pytest.fail("nothing is to be tried"), seed=0) == ["a", "b"]


def test_compute_contributions_own_values_change_nothing(project: Path, params: Params) -> None:
    rows = pd.read_parquet(HOLDOUT_PARQUET).reset_index(drop=True)
    contributions = compute_contributions(params, load_model(MODEL_FILE), rows, [3], rows.iloc[[3]], ["origin"])
    assert contributions.shape == (1, 1)
    assert abs(contributions).max() < 1e-9


def test_compute_contributions_other_values_move_predictions(project: Path, params: Params) -> None:
    rows = pd.read_parquet(HOLDOUT_PARQUET).reset_index(drop=True)
    contributions = compute_contributions(
        params, load_model(MODEL_FILE), rows, list(range(9)), rows, params.data.features
    )
    assert abs(contributions).max() > 0
