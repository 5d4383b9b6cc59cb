"""Finds the layout of a text file: its separator and quoting, and the lines in it that are no rows of the table."""

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import msgspec

from modelyard.data.dialect import ROW_NAMES, TRAILING_SEPARATOR, WHITESPACE, Layout
from modelyard.data.text_files import TextEnds, cut_at_spaces

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_LINE = "sep="  # the first line of a file that Excel is to open
MIN_SHARE = 0.9  # of the rows that have one width
MIN_UNIT_ROWS = 10
MAX_FOOTER_LINES = 10


class Row(NamedTuple):
    """A row of the beginning of a file: its cells, and the number of its first line and of the one after it."""

    cells: list[str]
    line: int
    end: int


class Cut(NamedTuple):
    """What a way to cut a file into columns makes of its beginning.

    Attributes
    ----------
    layout
        The way.
    rows
        The rows that are not blank.
    width
        The number of columns that most rows have.
    first
        The place of the row of names among the rows.
    share
        The share of the rows from there on that have that width.
    """

    layout: Layout
    rows: list[Row]
    width: int
    first: int
    share: float

    @property
    def rank(self) -> tuple[float, bool, bool, bool, int, float]:
        """What makes one way better: even rows, names for all columns that are no numbers, nothing before them."""
        names = self.rows[self.first].cells if self.rows else [""]
        has_names = not any(is_number(name) for name in names)
        return round(self.share, 1), has_names, len(names) == self.width, self.first == 0, self.width, self.share


def is_number(cell: str) -> bool:
    """Return whether a cell holds a number, also with a decimal comma."""
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True


def list_rows(lines: list[str], layout: Layout) -> Iterator[Row]:
    """Yield the rows of some lines that are not blank, as far as they can be cut."""
    if layout.separator == WHITESPACE:
        for number, line in enumerate(lines):
            if line.strip():
                yield Row(cut_at_spaces(line), number, number + 1)
        return
    reader = csv.reader(lines, delimiter=layout.separator, quotechar=layout.quote, escapechar=layout.escape or None)
    start = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Row(cells, start, reader.line_num)
            start = reader.line_num
    except csv.Error:
        return


def try_layout(lines: list[str], layout: Layout) -> Cut:
    """Return what a layout makes of the beginning of a file."""
    rows = [row for row in list_rows(lines, layout) if row.line >= layout.skip]
    widths = Counter(len(row.cells) for row in rows)
    width = max(widths, key=lambda found: (widths[found], found), default=0)
    if width < 2:
        return Cut(layout, rows, width, 0, 0.0)
    first = next(place for place, row in enumerate(rows) if len(row.cells) == width)
    is_short = first == 1 and len(rows[0].cells) == width - 1 > 1 and any(map(is_number, rows[1].cells))
    first = 0 if is_short else first
    body = rows[first + is_short :]
    return Cut(layout, rows, width, first, sum(len(row.cells) == width for row in body) / len(body))


def detect_layout(ends: TextEnds, wanted: dict[str, object]) -> Layout:
    """Return the layout of a text file.

    Parameters
    ----------
    ends
        Its encoding, beginning and end.
    wanted
        Fields of the layout that the user names; the others are looked for.
    """
    lines = ends.head.splitlines(keepends=True)
    if ends.tail:
        lines.pop()
    fixed = {"encoding": ends.encoding, **wanted}
    first_line = lines[0].strip().strip('"') if lines else ""
    if first_line.lower().startswith(SEPARATOR_LINE):
        fixed = {"separator": first_line[len(SEPARATOR_LINE) :] or "\t", "skip": 1, **fixed}
    base = msgspec.structs.replace(Layout(), **fixed)
    separators = (base.separator,) if "separator" in fixed else SEPARATORS
    escapes = ("", "\\") if '\\"' in ends.head else ("",)
    cuts = [
        try_layout(lines, msgspec.structs.replace(base, separator=separator, escape=escape))
        for separator, escape in product(separators, escapes)
    ]
    best = max(cuts, key=lambda cut: cut.rank)
    if best.share < MIN_SHARE and "separator" not in fixed:
        spaced = try_layout(lines, msgspec.structs.replace(base, separator=WHITESPACE))
        best = max(best, spaced, key=lambda cut: cut.rank)
    return find_other_lines(best, ends.tail.splitlines(keepends=True)[1:] or lines, wanted)


def find_other_lines(cut: Cut, last_lines: list[str], wanted: dict[str, object]) -> Layout:
    """Return the layout of a file with the lines that are no rows, as far as the user names none."""
    found: dict[str, object] = {}
    if not cut.share:
        return cut.layout
    names = cut.rows[cut.first]
    if "skip" not in wanted and cut.first:
        found["skip"] = names.line
    if cut.layout.header:
        found["units"] = int(has_units(cut))
        found["extra"] = find_extra_column(cut)
    found["comment"] = find_comment_mark(cut)
    if found["comment"] and all(row.cells[0].startswith("#") for row in cut.rows[: cut.first]):
        found["skip"] = cut.layout.skip
    if "footer" not in wanted:
        found["footer"] = count_footer_lines(cut, last_lines)
    return msgspec.structs.replace(cut.layout, **found)


def has_units(cut: Cut) -> bool:
    """Return whether the row below the names holds units: no number, though all rows below have some there."""
    rows = [row.cells for row in cut.rows[cut.first + 1 :] if len(row.cells) == cut.width]
    if len(rows) < MIN_UNIT_ROWS or any(map(is_number, rows[0])):
        return False
    numeric = [place for place in range(cut.width) if all(is_number(row[place]) for row in rows[1:])]
    return len(numeric) >= 2


def find_extra_column(cut: Cut) -> str:
    """Return the column that the rows have and the names have not; empty where there is none."""
    names, rows = cut.rows[cut.first].cells, cut.rows[cut.first + 1 :]
    if len(names) != cut.width - 1:
        return ""
    is_trailing = all(not row.cells[-1].strip() for row in rows)
    return TRAILING_SEPARATOR if is_trailing else ROW_NAMES


def find_comment_mark(cut: Cut) -> str:
    """Return `#` where lines that begin with it are no rows; empty where there is none, or some are rows."""
    marked = [row for row in cut.rows if row.cells[0].startswith("#")]
    is_comment = bool(marked) and all(len(row.cells) != cut.width for row in marked)
    return "#" if is_comment else ""


def count_footer_lines(cut: Cut, lines: list[str]) -> int:
    """Return how many lines after the last row are no rows: words that fill fewer columns.

    Parameters
    ----------
    cut
        The way to cut the file.
    lines
        The last lines of the file. A last row that was cut off is no footer.
    """
    rows = list(list_rows(lines, cut.layout))
    count = 0
    while count < len(rows) and len(rows[-1 - count].cells) < cut.width:
        count += 1
    if not 0 < count < min(len(rows), MAX_FOOTER_LINES):
        return 0
    footer, last = rows[-count:], rows[-1 - count]
    is_apart = footer[0].line > last.end
    has_words = all(any(letter.isalpha() for letter in "".join(row.cells)) for row in footer)
    is_single = all(len(row.cells) == 1 for row in footer)
    if is_apart or (has_words and is_single):
        return sum(row.end - row.line for row in footer)
    return 0
