from pathlib import Path

import pytest

from modelyard.core.params import Params
from modelyard.report.model_card import render_model_card
from modelyard.report.page import Section
from tests.library.report.verdict import VERDICT


@pytest.fixture
def card(project: Path, params: Params) -> str:
    sections = [
        Section("Slices: 2", "", ["slice"], [["red"]]),
        Section("Rules: all 3 passed", "", ["rule"], [["floor"]]),
    ]
    return render_model_card(params, VERDICT, sections)


def test_render_model_card_has_its_parts_in_order(card: str) -> None:
    parts = ["# Model card:", "**Purpose.**", "**Data.**", "**Verdict.**", "## Metrics", "## Slices: 2", "## Limits"]
    places = [card.index(part) for part in parts]
    assert places == sorted(places)


def test_render_model_card_leaves_out_the_rules(card: str) -> None:
    assert "## Rules" not in card


def test_render_model_card_metrics_have_intervals(card: str, params: Params) -> None:
    line = next(line for line in card.splitlines() if line.startswith(f"| {params.evaluate.metric} |"))
    assert " to " in line
