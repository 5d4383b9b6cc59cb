"""TODO doc."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from modelyard.report import charts

EMOJI_FALLBACKS = {"✅": "✓", "⚠️": "!", "❌": "✗"}  # a page must not depend on an emoji font
MAX_REPORT_CHARACTERS = 60_000  # GitHub refuses a comment of 65,536 characters
DECISION_EMOJI = {"pass": "✅", "warn": "⚠️", "block": "❌"}
TableRows = Sequence[Sequence[Any]]


@dataclass
class Section:
    """A part of the report: a sentence, a table and charts; folded unless it is remarkable."""

    title: str
    text: str = ""
    head: Sequence[str] = ()
    rows: TableRows = ()
    collapsed: bool = True
    charts: list[str] = field(default_factory=list)
    mermaid: str = ""


def render_inline(text: str) -> str:
    """Escaped text with Markdown's bold and code."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", bold)


def format_number(value: Any) -> str:
    """A number as people read it, anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "—" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def format_difference(item: dict[str, Any]) -> str:
    """A difference with its interval."""
    return f"{item['difference']:+.4f} [{item['low']:+.4f}, {item['high']:+.4f}]"


def escape_cell(value: Any) -> str:
    """A value that cannot break out of its cell of a Markdown table."""
    return format_number(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def render_table(head: Sequence[str], rows: TableRows) -> str:
    """A Markdown table; nothing where there are no rows."""
    lines = [head, ["---"] * len(head), *([escape_cell(v) for v in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines if rows)


def render_markdown(verdict: dict[str, Any], parts: list[Section]) -> str:
    """The report for GitHub: verdict first, then the parts; the last ones are left out before it grows too long."""
    text = f"## {DECISION_EMOJI[verdict['decision']]} {verdict['sentence']}\n"
    text += "".join(f"\n> {note}\n" for note in verdict["notes"])
    for part in parts:
        drawn = f"```mermaid\n{part.mermaid}\n```" if part.mermaid else ""
        body = "\n\n".join(filter(None, [part.text, render_table(part.head, part.rows), drawn]))
        block = f"\n### {part.title}\n\n{body}\n"
        if part.collapsed:
            block = f"\n<details><summary>{part.title}</summary>\n\n{body}\n\n</details>\n"
        if len(text) + len(block) < MAX_REPORT_CHARACTERS:
            text += block
    return text


def render_html(verdict: dict[str, Any], parts: list[Section]) -> str:
    """The report as one self-contained page with plots."""
    words, _, numbers = verdict["sentence"].partition(": ")
    body = f"<h1>{DECISION_EMOJI[verdict['decision']]} {escape(words)}</h1><p>{escape(numbers)}</p>"
    body += "".join(f"<p>{render_inline(note)}</p>" for note in verdict["notes"])
    for part in parts:
        inside = f"<p>{render_inline(part.text)}</p>" if part.text else ""
        if part.rows:
            head = "".join(f"<th>{escape(name)}</th>" for name in part.head)
            lines = "".join(
                f"<tr>{''.join(f'<td>{render_inline(format_number(v))}</td>' for v in row)}</tr>" for row in part.rows
            )
            inside += f"<table><tr>{head}</tr>{lines}</table>"
        if part.charts:
            inside += f'<div class="charts">{"".join(part.charts)}</div>'
        body += f"<section><h2>{escape(part.title)}</h2>{inside}</section>"
    for sign, plain in EMOJI_FALLBACKS.items():
        body = body.replace(sign, plain)
    return charts.page(words, body)
