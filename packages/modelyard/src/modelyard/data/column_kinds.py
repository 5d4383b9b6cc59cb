"""The kinds of values that the text of a column may hold, and how each becomes a typed array."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

TEXT = "text"
WHOLE_NUMBER = "whole numbers"
NUMBER = "numbers"
TRUTH_VALUE = "true and false, as 1 and 0"
DECIMAL_COMMA = "decimal commas"
THOUSANDS_COMMA = "commas at the thousands"
ISO_TIME = "ISO8601"
CODE_PATTERN = r"^[+-]?(0[0-9xX]|[0-9]{19})"  # a leading zero or very many digits make a code, not a number
DATE_FORMATS = ("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%d-%b-%Y", "%d %b %Y")
TIME_FORMATS = (ISO_TIME, *(date + clock for date in DATE_FORMATS for clock in ("", " %H:%M", " %H:%M:%S")))
PROBE_ROWS = 100


def parse_number(values: pa.Array, to: str) -> pa.Array:
    """Return text as numbers of an Arrow type; raise an `ArrowInvalid` where it holds codes such as 007."""
    if pc.any(pc.match_substring_regex(values, CODE_PATTERN)).as_py():
        raise pa.ArrowInvalid("the values are codes")
    return pc.cast(values, to)


def parse_grouped_number(values: pa.Array, mark: str, point: str) -> pa.Array:
    """Return text such as 1.234,5 as float64; raise an `ArrowInvalid` where it is written otherwise.

    Parameters
    ----------
    values
        Text without missing values.
    mark
        The mark at the thousands.
    point
        The decimal point.
    """
    pattern = rf"^[+-]?([0-9]{{1,3}}(\{mark}[0-9]{{3}})+|[0-9]+)(\{point}[0-9]*)?$"
    if not pc.all(pc.match_substring_regex(values, pattern), min_count=0).as_py():
        raise pa.ArrowInvalid(f"the values do not have {mark} at the thousands")
    without_marks = pc.replace_substring(values, mark, "")
    return parse_number(pc.replace_substring(without_marks, point, "."), "float64")


def parse_truth_value(values: pa.Array) -> pa.Array:
    """Return text such as true and false as 1 and 0."""
    return pc.cast(pc.cast(values, "bool"), "int64")


def parse_times(values: pa.Array, layout: str) -> pa.Array:
    """Return text of one layout as times in microseconds; in UTC where they have a zone."""
    times = pd.to_datetime(values.to_pandas(), format=layout, utc=True).dt.tz_localize(None)
    return pa.array(times.astype("datetime64[us]"), pa.timestamp("us"))


def keep_text(values: pa.Array) -> pa.Array:
    """Return text as it is."""
    return values


# In the order in which they are tried.
COLUMN_PARSERS: dict[str, Callable[[pa.Array], pa.Array]] = {
    WHOLE_NUMBER: partial(parse_number, to="int64"),
    NUMBER: partial(parse_number, to="float64"),
    TRUTH_VALUE: parse_truth_value,
    **{layout: partial(parse_times, layout=layout) for layout in TIME_FORMATS},
    DECIMAL_COMMA: partial(parse_grouped_number, mark=".", point=","),
    THOUSANDS_COMMA: partial(parse_grouped_number, mark=",", point="."),
    TEXT: keep_text,
}


def matches_kind(values: pa.Array, kind: str) -> bool:
    """Return whether values without gaps are of a kind; the first ones decide quickly for most kinds."""
    parse = COLUMN_PARSERS[kind]
    try:
        parse(values.slice(0, PROBE_ROWS))
        parse(values)
    except ValueError:  # the base class of Arrow's and pandas' own errors
        return False
    return True
