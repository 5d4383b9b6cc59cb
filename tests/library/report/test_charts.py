import os
import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from modelyard.report import charts
from modelyard.report.charts import Interval, draw_importance, draw_intervals, draw_model_plot, draw_time_series
from tests.library.support import LIBRARY

NASTY = "</title><script>alert(1)</script>\"'&amp; $x^2$ \x00\x1b\ud800\n_#0969da"
ROC = pd.DataFrame({"fpr": [0.0, 0.2, 1.0], "tpr": [0.0, 0.7, 1.0]})
PRECISION = pd.DataFrame({"recall": [1.0, 0.5, 0.0], "precision": [0.25, 0.6, 1.0]})
ROWS = [Interval(NASTY, -0.3, -0.4, -0.2), Interval("hour", 0.1, -0.1, 0.3)]
TIMES = ["2024-03-04T00:00:00+00:00", "2024-03-11T00:00:00+00:00", "2024-03-18T00:00:00+00:00"]


def draw_all() -> list[str]:
    both = {"champion": ROC, "candidate": ROC}
    plots = [draw_model_plot(name, both) for name in charts.PLOT_KINDS]
    rows = [draw_importance(NASTY, NASTY, ROWS), draw_intervals(NASTY, NASTY, ROWS)]
    series = draw_time_series(NASTY, NASTY, TIMES, [0.1, None, 0.4], [0.2, 0.2, 0.2], [(0.0, 0.2), None, None])
    return [*plots, *rows, series]


def read_texts(svg: str) -> list[str | None]:
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


def keep_axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that receives the axes of every chart that the test draws."""
    kept = []
    to_svg = charts.to_svg

    def keep_and_finish(axes: Any, title: str) -> str:
        kept.append(axes)
        return to_svg(axes, title)

    monkeypatch.setattr(charts, "to_svg", keep_and_finish)
    return kept


def test_charts_twice_same_bytes() -> None:
    assert draw_all() == draw_all()


def test_charts_own_matplotlibrc_same_bytes() -> None:
    import matplotlib as mpl

    before = draw_all()
    with mpl.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path"}):
        assert draw_all() == before


@pytest.mark.parametrize("svg", draw_all())
def test_svg_any_chart_is_one_element_without_references(svg: str) -> None:
    tags = {element.tag for element in ElementTree.fromstring(svg).iter()}
    assert tags <= {"svg", "title", "path", "text", "g", "circle"}
    assert not re.search(r"\bid=|href|url\(|http|xmlns|<!|<\?|font-family", svg)


@pytest.mark.parametrize("svg", draw_all())
def test_svg_any_chart_is_an_image_with_a_title(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img" and root[0].tag == "title" and root[0].text


@pytest.mark.parametrize("svg", draw_all())
def test_svg_any_chart_has_only_colours_of_the_page(svg: str) -> None:
    styles = " ".join(element.get("style", "") for element in ElementTree.fromstring(svg).iter())
    assert not re.search(r"#\w{6}", re.sub(r"var\(--chart-\w+, #\w{6}\)", "", styles))


def test_text_markup_is_inert() -> None:
    svg = draw_importance(NASTY, NASTY, ROWS)
    assert "<script" not in svg and "$x^2$" in svg
    assert svg.count("<title>") == 1


def test_text_colour_in_a_name_stays() -> None:
    assert "#0969da" in read_texts(draw_importance("", "#0969da", ROWS))


def test_text_long_label_is_cut() -> None:
    assert "a" * 25 + "…" in read_texts(draw_intervals("", "", [Interval("a" * 80, 1, 0, 2)]))


def test_text_long_title_stays_whole_for_screen_readers() -> None:
    assert ElementTree.fromstring(draw_intervals("a" * 80, "", ROWS))[0].text == "a" * 80


def test_draw_model_plot_two_models_are_named() -> None:
    texts = read_texts(draw_model_plot("roc", {"champion": ROC, "candidate": ROC}))
    assert {"chance", "champion", "candidate"} <= set(texts)


def test_draw_model_plot_one_model_has_no_champion() -> None:
    assert "champion" not in draw_model_plot("calibration", {"candidate": ROC})


def test_draw_model_plot_chance_is_the_share_of_positives(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = keep_axes(monkeypatch)
    draw_model_plot("precision_recall", {"candidate": PRECISION})
    assert list(axes[0].lines[0].get_ydata()) == [0.25, 0.25]


def test_draw_model_plot_one_point_is_drawn() -> None:
    assert draw_model_plot("calibration", {"champion": ROC[:1], "candidate": ROC}).count("<circle") == 6


def test_draw_intervals_loss_has_the_alarm_colour() -> None:
    assert "--chart-alarm" in draw_intervals("", "", ROWS[:1])
    assert "--chart-alarm" not in draw_intervals("", "", ROWS[1:])


def test_draw_intervals_no_rows_is_empty() -> None:
    assert "<circle" not in draw_intervals("slices", "", [])


def test_draw_time_series_gap_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = keep_axes(monkeypatch)
    draw_time_series("", "", TIMES, [1.0, None, 2.0])
    assert pd.isna(axes[0].lines[0].get_ydata()).tolist() == [False, True, False]


def test_draw_time_series_above_limit_is_named() -> None:
    assert "above the limit" in draw_time_series("", "", TIMES, [0.1, 0.1, 0.3], [0.2, None, 0.2])
    assert "above the limit" not in draw_time_series("", "", TIMES, [0.1, 0.9, 0.2], [0.2, None, 0.2])


def test_draw_time_series_dates_include_the_last_window() -> None:
    assert "2024-03-18" in read_texts(draw_time_series("", "", TIMES, [1.0, 2.0, 3.0]))


def test_draw_time_series_last_window_without_value_has_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = keep_axes(monkeypatch)
    draw_time_series("", "", TIMES, [1.0, 2.0, None])
    assert axes[0].get_xlim()[1] > 2


def test_draw_time_series_hours_are_shown_within_a_day() -> None:
    times = [f"2024-03-04T{hour:02}:00:00+00:00" for hour in range(24)]
    assert "03-04 23:00" in read_texts(draw_time_series("", "", times, [1.0] * 24))


def test_draw_time_series_no_value_at_all_is_empty() -> None:
    assert "<circle" not in draw_time_series("", "", TIMES, [None, None, None], [None, None, None])


def test_draw_time_series_one_window_is_a_dot() -> None:
    assert draw_time_series("", "", TIMES[:1], [3.0]).count("<circle") == 1


def test_numbers_large_are_short() -> None:
    assert "20k" in read_texts(draw_time_series("", "", TIMES, [20000.0, 0.0, 20000.0]))


def test_numbers_small_are_whole() -> None:
    texts = read_texts(draw_time_series("", "", TIMES, [2e-5, 0.0, 2e-5]))
    assert "2e−05" in texts


def test_chart_css_names_every_colour_in_both_modes() -> None:
    css = charts.chart_css()
    assert charts.LIGHT.keys() == charts.DARK.keys()
    assert all(css.count(f"--chart-{name}:") == 2 for name in charts.LIGHT)


def test_light_colours_differ() -> None:
    assert len(set(charts.LIGHT.values())) == len(charts.LIGHT)
    assert "#000000" not in charts.LIGHT.values()  # matplotlib leaves black out of the file


def test_import_charts_leaves_matplotlib_alone() -> None:
    code = "import sys, modelyard.report.charts; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(LIBRARY / "src")})
