"""Rows made from a schema alone, for the tests of a project: the data itself need not be there.

Their target follows a feature, so that a model can learn from them.
"""

import re
import string
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.params import Params

DEFAULT_ROWS = 240
TOKEN_PATTERN = re.compile(r"(\[[^]]+\]|\\.|.)(?:\{(\d+)(?:,\d*)?\}|[+*?])?")


def parse_checks(rules: dict[str, Any]) -> dict[str, Any]:
    """The checks of a column by name, in both forms that pandera writes."""
    listed = rules.get("checks") or {}
    if isinstance(listed, list):
        listed = {item["options"]["check_name"]: item for item in listed}
    found = {**rules, **listed}
    return {name: value.get("value", value) if isinstance(value, dict) else value for name, value in found.items()}


def draw_texts(found: dict[str, Any], count: int, random: np.random.Generator) -> list[str]:
    """Text that keeps a pattern or a length."""
    pattern = str(found.get("str_matches", "")).strip("^$")
    length = found.get("str_length", {"max_value": 8})
    size = length if isinstance(length, int) else min(8, length.get("max_value") or 8)
    letters = [(list(string.ascii_lowercase), size)]
    if pattern:
        tokens = TOKEN_PATTERN.findall(pattern)
        letters = [([c for c in string.printable if re.fullmatch(t, c)], int(n or 1)) for t, n in tokens]
    parts = [[random.choice(some, count) for _ in range(size)] for some, size in letters]
    return ["".join(row) for row in zip(*(column for part in parts for column in part), strict=True)]


def read_bounds(found: dict[str, Any]) -> tuple[float, float]:
    """The range of a column of numbers, however its bounds are written."""
    inside = found.get("in_range", {})
    low = inside.get("min_value", found.get("greater_than_or_equal_to", found.get("greater_than")))
    high = inside.get("max_value", found.get("less_than_or_equal_to", found.get("less_than")))
    low = low if low is not None else (0.0 if high is None else high - 1000)
    return float(low), float(high if high is not None else low + 1000)


def draw_values(rules: dict[str, Any], order: np.ndarray, random: np.random.Generator) -> pd.Series:
    """Values that keep a column's rules; those of numbers rise with `order`, those of times with the row."""
    found, dtype, count = parse_checks(rules), str(rules["dtype"]), len(order)
    if dtype.startswith("datetime"):
        return pd.Series(pd.date_range("2024-01-01", periods=count, freq="h")).astype(dtype)
    if "isin" in found:
        return pd.Series(random.choice(np.array(found["isin"], dtype=object), count)).astype(dtype)
    if "int" in dtype or "float" in dtype:
        low, high = read_bounds(found)
        drawn = low + (high - low) * (0.05 + 0.9 * (0.8 * order + 0.2 * random.random(count)))
        return pd.Series(np.floor(drawn) if "int" in dtype else drawn).clip(low, high).astype(dtype)
    return pd.Series(draw_texts(found, count, random)).astype(dtype)


def make_rows(schema: dict[str, Any], params: Params, count: int = DEFAULT_ROWS, seed: int = 0) -> pd.DataFrame:
    """So many rows that keep the schema, with gaps where it allows them."""
    random = np.random.default_rng(seed)
    order = random.permutation(count) / count
    data, columns = params.data, dict(schema["columns"])
    table = pd.DataFrame({name: draw_values(rules, order, random) for name, rules in columns.items()})
    for name in (name for name in table if columns[name].get("nullable") and name != data.target):
        table.loc[random.random(count) < 0.05, name] = np.nan
    target = parse_checks(columns[data.target])
    if data.task == "classification":
        classes = target.get("isin", [0, 1])
        noisy = np.where(random.random(count) < 0.1, random.random(count), order)
        table[data.target] = pd.Series([classes[int(x * len(classes))] for x in noisy]).astype(table[data.target].dtype)
    if data.group and data.group != data.target:
        table[data.group] = table[data.group].to_numpy()[np.arange(count) // 4 * 4]
    return table.drop_duplicates(schema["unique"], ignore_index=True) if schema.get("unique") else table
