"""Render a report as Markdown for GitHub and as one self-contained HTML page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from modelyard.report.charts import chart_css

EMOJI_FALLBACKS = {"✅": "✓", "⚠️": "!", "❌": "✗"}  # a page must not depend on an emoji font
MAX_REPORT_CHARACTERS = 60_000  # GitHub refuses a comment of 65,536 characters
DECISION_EMOJI = {"pass": "✅", "warn": "⚠️", "block": "❌"}
PAGE_STYLE = """\
:root { color-scheme: light dark; --ink: #1f2328; --rule: #d8dee4; --page: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --rule: #30363d; --page: #0d1117; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0; display: block; overflow-x: auto;
  font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--rule); padding: .25rem .6rem; text-align: left; } th { font-weight: 600; }
.charts { display: flex; flex-wrap: wrap; align-items: flex-start; gap: .5rem 1rem; } code { font-size: 90%; }
"""
TableRows = Sequence[Sequence[Any]]


@dataclass
class Section:
    """A part of the report: a text, a table and charts.

    Parameters
    ----------
    title, text
        Text with Markdown's bold and code; it is escaped in HTML.
    header, rows
        The table: the names of its columns, and a cell for each of them in every row.
    collapsed
        Whether Markdown folds the section.
    charts
        `<svg>` elements, in HTML only.
    mermaid
        The source of a Mermaid chart, in Markdown only.
    """

    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: TableRows = ()
    collapsed: bool = True
    charts: list[str] = field(default_factory=list)
    mermaid: str = ""


def render_inline(text: str) -> str:
    """Return text as HTML: escaped, with Markdown's bold and code."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", bold)


def format_number(value: Any) -> str:
    """Return a number with four significant digits or thousands separators, a dash for None, else the value as text."""
    if value is None:
        return "—"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def format_difference(item: dict[str, Any]) -> str:
    """Return a difference with its interval; an end that is not known is a dash."""
    low, high = ("—" if item[end] is None else f"{item[end]:+.4f}" for end in ("low", "high"))
    return f"{item['difference']:+.4f} [{low}, {high}]"


def escape_cell(value: Any) -> str:
    """Return a value as text that cannot break out of its cell of a Markdown table."""
    return format_number(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def render_table(header: Sequence[str], rows: TableRows) -> str:
    """Return a Markdown table, or an empty text without rows."""
    if not rows:
        return ""
    lines = [header, ["---"] * len(header)]
    lines += [[escape_cell(value) for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render_markdown(verdict: dict[str, Any], sections: Sequence[Section]) -> str:
    """Return the report for GitHub: the verdict, its notes, then the sections.

    Parameters
    ----------
    verdict
        With `decision` ("pass", "warn" or "block"), `sentence` and `notes`.
    sections
        Those that matter most first: a section is left out when the report would grow longer than GitHub accepts.
    """
    text = f"## {DECISION_EMOJI[verdict['decision']]} {verdict['sentence']}\n"
    text += "".join(f"\n> {note}\n" for note in verdict["notes"])
    for section in sections:
        block = render_markdown_section(section)
        if len(text) + len(block) < MAX_REPORT_CHARACTERS:
            text += block
    return text


def render_markdown_section(section: Section) -> str:
    """Return a section as Markdown, folded if it is collapsed."""
    mermaid = f"```mermaid\n{section.mermaid}\n```" if section.mermaid else ""
    parts = [section.text, render_table(section.header, section.rows), mermaid]
    body = "\n\n".join(part for part in parts if part)
    if section.collapsed:
        return f"\n<details><summary>{section.title}</summary>\n\n{body}\n\n</details>\n"
    return f"\n### {section.title}\n\n{body}\n"


def render_html(verdict: dict[str, Any], sections: Sequence[Section]) -> str:
    """Return the report as one self-contained HTML page with charts.

    Parameters
    ----------
    verdict
        With `decision` ("pass", "warn" or "block"), `sentence` ("title: numbers") and `notes`.
    sections
        All of them are shown, in this order.
    """
    title, _, numbers = verdict["sentence"].partition(": ")
    body = f"<h1>{DECISION_EMOJI[verdict['decision']]} {escape(title)}</h1><p>{escape(numbers)}</p>"
    body += "".join(f"<p>{render_inline(note)}</p>" for note in verdict["notes"])
    body += "".join(render_html_section(section) for section in sections)
    for emoji, plain in EMOJI_FALLBACKS.items():
        body = body.replace(emoji, plain)
    return wrap_page(title, body)


def render_html_section(section: Section) -> str:
    """Return a section as HTML: heading, text, table, charts."""
    text = f"<p>{render_inline(section.text)}</p>" if section.text else ""
    charts = f'<div class="charts">{"".join(section.charts)}</div>' if section.charts else ""
    table = render_html_table(section.header, section.rows)
    return f"<section><h2>{escape(section.title)}</h2>{text}{table}{charts}</section>"


def render_html_table(header: Sequence[str], rows: TableRows) -> str:
    """Return an HTML table, or an empty text without rows."""
    if not rows:
        return ""
    lines = ["".join(f"<th>{escape(name)}</th>" for name in header)]
    for row in rows:
        lines.append("".join(f"<td>{render_inline(format_number(value))}</td>" for value in row))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def wrap_page(title: str, body: str) -> str:
    """Return a self-contained HTML page around a body that is HTML already."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{PAGE_STYLE}{chart_css()}</style></head>\n'
        f"<body>{body}</body></html>\n"
    )
