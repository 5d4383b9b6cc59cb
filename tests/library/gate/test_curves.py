from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modelyard.gate.curves import CURVES_PARQUET, choose_models, read_curves, write_curves


@pytest.fixture
def pairs() -> Any:
    """Predictions of two models on the same 50 rows of two classes."""
    truth = np.arange(50) % 2
    probability = np.linspace(0, 1, 50)
    scores = np.column_stack([1 - probability, probability])
    CURVES_PARQUET.parent.mkdir(parents=True)
    return SimpleNamespace(truth=truth, champion=scores, candidate=scores[::-1])


@pytest.mark.parametrize(
    ("source", "unchanged", "models"),
    [
        ("deployed", False, ["champion", "candidate"]),
        ("dummy", False, ["candidate"]),
        ("deployed", True, ["candidate"]),
    ],
)
def test_choose_models_leaves_out_what_shows_nothing(source: str, unchanged: bool, models: list[str]) -> None:
    assert choose_models(source, unchanged) == models


def test_read_curves_returns_what_was_written(pairs: Any) -> None:
    write_curves(pairs, ["champion", "candidate"])
    curves = read_curves()
    assert set(curves) == {"roc", "precision_recall", "calibration", "scores"}
    assert list(curves["roc"]) == ["champion", "candidate"]
    assert list(curves["roc"]["champion"]) == ["x", "y"]


def test_write_curves_replaces_an_older_file(pairs: Any) -> None:
    write_curves(pairs, ["champion", "candidate"])
    write_curves(pairs, ["candidate"])
    assert list(read_curves()["roc"]) == ["candidate"]


def test_read_curves_without_a_file_is_empty() -> None:
    assert read_curves() == {}
