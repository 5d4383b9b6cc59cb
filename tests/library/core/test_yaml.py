import io
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from modelyard.core.yaml import dump_yaml, parse_yaml

WORDS = [
    "NO",
    "no",
    "Yes",
    "on",
    "off",
    "y",
    "~",
    "null",
    "Null",
    "",
    "00:30",
    "1:20:30",
    "010",
    "0o10",
    "0x1F",
    "0b11",
]
NUMBERS = ["1e-3", "1e-05", "1.0e-5", "1E5", ".5", "5.", "-1_000", "+3", ".inf", "-.inf", ".nan", "1.5e3", "1e", "e3"]
OTHERS = [
    "2024-01-01",
    "2024-01-01T00:00:00",
    "TRUE",
    "False",
    "=",
    "<<",
    "#",
    "- a",
    "a: b",
    "'",
    '"',
    " x ",
    "é",
    "%",
]


def read_as_dvc(text: str) -> Any:
    return YAML(typ="safe").load(io.StringIO(text))


@pytest.mark.parametrize("word", [word for word in WORDS + NUMBERS if word])
def test_parse_reads_a_scalar_as_dvc_does(word: str) -> None:
    ours, theirs = (read(f"x: {word}\n")["x"] for read in (parse_yaml, read_as_dvc))
    assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))
    assert type(ours) is type(theirs)


TEXTS = st.sampled_from(WORDS + NUMBERS + OTHERS) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
)


@given(names=st.lists(TEXTS, max_size=6))
def test_dump_keeps_every_text_for_every_reader(names: list[str]) -> None:
    text = dump_yaml({"columns": {name: {"isin": names} for name in names}})
    wanted = {"columns": {name: {"isin": names} for name in names}}
    assert parse_yaml(text) == read_as_dvc(text) == yaml.safe_load(text) == wanted


@given(value=st.floats(allow_nan=False) | st.integers() | st.booleans() | st.none())
def test_dump_keeps_every_value(value: Any) -> None:
    text = dump_yaml({"x": value})
    assert parse_yaml(text)["x"] == read_as_dvc(text)["x"] == value
