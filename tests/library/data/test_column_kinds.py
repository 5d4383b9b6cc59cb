import time
from datetime import datetime

import pyarrow as pa
import pytest

from modelyard.data.column_kinds import (
    DECIMAL_COMMA,
    ISO_TIME,
    NUMBER,
    TEXT,
    THOUSANDS_COMMA,
    TRUTH_VALUE,
    WHOLE_NUMBER,
    get_parser,
    matches_kind,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (WHOLE_NUMBER, "-12", -12),
        (NUMBER, "1e-3", 0.001),
        (TRUTH_VALUE, "True", 1),
        (DECIMAL_COMMA, "1.234,5", 1234.5),
        (THOUSANDS_COMMA, "1,234.5", 1234.5),
        (TEXT, "007", "007"),
        ("$1,234.5", "-$12,000", -12000),
        ("(1,234.5)", "(1,727.92)", -1727.92),
        ("1 234,5", "435\u202f766,25", 435766.25),
        ("1'234.5", "1'000'000", 1_000_000),
        ("1,234.5%", "88%", 88),
        ("1,234.5 kmpl", "26.5 kmpl", 26.5),
        ("%m/%d/%Y %I:%M %p", "1/2/2024 3:04 PM", datetime(2024, 1, 2, 15, 4)),
        ("%d-%b-%y", "01-JAN-24", datetime(2024, 1, 1)),
        ("%G-W%V", "2024-W05", datetime(2024, 1, 29)),
        ("seconds since 1970", "1700000000", datetime(2023, 11, 14, 22, 13, 20)),
        ("milliseconds since 1970", "1700000000123", datetime(2023, 11, 14, 22, 13, 20, 123000)),
    ],
)
def test_text_is_parsed(kind: str, text: str, value: object) -> None:
    assert get_parser(kind)(pa.array([text])).to_pylist() == [value]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (WHOLE_NUMBER, "007"),
        (WHOLE_NUMBER, "1.0"),
        (NUMBER, "0x1F"),
        (WHOLE_NUMBER, "1234567890123456789"),
        (DECIMAL_COMMA, "12.34,5"),
        (THOUSANDS_COMMA, "1234,5"),
        (ISO_TIME, "31.12.2024"),
        ("$1,234.5", "12"),
        ("1,234.5 kmpl", "12 km"),
        ("seconds since 1970", "90"),
    ],
)
def test_text_of_another_kind_does_not_match(kind: str, text: str) -> None:
    assert not matches_kind(pa.array([text]), kind)


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "UTC"])
def test_times_do_not_depend_on_the_zone_of_the_machine(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        parsed = get_parser(ISO_TIME)(pa.array(["2024-06-01 12:00"]))
        zoned = get_parser(ISO_TIME)(pa.array(["2024-06-01T12:00:00+02:00"]))
    time.tzset()
    assert parsed.to_pylist()[0].isoformat() == "2024-06-01T12:00:00"
    assert zoned.to_pylist()[0].isoformat() == "2024-06-01T10:00:00"


def test_a_value_late_in_the_column_decides_too() -> None:
    assert not matches_kind(pa.array(["1"] * 500 + ["x"]), NUMBER)
