"""The kinds of values that the text of a column may hold, and how each becomes a typed array.

A kind is a text, which schema.yaml keeps under `dialect.formats` where the column's type does not imply it: a name such
as `whole numbers`, a layout of times as `strptime` takes it, or the way in which a column writes 1234.5, such as
`1.234,5`, `$1,234.5`, `1,234.5 km` or `(1,234.5)`, where parentheses make a number negative.
"""

import re
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

TEXT = "text"
WHOLE_NUMBER = "whole numbers"
NUMBER = "numbers"
TRUTH_VALUE = "true and false, as 1 and 0"
ISO_TIME = "ISO8601"
ISO_WEEK = "%G-W%V"
UTC_CLOCK = "%Y-%m-%d %H:%M:%S UTC"
DECIMAL_COMMA = "1.234,5"
THOUSANDS_COMMA = "1,234.5"
CODE_PATTERN = r"^[+-]?(0[0-9xX]|[0-9]{19})"  # a leading zero or very many digits make a code, not a number
PROBE_ROWS = 100

DATE_FORMATS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b-%d-%Y"),
)
CLOCK_FORMATS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
MONTH_FORMATS = ("%Y-%b", "%b-%Y", "%b %Y", "%B %Y")
DATED_FORMATS = (*(date + clock for date in DATE_FORMATS for clock in CLOCK_FORMATS), *MONTH_FORMATS)
DATE_SHAPE = re.compile(r"\d{1,2}[-/. ](\d{1,2}|[a-z]{3,9})[-/. ]\d|\d{4}-[a-z]{3}|[a-z]{3,9}[- ]\d", re.IGNORECASE)
OFFSET_PATTERN = r":[0-9]{2}([.][0-9]+)?[+-][0-9]{2}:?[0-9]{2}$"
# Times as a number since 1970, with the numbers that are plausible: the years 1973 (2001) to 2100.
EPOCHS = {
    "seconds since 1970": ("s", 1e8, 4.1e9),
    "milliseconds since 1970": ("ms", 1e12, 4.1e12),
    "microseconds since 1970": ("us", 1e15, 4.1e15),
}
TIME_KINDS = (*EPOCHS, ISO_TIME, UTC_CLOCK, ISO_WEEK, *DATED_FORMATS)

CURRENCY = r"(?:[A-Z]{0,2}\$|[€£¥₹₽₩₪₺฿]|USD|EUR|GBP|CHF|JPY|Rs\.?|kr\.?)"
UNIT = rf"(?:[%‰]|°?[^\W\d_][^\W\d_/²³]{{0,11}}|°|{CURRENCY})"
MARKED_VALUE = re.compile(
    rf"\(?[+-]?(?P<prefix>(?:{CURRENCY} ?)?)[+-]?[0-9][0-9.,' ]*?(?P<suffix>(?: ?{UNIT})?)\)?", re.UNICODE
)
NUMBER_FORMAT = re.compile(
    r"(?P<parenthesis>\(?)(?P<prefix>\D*)1(?P<mark>\D)234(?P<point>[.,])5(?P<suffix>[^\d()]*)\)?"
)
MARKS = ((",", "."), (".", ","), (" ", ","), (" ", "."), ("'", "."))
SPACES = "[\u00a0\u202f\u2009]"  # the spaces that separate thousands in print
PLAIN_NUMBER_FORMATS = (DECIMAL_COMMA, THOUSANDS_COMMA)  # not in doubt, so nobody is asked


class NumberFormat(NamedTuple):
    """How a column writes numbers; see `NUMBER_FORMAT`."""

    parenthesis: str
    prefix: str
    mark: str
    point: str
    suffix: str


@cache
def read_number_format(kind: str) -> NumberFormat | None:
    """Return how numbers of a kind such as `$1,234.5` are written; None for other kinds."""
    match = NUMBER_FORMAT.fullmatch(kind)
    return NumberFormat(**match.groupdict()) if match else None


def parse_number(values: pa.Array, to: str) -> pa.Array:
    """Return text as numbers of an Arrow type; raise an `ArrowInvalid` where it holds codes such as 007."""
    if pc.any(pc.match_substring_regex(values, CODE_PATTERN)).as_py():
        raise pa.ArrowInvalid("the values are codes")
    return pc.cast(values, to)


def parse_formatted_number(values: pa.Array, form: NumberFormat) -> pa.Array:
    """Return text such as 1.234,5 as float64; raise an `ArrowInvalid` where it is written otherwise."""
    prefix, suffix, mark, point = (re.escape(part) for part in form[1:2] + form[4:5] + form[2:4])
    digits = rf"([0-9]{{1,3}}({mark}[0-9]{{3}})+|[0-9]+)({point}[0-9]*)?([eE][+-]?[0-9]+)?"
    sign = "[(+-]" if form.parenthesis else "[+-]"
    pattern = rf"^{sign}?{prefix}[+-]?{digits}{suffix}\)?$"
    text = pc.replace_substring_regex(values, SPACES, " ") if form.mark == " " else values
    if not pc.all(pc.match_substring_regex(text, pattern), min_count=0).as_py():
        raise pa.ArrowInvalid(f"the values do not have {form.mark} at the thousands")
    for part in (form.prefix, form.suffix, form.mark, ")"):
        text = pc.replace_substring(text, part, "") if part else text
    text = pc.replace_substring(pc.replace_substring(text, "(", "-"), form.point, ".")
    return parse_number(text, "float64")


def parse_truth_value(values: pa.Array) -> pa.Array:
    """Return text such as true and false as 1 and 0."""
    return pc.cast(pc.cast(values, "bool"), "int64")


def parse_times(values: pa.Array, layout: str) -> pa.Array:
    """Return text of one layout as times in microseconds; in UTC where they have a zone."""
    texts = values.to_pandas()
    if layout == ISO_WEEK:  # a week begins on Monday
        texts, layout = texts + "-1", f"{ISO_WEEK}-%u"
    times = pd.to_datetime(texts, format=layout, utc=True).dt.tz_localize(None)
    return pa.array(times.astype("datetime64[us]"), pa.timestamp("us"))


def parse_epoch(values: pa.Array, unit: str, low: float, high: float) -> pa.Array:
    """Return numbers since 1970 as times in microseconds; raise an `ArrowInvalid` outside of the plausible range."""
    numbers = pc.cast(values, "float64")
    if not pc.all(pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high)), min_count=0).as_py():
        raise pa.ArrowInvalid("the numbers are no plausible times")
    factor = {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]
    micros = pc.cast(pc.round(pc.multiply(numbers, float(factor))), "int64")
    return pc.cast(micros, pa.timestamp("us"))


def parse_whole_number(values: pa.Array) -> pa.Array:
    """Return text as int64, also where a whole number is written as 3.0."""
    try:
        return parse_number(values, "int64")
    except pa.ArrowInvalid:
        return pc.cast(parse_number(values, "float64"), "int64")


def keep_text(values: pa.Array) -> pa.Array:
    """Return text as it is."""
    return values


@cache
def get_parser(kind: str) -> Callable[[pa.Array], pa.Array]:
    """Return the function that turns text of a kind into a typed array; what no other kind is named is times."""
    number_format = read_number_format(kind)
    if number_format:
        return partial(parse_formatted_number, form=number_format)
    if kind in EPOCHS:
        unit, low, high = EPOCHS[kind]
        return partial(parse_epoch, unit=unit, low=low, high=high)
    plain: dict[str, Callable[[pa.Array], pa.Array]] = {
        TEXT: keep_text,
        WHOLE_NUMBER: partial(parse_number, to="int64"),
        NUMBER: partial(parse_number, to="float64"),
        TRUTH_VALUE: parse_truth_value,
    }
    return plain.get(kind) or partial(parse_times, layout=kind)


def matches_kind(values: pa.Array, kind: str) -> bool:
    """Return whether values without gaps are of a kind; the first ones decide quickly for most kinds."""
    parse = get_parser(kind)
    try:
        parse(values.slice(0, PROBE_ROWS))
        parse(values)
    except ValueError:  # the base class of Arrow's and pandas' own errors
        return False
    return True


def select_kinds(values: pa.Array, kinds: list[str]) -> list[str]:
    """Return those of the kinds that some values without gaps have; what is a plain number need not be tried again."""
    kept: list[str] = []
    for kind in kinds:
        number_format = read_number_format(kind)
        is_implied = NUMBER in kept and (
            kind == THOUSANDS_COMMA or (number_format is not None and WHOLE_NUMBER in kept and not number_format.prefix)
        )
        is_implied = is_implied and not (number_format and number_format.suffix)
        if is_implied or (kind == NUMBER and WHOLE_NUMBER in kept) or matches_kind(values, kind):
            kept.append(kind)
    return kept


def propose_kinds(value: str, separator: str) -> list[str]:
    """Return the kinds that a column may have whose first value is this one, in the order in which they are tried.

    Parameters
    ----------
    value
        A value of the column.
    separator
        The separator of the columns, which decides whether a comma is more likely a decimal point.
    """
    impossible = DECIMAL_COMMA if separator == "," else THOUSANDS_COMMA
    formats = [kind for kind in propose_number_formats(value) if kind != impossible]
    return [WHOLE_NUMBER, NUMBER, TRUTH_VALUE, *propose_time_kinds(value)[len(EPOCHS) :], *formats, TEXT]


def propose_time_kinds(value: str) -> list[str]:
    """Return the kinds of times that a column may have whose first value is this one."""
    dated = DATED_FORMATS if DATE_SHAPE.match(value) else ()
    return [*EPOCHS, ISO_TIME, UTC_CLOCK, ISO_WEEK, *dated]


def propose_number_formats(value: str) -> list[str]:
    """Return the formats of numbers that a column may have whose first value is this one."""
    match = MARKED_VALUE.fullmatch(re.sub(SPACES, " ", value))
    if not match:
        return []
    prefix, suffix = match["prefix"], match["suffix"]
    formats = [f"{prefix}1{mark}234{point}5{suffix}" for mark, point in MARKS]
    return [*formats, *(f"({form})" for form in formats)]


def is_doubtful(kind: str) -> bool:
    """Return whether a kind is a format of numbers that only its owner can confirm: with units, or with odd marks."""
    return read_number_format(kind) is not None and kind not in PLAIN_NUMBER_FORMATS


def is_time(kind: str) -> bool:
    """Return whether a kind is one of times."""
    return kind in TIME_KINDS


def describe_kind(kind: str) -> str:
    """Return what a column of a kind was understood as, for the user."""
    if kind in EPOCHS:
        return f"times: {kind}, in UTC"
    if kind == ISO_WEEK:
        return "times: weeks such as 2024-W05, as their Monday"
    if is_time(kind):
        return f"times such as {kind}"
    return f"numbers written as {kind}" if read_number_format(kind) else kind


def kind_of_dtype(dtype: str) -> str:
    """Return the kind of text that a column of a pandas dtype is read from, where its format is not said."""
    name = dtype.lower()
    if name.startswith(("int", "uint")):
        return WHOLE_NUMBER
    if name.startswith("float"):
        return NUMBER
    if name.startswith("bool"):
        return TRUTH_VALUE
    return ISO_TIME if name.startswith("datetime") else TEXT
