"""Draw the charts of a report as inline SVG.

Matplotlib draws the charts. The page gets only their paths, circles and texts: no ids, no links, no style sheet.
Colours are CSS variables, so that the page switches between light and dark mode (`chart_css`).
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from warnings import catch_warnings, filterwarnings
from xml.etree import ElementTree

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 440  # pixels, of every chart
HEIGHT = 300
ROW_HEIGHT = 24
LEFT = 48  # margins in pixels
RIGHT = 18
TOP = 54
BOTTOM = 46
CHARACTER = 6.4  # pixels, width of a character of a row's label
LONGEST_LABEL = 26  # characters
LONGEST_TITLE = 52
TICKS = 5  # on each axis, approximately
DOT_RADIUS = 2.5

LIGHT = {
    "ink": "#1f2328",
    "label": "#59636e",
    "grid": "#d8dee4",
    "candidate": "#0969da",
    "champion": "#bc4c00",
    "reference": "#818b98",
    "alarm": "#cf222e",
}
DARK = {
    "ink": "#e6edf3",
    "label": "#9198a1",
    "grid": "#30363d",
    "candidate": "#4493f8",
    "champion": "#f0883e",
    "reference": "#7d8590",
    "alarm": "#f85149",
}
RULES = """\
svg.chart { max-width: 100%; height: auto; stroke-linejoin: round; }
svg.chart text { font-family: system-ui, sans-serif; font-variant-numeric: tabular-nums; }
"""
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT["grid"],
    "axes.formatter.limits": (-9, 9),
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": LIGHT["label"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "grid.color": LIGHT["grid"],
    "legend.labelcolor": LIGHT["label"],
    "lines.linewidth": 2,
    "lines.markersize": 2 * DOT_RADIUS,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "xtick.labelcolor": LIGHT["label"],
    "xtick.major.size": 0,
    "ytick.labelcolor": LIGHT["label"],
    "ytick.major.size": 0,
}
DRAWN_TAGS = ("path", "text")
DRAWN_ATTRIBUTES = ("d", "x", "y", "style")
DECIMALS = re.compile(r"-?\d+\.\d+")
SOLID: dict[str, Any] = {"color": LIGHT["candidate"], "zorder": 3}
DASHED: dict[str, Any] = {"color": LIGHT["champion"], "dashes": (4, 1.5), "zorder": 2.5}
MODELS = {"candidate": SOLID, "champion": DASHED}  # dashed too, for readers who cannot tell the colours apart
DOTTED: dict[str, Any] = {"color": LIGHT["reference"], "linewidth": 1.3, "dashes": (1, 2)}


class Interval(NamedTuple):
    """A row of an interval or bar chart: its label, its value, and the ends of its interval."""

    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PlotKind:
    """The title, axes, reference line and marks of one kind of model plot."""

    title: str
    x_label: str
    y_label: str
    reference: Literal["diagonal", "share of positives", "zero", "none"] = "none"
    reference_label: str = ""
    mark: Literal["line", "steps", "line and dots", "dots"] = "line"


PLOT_KINDS = {
    "roc": PlotKind("ROC curve", "false positive rate", "true positive rate", "diagonal", "chance"),
    "precision_recall": PlotKind(
        "Precision and recall", "recall", "precision", "share of positives", "chance", "steps"
    ),
    "calibration": PlotKind(
        "Calibration", "predicted probability", "observed share", "diagonal", "perfect", "line and dots"
    ),
    "residuals": PlotKind("Residuals", "predicted", "actual − predicted", "zero", mark="dots"),
    "scores": PlotKind("Distribution of predictions", "prediction", "density", mark="steps"),
}


def chart_css() -> str:
    """Return the stylesheet that a page with charts needs, for light and dark mode."""
    light = " ".join(f"--chart-{name}: {colour};" for name, colour in LIGHT.items())
    dark = " ".join(f"--chart-{name}: {colour};" for name, colour in DARK.items())
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{RULES}"


def draw_model_plot(name: str, points: Mapping[str, pd.DataFrame]) -> str:
    """Draw one plot of the evaluation with every model in it.

    Parameters
    ----------
    name
        A key of `PLOT_KINDS`.
    points
        By model ("candidate", "champion"), the points of its curve: shape (n, 2), x first.

    Returns
    -------
    str
        An `<svg>` element, `WIDTH` pixels wide.
    """
    kind = PLOT_KINDS[name]
    with chart_style():
        axes = create_axes(kind.title, kind.x_label, kind.y_label)
        draw_reference(axes, kind, points)
        for model, table in points.items():
            draw_points(axes, kind, model, table)
        axes.margins(0.02)
        if kind.mark == "steps":
            axes.set_ylim(bottom=0)
        add_legend(axes)
        return to_svg(axes, kind.title)


def draw_importance(title: str, x_label: str, rows: Sequence[Interval]) -> str:
    """Draw a bar for each row from zero to its value, with its interval as a thin line.

    Parameters
    ----------
    title, x_label
        What the chart shows, and the unit of its values; plain text.
    rows
        From the top down. Labels are plain text of any length.

    Returns
    -------
    str
        An `<svg>` element, `WIDTH` pixels wide.
    """
    with chart_style():
        axes = create_row_axes(title, x_label, rows)
        axes.barh(range(len(rows)), [row.value for row in rows], height=0.62, color=LIGHT["candidate"])
        for place, row in enumerate(rows):
            axes.plot([row.low, row.high], [place, place], color=LIGHT["ink"], linewidth=1)
        return to_svg(axes, title)


def draw_intervals(title: str, x_label: str, rows: Sequence[Interval]) -> str:
    """Draw a dot with its interval for each row; an interval wholly below zero has the alarm's colour.

    Parameters
    ----------
    title, x_label
        What the chart shows, and the unit of its values; plain text.
    rows
        From the top down. Labels are plain text of any length.

    Returns
    -------
    str
        An `<svg>` element, `WIDTH` pixels wide.
    """
    with chart_style():
        axes = create_row_axes(title, x_label, rows)
        for place, row in enumerate(rows):
            colour = LIGHT["alarm" if row.high < 0 else "candidate"]
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6)
            axes.plot([row.value], [place], "o", color=colour)
        return to_svg(axes, title)


def draw_time_series(
    title: str,
    y_label: str,
    times: Sequence[str],
    values: Sequence[float | None],
    limits: Sequence[float | None] = (),
    band: Sequence[tuple[float, float] | None] = (),
) -> str:
    """Draw a value over time; values above their limit have the alarm's colour.

    Parameters
    ----------
    title, y_label
        What the chart shows, and the unit of its values; plain text.
    times
        ISO 8601, evenly spaced, one for each value; shape (n,).
    values, limits
        Shape (n,); None where there is none. No limits at all draws none.
    band
        The interval of each value, shape (n,), or nothing.

    Returns
    -------
    str
        An `<svg>` element, `WIDTH` pixels wide.
    """
    with chart_style():
        axes = create_axes(title, "", y_label)
        x = np.arange(len(times))
        y = to_numbers(values)
        draw_band(axes, x, band)
        axes.plot(x, y, "o-", label="value", **SOLID)
        if any(limit is not None for limit in limits):
            draw_limits(axes, x, y, to_numbers(limits))
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        label_times(axes, times)
        add_legend(axes)
        return to_svg(axes, title)


@contextmanager
def chart_style() -> Iterator[None]:
    """Draw with the settings of this module, whatever the user's matplotlibrc says."""
    from matplotlib import style

    with style.context(["default", STYLE]), catch_warnings():
        filterwarnings("ignore", message="Glyph")  # the browser brings the font
        yield


def create_axes(
    title: str, x_label: str, y_label: str, *, height: int = HEIGHT, left: int = LEFT, top: int = TOP
) -> "Axes":
    """Return empty axes with title and labels, in a figure whose unit is the pixel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, frameon=False)
    axes_width = WIDTH - left - RIGHT
    axes_height = height - top - BOTTOM
    axes = figure.add_axes((left / WIDTH, BOTTOM / height, axes_width / WIDTH, axes_height / height))
    axes.patch.set_visible(False)
    figure.text(
        8 / WIDTH,
        1 - 18 / height,
        shorten(clean_text(title), LONGEST_TITLE),
        fontsize=13,
        fontweight="bold",
        color=LIGHT["ink"],
    )
    figure.text(8 / WIDTH, 1 - (top - 14) / height, clean_text(y_label), color=LIGHT["label"])
    axes.set_xlabel(clean_text(x_label))
    axes.locator_params(nbins=TICKS + 1)
    return axes


def create_row_axes(title: str, x_label: str, rows: Sequence[Interval]) -> "Axes":
    """Return axes with a labelled row for each interval, from the top down, and a line at zero."""
    labels = [shorten(clean_text(row.label), LONGEST_LABEL) for row in rows]
    left = 20 + round(CHARACTER * max(map(len, labels), default=0))
    top = 34
    height = top + BOTTOM + ROW_HEIGHT * max(len(rows), 1)
    axes = create_axes(title, x_label, "", height=height, left=left, top=top)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=LIGHT["reference"], linewidth=1.2)
    return axes


def draw_reference(axes: "Axes", kind: PlotKind, points: Mapping[str, pd.DataFrame]) -> None:
    """Draw the reference line of this kind of plot, if it has one."""
    first = next(iter(points.values())).to_numpy(dtype=float)
    if kind.reference == "diagonal":
        high = max(float(table.to_numpy(dtype=float).max()) for table in points.values())
        axes.plot([0, high], [0, high], label=kind.reference_label, **DOTTED)
    elif kind.reference == "share of positives":
        share = first[first[:, 0].argmax(), 1]  # the precision where every row is called positive
        axes.plot([0, 1], [share, share], label=kind.reference_label, **DOTTED)
    elif kind.reference == "zero":
        axes.axhline(0, color=LIGHT["reference"], linewidth=1.2)


def draw_points(axes: "Axes", kind: PlotKind, model: str, table: pd.DataFrame) -> None:
    """Draw the points of one model with the marks of this kind of plot."""
    x, y = table.to_numpy(dtype=float).T
    look = MODELS[model]
    if kind.mark == "dots":
        see_through = (look["color"], 0.45)
        axes.plot(x, y, "o", label=model, color=see_through, markeredgewidth=0, zorder=look["zorder"])
        return
    marker = "o" if kind.mark == "line and dots" else ""
    drawstyle = "steps-post" if kind.mark == "steps" else "default"
    axes.plot(x, y, label=model, marker=marker, drawstyle=drawstyle, **look)


def draw_band(axes: "Axes", x: np.ndarray, band: Sequence[tuple[float, float] | None]) -> None:
    """Draw the interval of each value as a vertical line."""
    for time, ends in zip(x, band, strict=False):
        if ends is not None:
            axes.plot([time, time], ends, color=LIGHT["candidate"], linewidth=1)


def draw_limits(axes: "Axes", x: np.ndarray, y: np.ndarray, limits: np.ndarray) -> None:
    """Draw the limits, and the values above them in the alarm's colour."""
    axes.plot(x, limits, label="limit", **DASHED)
    above = np.where(y > limits, y, np.nan)
    if np.isfinite(above).any():
        axes.plot(x, above, "o", label="above the limit", color=LIGHT["alarm"], zorder=4)


def label_times(axes: "Axes", times: Sequence[str]) -> None:
    """Label the x axis with a few of the times, including the last one: dates, or hours where they differ."""
    same_hour = len({time[11:16] for time in times}) == 1
    most = TICKS if same_hour else TICKS - 1
    places = range(len(times) - 1, -1, -(1 + len(times) // most))
    labels = [times[place][:10] if same_hour else times[place][5:16].replace("T", " ") for place in places]
    axes.set_xticks(list(places), labels)
    beside = max(0.5, 0.05 * len(times))  # keep the place of windows without a value
    axes.set_xlim(-beside, len(times) - 1 + beside)


def shorten_numbers(axes: "Axes") -> None:
    """Label the axes with 20k instead of 20000 and 5e-05 instead of 0.00005, to save space."""
    from matplotlib.ticker import EngFormatter, ScalarFormatter, StrMethodFormatter

    for axis in (axes.xaxis, axes.yaxis):
        greatest = max(map(abs, axis.get_view_interval()))
        if not isinstance(axis.get_major_formatter(), ScalarFormatter):
            continue
        if greatest >= 1e4:
            axis.set_major_formatter(EngFormatter(sep=""))
        elif greatest < 1e-3:
            axis.set_major_formatter(StrMethodFormatter("{x:.3g}"))


def add_legend(axes: "Axes") -> None:
    """Name the lines above the axes if there are several."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2:
        return
    place = (1 - RIGHT / WIDTH, 1 - (TOP - 23) / HEIGHT)
    options: dict[str, Any] = {"borderpad": 0, "borderaxespad": 0, "handlelength": 1.8, "columnspacing": 1.5}
    axes.figure.legend(handles, labels, loc="upper right", bbox_to_anchor=place, ncols=4, frameon=False, **options)


def to_numbers(values: Sequence[float | None]) -> np.ndarray:
    """Return values as floats, NaN where there is none; shape (n,)."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def clean_text(text: str) -> str:
    """Return text on one line, with a space for each character that XML cannot hold or that is invisible."""
    return "".join(character if character.isprintable() else " " for character in text)


def shorten(text: str, longest: int) -> str:
    """Return text cut to at most `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def to_svg(axes: "Axes", title: str) -> str:
    """Return the figure of the axes as an `<svg>` element for a page."""
    shorten_numbers(axes)
    buffer = io.StringIO()
    axes.figure.canvas.print_figure(buffer, format="svg")
    drawing = ElementTree.fromstring(buffer.getvalue())
    box = drawing.attrib["viewBox"]
    _, _, width, height = box.split()
    root = ElementTree.Element("svg", {"class": "chart", "role": "img", "viewBox": box})
    root.attrib.update(width=width, height=height)
    ElementTree.SubElement(root, "title").text = clean_text(title)
    root.extend(visible_elements(drawing))
    return ElementTree.tostring(root, encoding="unicode")


def visible_elements(element: ElementTree.Element) -> list[ElementTree.Element]:
    """Return the drawn elements inside an element, in order, without groups, definitions and references."""
    found = []
    for child in element:
        tag = local_name(child)
        if tag in DRAWN_TAGS:
            found.append(copy_element(child, tag))
        elif tag == "g" and any(local_name(mark) == "use" for mark in child):
            found.append(copy_dots(child))
        elif tag == "g":
            found.extend(visible_elements(child))
    return found


def local_name(element: ElementTree.Element) -> str:
    """Return the tag of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def copy_element(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    """Return an element with the attributes that a page needs, rounded to hundredths of a pixel."""
    copy = ElementTree.Element(tag)
    for name in DRAWN_ATTRIBUTES:
        if name in element.attrib:
            copy.set(name, DECIMALS.sub(round_match, element.attrib[name]))
    if "style" in copy.attrib:
        copy.set("style", recolour(copy.attrib["style"]))
    copy.text = element.text if tag == "text" else None
    return copy


def copy_dots(group: ElementTree.Element) -> ElementTree.Element:
    """Return a group of references to a marker as a group of circles, with their common style."""
    marks = [copy_element(mark, "circle") for mark in group]
    dots = ElementTree.Element("g", {"style": marks[0].attrib["style"]})
    for mark in marks:
        place = {"cx": mark.attrib["x"], "cy": mark.attrib["y"], "r": str(DOT_RADIUS)}
        ElementTree.SubElement(dots, "circle", place)
    return dots


def round_match(match: re.Match[str]) -> str:
    """Return the number that was found, rounded."""
    return f"{round(float(match[0]), 2):g}"


def recolour(style: str) -> str:
    """Return a style in the page's font, its colours as CSS variables."""
    kept = "; ".join(part for part in style.split("; ") if not part.startswith("font-family"))
    for name, colour in LIGHT.items():
        kept = kept.replace(colour, f"var(--chart-{name}, {colour})")
    return kept
