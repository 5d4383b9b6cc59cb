"""What text values are: numbers, times or text, told by every value of a column and not by the first ones."""

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# What pandas takes for missing, and the question mark of the UCI tables.
MISSING = (
    *("", "?", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "<NA>"),
    *("#N/A", "#NA", "#N/A N/A", "1.#QNAN", "-1.#QNAN", "1.#IND", "-1.#IND"),
)
WHOLE, NUMBER, BOOL, TEXT = "whole numbers", "numbers", "true and false, as 1 and 0", "text"
COMMA, MARKED = "decimal commas", "commas at the thousands"
PATTERNS = {  # a leading zero makes a code, and a double has but 15 digits
    BOOL: r"^(?i:true|false)$",
    WHOLE: r"^[+-]?(0|[1-9][0-9]{0,17})$",
    NUMBER: r"^[+-]?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$|^[+-]?(?i:inf|infinity)$",
    COMMA: r"^[+-]?(0|[1-9][0-9]{0,2}(\.[0-9]{3})+|[1-9][0-9]{0,14})(,[0-9]*)?$",
    MARKED: r"^[+-]?(0|[1-9][0-9]{0,2}(,[0-9]{3})+|[1-9][0-9]{0,14})(\.[0-9]*)?$",
}
PLAIN = (TEXT, NUMBER, WHOLE, "times")  # nothing to tell
ISO, ZONED = "times", "times with a zone, in UTC"
ISO_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)?"
DATES = {
    "%Y-%m-%d": "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}",
    "%Y/%m/%d": "[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}",
    "%m/%d/%Y": "[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}",
    "%d/%m/%Y": "[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}",
    "%m/%d/%y": "[0-9]{1,2}/[0-9]{1,2}/[0-9]{2}",
    "%d.%m.%Y": r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}",
    "%d-%m-%Y": "[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}",
    "%d-%b-%Y": "[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}",
    "%d %b %Y": "[0-9]{1,2} [A-Za-z]{3} [0-9]{4}",
}
CLOCKS = {"": "", " %H:%M": " [0-9]{1,2}:[0-9]{2}", " %H:%M:%S": " [0-9]{1,2}:[0-9]{2}:[0-9]{2}"}
TIMES = {
    ISO: f"^{ISO_TIME}$",
    ZONED: f"^{ISO_TIME} ?(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$",
    **{date + clock: f"^{d}{c}$" for date, d in DATES.items() for clock, c in CLOCKS.items()},
}
# Numbers that are times only where a person says so.
COUNTED = {
    "%Y": "^(1[6-9]|2[01])[0-9]{2}$",
    "%Y%m%d": "^[12][0-9]{7}$",
    "%Y-%m": "^[12][0-9]{3}-[0-9]{2}$",
    "seconds": r"^[0-9]{9,10}(\.[0-9]+)?$",
    "milliseconds": "^[0-9]{12,13}$",
}
MOSTLY = 0.95  # so many numbers, and the other values are mistakes rather than categories


def clean(values: pa.Array, missing: tuple[str, ...] = MISSING) -> pa.Array:
    """Text without spaces at its ends, and null for what stands for a missing value."""
    values = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(values, value_set=pa.array(missing, pa.string())), None, values)


def as_time(values: pa.Array, kind: str) -> pa.Array:
    """Text of one kind of time as microseconds without a zone (UTC where it had one); null where it is none."""
    if kind in (ISO, ZONED):
        values = pc.replace_substring_regex(values, r"(\.[0-9]{6})[0-9]+", r"\1")
        values = pc.replace_substring_regex(values, r" (Z|[+-])", r"\1")
        zone = "UTC" if kind == ZONED else None
        return pc.cast(pc.cast(values, pa.timestamp("us", zone)), pa.timestamp("us"))
    if kind in ("seconds", "milliseconds"):
        scale = 1e6 if kind == "seconds" else 1e3
        return pc.cast(pc.cast(pc.multiply(pc.cast(values, "float64"), scale), "int64"), pa.timestamp("us"))
    text, layout = (pc.binary_join_element_wise(values, "-01", ""), "%Y-%m-%d") if kind == "%Y-%m" else (values, kind)
    moments = pd.to_datetime(text.to_pandas(), format=layout, errors="coerce")
    return pa.array(moments.astype("datetime64[us]"), pa.timestamp("us"))


def fits(values: pa.Array, kind: str) -> bool:
    """Whether all values, none of them null, are of a kind."""
    pattern = PATTERNS.get(kind) or TIMES.get(kind) or COUNTED[kind]
    if not pc.all(pc.match_substring_regex(values, pattern), min_count=0).as_py():
        return False
    if kind in PATTERNS:
        return True
    try:
        return as_time(values, kind).null_count == 0
    except (pa.ArrowInvalid, pd.errors.OutOfBoundsDatetime):  # the 31st of June
        return False


@dataclass
class Guess:
    """What a column may still be, narrowed by each batch of its values."""

    kinds: list[str]
    rows: int = 0
    gaps: int = 0
    numbers: int = 0
    commas: bool = False
    stray: tuple[int, str] | None = None  # the first row that is no number, where most are

    def narrow(self, values: pa.Array) -> None:
        """Drop the kinds that these values are not; few values first, since most kinds fall at once."""
        full = values.drop_null()
        for part in (full.slice(0, 100), full):
            self.kinds = [kind for kind in self.kinds if fits(part, kind)]
        self.commas = self.commas or bool(pc.any(pc.match_substring(full, ",")).as_py())
        if any(kind in PATTERNS for kind in self.kinds):
            self.numbers += len(full)
        elif self.numbers >= (self.rows - self.gaps) / 2:
            self.look_for_stray(values)
        self.rows, self.gaps = self.rows + len(values), self.gaps + values.null_count

    def look_for_stray(self, values: pa.Array) -> None:
        """Count the numbers, codes such as 007 among them, in a column of others, and keep the first that is none."""
        number = pc.fill_null(pc.match_substring_regex(values, f"{PATTERNS[NUMBER]}|^[0-9]+$"), True)
        self.numbers += pc.sum(number).as_py() - values.null_count
        others = values.filter(pc.invert(number))
        if self.stray is None and len(others):
            self.stray = self.rows + pc.index(number, False).as_py() + 1, others[0].as_py()

    @property
    def mixed(self) -> bool:
        """Whether nearly all values are numbers but some are not."""
        full = self.rows - self.gaps
        return bool(not self.kinds and full and MOSTLY * full <= self.numbers < full)

    def kind(self, commas: bool) -> str:
        """The kind that stands; in a file with decimal commas a point is a thousands mark."""
        if self.rows == self.gaps:
            return NUMBER
        if commas and COMMA in self.kinds and WHOLE not in self.kinds:
            return COMMA
        return self.kinds[0] if self.kinds else TEXT


def guess(separator: str, time: bool = False) -> Guess:
    """A fresh guess: every kind, and for the time column the numbers that can be times."""
    other = COMMA if separator == "," else MARKED  # a comma in quotes marks thousands
    return Guess([*TIMES, *COUNTED] if time else [kind for kind in (*PATTERNS, *TIMES) if kind != other])


def convert(values: pa.Array, kind: str, gaps: bool) -> pa.Array:
    """Text as the type that its column has in Parquet: int64, float64 (also for integers with gaps), time, text."""
    if kind == TEXT:
        return values
    if kind == BOOL:
        values = pc.equal(pc.utf8_lower(values), "true")
        return pc.cast(values, type_of(kind, gaps))
    if kind not in PATTERNS:
        return as_time(values, kind)
    if kind == COMMA:
        values = pc.replace_substring(pc.replace_substring(values, ".", ""), ",", ".")
    if kind == MARKED:
        values = pc.replace_substring(values, ",", "")
    values = pc.replace_substring_regex(values, r"^\+", "")
    return pc.cast(values, type_of(kind, gaps))


def type_of(kind: str, gaps: bool) -> pa.DataType:
    """The Parquet type of a kind."""
    if kind == TEXT:
        return pa.string()
    if kind in (WHOLE, BOOL) and not gaps:
        return pa.int64()
    return pa.float64() if kind in PATTERNS else pa.timestamp("us")
