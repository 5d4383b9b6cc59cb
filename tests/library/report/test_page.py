from modelyard.report.page import (
    MAX_REPORT_CHARACTERS,
    Section,
    escape_cell,
    format_number,
    render_html,
    render_markdown,
    render_table,
)
from tests.library.report.verdict import VERDICT


def test_render_markdown_begins_with_verdict_and_notes() -> None:
    lines = render_markdown(VERDICT, []).splitlines()
    assert lines[0] == f"## ❌ {VERDICT['sentence']}"
    assert lines[2].startswith("> This branch changes the rules")


def test_render_markdown_collapsed_section_is_folded() -> None:
    text = render_markdown(VERDICT, [Section("Open", "", collapsed=False), Section("Quiet", "Nothing to see.")])
    assert "### Open" in text
    assert "<details><summary>Quiet</summary>" in text


def test_render_markdown_mermaid_is_a_code_block() -> None:
    assert "```mermaid\nxychart-beta\n```" in render_markdown(VERDICT, [Section("Plots", mermaid="xychart-beta")])


def test_render_markdown_stays_below_the_limit() -> None:
    long = Section("Long", "", ["a"], [["x" * 1000]] * 100)
    text = render_markdown(VERDICT, [long, Section("Short", "Fits.")])
    assert len(text) < MAX_REPORT_CHARACTERS
    assert "Short" in text and "Long" not in text


def test_escape_cell_cannot_break_out_of_its_table() -> None:
    assert escape_cell("a|b\n<img>") == "a\\|b &lt;img>"


def test_render_table_without_rows_is_empty() -> None:
    assert render_table(["a"], []) == ""


def test_format_number_by_type() -> None:
    values = [None, True, 12345, 0.123456, "text"]
    assert [format_number(value) for value in values] == ["—", "True", "12,345", "0.1235", "text"]


def test_render_html_escapes_data() -> None:
    page = render_html(VERDICT, [Section("<script>", "<b>text</b>", ["h"], [["<i>"]])])
    assert "<script>" not in page and "<i>" not in page
    assert "&lt;b&gt;" in page


def test_render_html_needs_no_emoji_font() -> None:
    page = render_html(VERDICT, [])
    assert "❌" not in page and "✗" in page


def test_render_html_has_the_charts_and_their_colours() -> None:
    page = render_html(VERDICT, [Section("Plots", charts=["<svg></svg>"])])
    assert '<div class="charts"><svg></svg></div>' in page
    assert "--chart-candidate:" in page


def test_render_html_loads_nothing() -> None:
    page = render_html(VERDICT, [Section("Rules", "text", ["rule"], [["floor"]])])
    assert "http://" not in page and "https://" not in page
