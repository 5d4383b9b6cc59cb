from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from modelyard.core.params import Params, load_params
from modelyard.core.paths import MODEL_FILE
from modelyard.pipeline.model_file import load_model
from modelyard.report import importance, page, sections

VERDICT: dict[str, Any] = {
    "verdict": "worse",
    "decision": "block",
    "sentence": "Worse than the champion: roc_auc 0.69 against 0.71.",
    "notes": ["This branch changes the rules (`gate`); it was judged by the base's."],
    "primary": {"metric": "roc_auc", "margin": 0.01, "detectable": 0.012},
    "rows": {"compared": 4092},
    "metrics": [
        {"metric": name, "champion": 0.71, "candidate": 0.69, "difference": -0.02, "low": -0.03, "high": -0.01}
        for name in ("log_loss", "roc_auc")
    ],
    "rules": [{"name": "floor", "passed": False, "blocking": True, "sentence": "roc_auc 0.69 < 0.7"}],
    "slices": [],
    "changes": {"parameters": {"train.max_iter": [150, 15]}, "schema": {}, "data": {}},
}
PARTS = [sections.build_metrics_section(VERDICT), sections.build_rules_section(VERDICT)]


def test_markdown_starts_with_the_verdict_and_then_the_notes() -> None:
    lines = page.render_markdown(VERDICT, PARTS).splitlines()
    assert lines[0] == f"## ❌ {VERDICT['sentence']}" and lines[2].startswith("> This branch changes the rules")


def test_primary_metric_comes_first() -> None:
    assert PARTS[0].rows[0][0] == "**roc_auc**"


def test_failed_rules_are_open_and_the_rest_is_folded() -> None:
    text = page.render_markdown(VERDICT, [PARTS[1], page.Section("Quiet", "Nothing to see.")])
    assert "### Rules: 1 of 1 failed" in text and "<details><summary>Quiet</summary>" in text


def test_markdown_stays_below_the_limit() -> None:
    long = page.Section("Long", "", ["a"], [["x" * 1000]] * 100)
    text = page.render_markdown(VERDICT, [long, *PARTS])
    assert len(text) < page.MAX_REPORT_CHARACTERS and "Rules" in text and "Long" not in text


def test_a_cell_cannot_break_out_of_its_table() -> None:
    assert page.escape_cell("a|b\n<img>") == "a\\|b &lt;img>"


def test_html_escapes_what_comes_from_data() -> None:
    part = page.Section("<script>", "<b>text</b>", ["h"], [["<i>"]], collapsed=False)
    found_page = page.render_html(VERDICT, [part])
    assert "<script>" not in found_page and "<i>" not in found_page and "&lt;b&gt;" in found_page


def test_lineage_of_a_dummy_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "read_json", lambda _: {"sha256": "d"})
    monkeypatch.setattr(sections, "sha256", lambda _: "l")
    sides = {"champion": {"model": None, "commit": None, "source": "dummy"}, "candidate": {"model": "m", "commit": "c"}}
    rows = sections.build_lineage_section(VERDICT | sides | {"base": "b", "rules_from": "b"}).rows
    assert ["champion model", "`none (dummy)`"] in rows and ["champion commit", "`none`"] in rows


def test_changes_show_before_and_now() -> None:
    section = sections.build_changes_section(VERDICT)
    assert section is not None and list(section.rows[0]) == ["parameters", "`train.max_iter`", "150", "15"]


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (["a", "b", "c"], ["a", "d"], ("b, c", "d")),
        (["a"], ["a", "b"], ("—", "b")),
        (["a", "b"], ["b", "a"], ("['a', 'b']", "['b', 'a']")),
        (150, None, ("150", "—")),
    ],
)
def test_lists_are_shown_by_what_the_other_lacks(old: Any, new: Any, shown: tuple[str, str]) -> None:
    assert sections.format_change(old, new) == shown


def test_a_column_that_the_model_leans_on_moves_its_predictions(project: Path) -> None:
    params, rows = load_params(), pd.read_parquet("data/holdout.parquet").reset_index(drop=True)
    pipeline = load_model(MODEL_FILE)
    same = importance.compute_contributions(params, pipeline, rows, [3], rows.iloc[[3]])
    assert abs(same).max() < 1e-9  # its own values change nothing
    assert abs(importance.compute_contributions(params, pipeline, rows, list(range(9)), rows)).max() > 0


def test_the_report_explains_three_predictions_and_says_how_stable(project: Path) -> None:
    section = sections.build_explanation_section(load_params())
    assert len(section.rows) == 3 and "Two draws agree" in section.text
    assert sections.describe_agreement(0.95).startswith(
        "Two draws agree well"
    ) and "badly" in sections.describe_agreement(0.5)


def test_importance_comes_with_its_spread(project: Path) -> None:
    section = sections.build_importance_section(load_params())
    assert section.head[-1] == "spread" and all(row[2] >= 0 for row in section.rows)


def test_a_column_that_nothing_is_lost_without_is_named(monkeypatch: pytest.MonkeyPatch, params: Params) -> None:
    found = [("leant on", 0.2, 0.01), ("noise", 0.001, 0.002), ("harm", -0.01, 0.001)]
    monkeypatch.setattr(sections, "compute_importance", lambda _: found)
    assert "No loss without `noise`, `harm`" in sections.build_importance_section(params).text


def test_the_report_says_what_older_knowledge_costs(project: Path, params: Params) -> None:
    if not params.data.time:
        assert sections.build_data_age_section(params) is None
        return
    rows = pd.read_parquet("data/train.parquet")
    section = sections.build_data_age_section(params)
    assert section is None or f"{rows[params.data.time].max():%Y-%m-%d}" in section.text
