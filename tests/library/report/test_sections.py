from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.core.files import read_json, sha256, write_json
from modelyard.core.params import Params
from modelyard.core.paths import (
    DVC_LOCK,
    HOLDOUT_PARQUET,
    MODEL_FILE,
    PLOTS_FOLDER,
    PREDICTIONS_PARQUET,
    REPORT_MARKDOWN,
    TRAIN_PARQUET,
    VERDICT_JSON,
)
from modelyard.core.predictions import Predictions
from modelyard.gate.curves import write_curves
from modelyard.report import sections
from modelyard.report.importance import compute_importance
from modelyard.report.model_card import MODEL_CARD
from tests.library.report.verdict import VERDICT

SLICE = {"column": "color", "value": "red", "counts": {"rows": 500}, "blocks": True}
WORSE = {"difference": -0.03, "low": -0.05, "high": -0.01}
BETTER = {"difference": 0.01, "low": -0.01, "high": 0.03}


def test_build_metrics_section_primary_metric_comes_first() -> None:
    section = sections.build_metrics_section(VERDICT)
    assert section.rows[0][0] == "**roc_auc**"
    assert section.header[-1] == "difference [95 %]"


def test_build_rules_section_failed_rule_is_open() -> None:
    section = sections.build_rules_section(VERDICT)
    assert section.title == "Rules: 1 of 1 failed"
    assert not section.collapsed


def test_build_rules_section_all_passed_is_folded() -> None:
    section = sections.build_rules_section({"rules": [VERDICT["rules"][0] | {"passed": True}]})
    assert section.title == "Rules: all 1 passed"
    assert section.collapsed


@pytest.mark.parametrize(
    ("passed", "blocking", "emoji"), [(True, True, "✅"), (False, True, "❌"), (False, False, "⚠️")]
)
def test_format_rule_state_by_result(passed: bool, blocking: bool, emoji: str) -> None:
    assert sections.format_rule_state({"passed": passed, "blocking": blocking}) == emoji


def test_build_slices_section_worst_comes_first() -> None:
    slices = [SLICE | {"value": "blue", "difference": BETTER, "blocks": False}, SLICE | {"difference": WORSE}]
    section = sections.build_slices_section({"slices": slices})
    assert section is not None
    assert [row[0] for row in section.rows] == ["color = red", "color = blue"]
    assert not section.collapsed
    assert "--chart-alarm" in section.charts[0]


def test_build_slices_section_without_slices_is_none() -> None:
    assert sections.build_slices_section(VERDICT) is None


def test_build_changes_section_shows_before_and_now() -> None:
    section = sections.build_changes_section(VERDICT)
    assert section is not None
    assert list(section.rows[0]) == ["parameters", "`train.max_iter`", "150", "15"]


def test_build_changes_section_without_changes_is_none() -> None:
    assert sections.build_changes_section({"changes": {"data": {}}}) is None


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (["a", "b", "c"], ["a", "d"], ("b, c", "d")),
        (["a"], ["a", "b"], ("—", "b")),
        (["a", "b"], ["b", "a"], ("['a', 'b']", "['b', 'a']")),
        (150, None, ("150", "—")),
    ],
)
def test_format_change_of_lists_is_what_the_other_lacks(old: Any, new: Any, shown: tuple[str, str]) -> None:
    assert sections.format_change(old, new) == shown


def test_build_importance_section_shows_the_spread(project: Path, params: Params) -> None:
    section = sections.build_importance_section(params, compute_importance(params))
    assert section.header[-1] == "spread"
    assert all(row[2] >= 0 for row in section.rows)


def test_build_importance_section_names_useless_columns(params: Params) -> None:
    importance = [("useful", 0.2, 0.01), ("noise", 0.001, 0.002), ("harm", -0.01, 0.001)]
    text = sections.build_importance_section(params, importance).text
    assert "Nothing is lost without `noise`, `harm`" in text
    assert f"Of {len(params.data.features)} columns 3 were measured" in text


def test_build_explanation_section_explains_three_predictions(project: Path, params: Params) -> None:
    section = sections.build_explanation_section(params, params.data.features[:2])
    assert len(section.rows) == 3
    assert "(correlation " in section.text


@pytest.mark.parametrize(("correlation", "words"), [(0.95, "agree well"), (0.5, "agree badly")])
def test_describe_agreement_by_correlation(correlation: float, words: str) -> None:
    assert words in sections.describe_agreement(correlation)


def test_build_data_age_section_names_the_latest_row(project: Path, params: Params) -> None:
    rows = pd.read_parquet(TRAIN_PARQUET)
    section = sections.build_data_age_section(params)
    assert section is None or f"{rows[params.data.time].max():%Y-%m-%d}" in section.text


def test_compare_training_sets_one_class_is_none(project: Path, params: Params) -> None:
    rows = pd.read_parquet(TRAIN_PARQUET)
    one_class = rows[rows[params.data.target] == rows[params.data.target].iloc[0]]
    assert sections.compare_training_sets(params, one_class, rows) is None


def test_build_plots_section_candidate_alone(project: Path) -> None:
    section = sections.build_plots_section()
    assert len(section.charts) == len(list(PLOTS_FOLDER.glob("*.csv")))
    assert "champion" not in "".join(section.charts)
    assert "xychart-beta" in section.mermaid


def test_build_plots_section_with_curves_shows_both_models(project: Path, params: Params) -> None:
    truth = pd.read_parquet(HOLDOUT_PARQUET)[params.data.target]
    codes, scores = Predictions.from_parquet(PREDICTIONS_PARQUET).encode(truth)
    pairs: Any = SimpleNamespace(truth=codes, champion=scores[:, ::-1], candidate=scores)
    write_curves(pairs, ["champion", "candidate"])
    assert all("champion" in chart for chart in sections.build_plots_section().charts)


def test_build_plots_section_without_plots_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sections.build_plots_section().text == "No plots."


def test_draw_mermaid_interpolates_the_curve() -> None:
    text = sections.draw_mermaid("roc", pd.DataFrame({"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]}))
    assert 'x-axis "fpr" 0.00 --> 1.00' in text
    assert ", ".join(f"{value:.3f}" for value in np.linspace(0, 1, 21)) in text


def test_build_lineage_section_says_what_confined_the_models(project: Path) -> None:
    DVC_LOCK.write_text("stages: {}\n", encoding="utf-8")
    rows = sections.build_lineage_section(VERDICT | {"confinement": "landlock and seccomp"}).rows
    assert ["models' code confined by", "`landlock and seccomp`"] in rows


def test_build_lineage_section_of_a_dummy_says_none(project: Path) -> None:
    DVC_LOCK.write_text("stages: {}\n", encoding="utf-8")
    rows = sections.build_lineage_section(VERDICT).rows
    assert ["champion model", "`none (dummy)`"] in rows
    assert ["champion commit", "`none`"] in rows
    assert ["dvc.lock", f"`{sha256(DVC_LOCK)}`"] in rows


def test_main_writes_page_markdown_and_card(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DVC_LOCK.write_text("stages: {}\n", encoding="utf-8")
    candidate = {"model": sha256(MODEL_FILE), "commit": "c" * 40}
    write_json(VERDICT_JSON, VERDICT | {"candidate": candidate})
    monkeypatch.setattr(sections.lineage, "write_lineage", lambda: None)
    assert sections.main() == 0
    assert REPORT_MARKDOWN.read_text(encoding="utf-8").startswith("## ❌ Worse than the champion")
    assert sections.REPORT_PAGE.read_text(encoding="utf-8").count("<svg") >= len(list(PLOTS_FOLDER.glob("*.csv")))
    assert MODEL_CARD.exists() and read_json(VERDICT_JSON)["candidate"] == candidate
