"""Rows that are made from a schema alone, so that a project's tests run without its data.

Their target follows the other columns, so that a model can learn from them.
"""

import re
import string
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.params import Params

DEFAULT_ROWS = 240
MISSING_SHARE = 0.05
NOISE_SHARE = 0.1
DEFAULT_RANGE = 1000
MAX_LETTERS = 8
ROWS_PER_GROUP = 4
TOKEN_PATTERN = re.compile(r"(\[[^]]+\]|\\.|.)(?:\{(\d+)(?:,\d*)?\}|[+*?])?")


def parse_checks(rules: dict[str, Any]) -> dict[str, Any]:
    """Return the checks of a column by name, from either form that pandera writes."""
    listed = rules.get("checks") or {}
    if isinstance(listed, list):
        listed = {item["options"]["check_name"]: item for item in listed}
    found = {**rules, **listed}
    return {name: value.get("value", value) if isinstance(value, dict) else value for name, value in found.items()}


def draw_texts(checks: dict[str, Any], count: int, random: np.random.Generator) -> list[str]:
    """Return texts that keep a pattern or a length."""
    pattern = str(checks.get("str_matches", "")).strip("^$")
    if pattern:
        tokens = TOKEN_PATTERN.findall(pattern)
        parts = [(list_matching_letters(token), int(times or 1)) for token, times in tokens]
    else:
        length = checks.get("str_length", {"max_value": MAX_LETTERS})
        size = length if isinstance(length, int) else min(MAX_LETTERS, length.get("max_value") or MAX_LETTERS)
        parts = [(list(string.ascii_lowercase), size)]
    columns = [random.choice(letters, count) for letters, size in parts for _ in range(size)]
    return ["".join(letters) for letters in zip(*columns, strict=True)]


def list_matching_letters(token: str) -> list[str]:
    """Return the printable characters that one token of a pattern matches."""
    return [letter for letter in string.printable if re.fullmatch(token, letter)]


def read_bounds(checks: dict[str, Any]) -> tuple[float, float]:
    """Return the range of a column of numbers, in whichever checks its bounds are written."""
    inside = checks.get("in_range", {})
    low = inside.get("min_value", checks.get("greater_than_or_equal_to", checks.get("greater_than")))
    high = inside.get("max_value", checks.get("less_than_or_equal_to", checks.get("less_than")))
    if low is None:
        low = 0 if high is None else high - DEFAULT_RANGE
    if high is None:
        high = low + DEFAULT_RANGE
    return float(low), float(high)


def draw_values(rules: dict[str, Any], order: np.ndarray, random: np.random.Generator) -> pd.Series:
    """Return values that keep the rules of a column.

    Parameters
    ----------
    rules
        The rules in schema.yaml.
    order
        A number between 0 and 1 for each row, shape (n,): numbers rise with it. Times rise with the row.
    random
        Where draws come from.
    """
    checks = parse_checks(rules)
    dtype: Any = str(rules["dtype"])
    count = len(order)
    if dtype.startswith("datetime"):
        return pd.Series(pd.date_range("2024-01-01", periods=count, freq="h")).astype(dtype)
    if "isin" in checks:
        return pd.Series(random.choice(np.array(checks["isin"], dtype=object), count)).astype(dtype)
    if "int" in dtype or "float" in dtype:
        low, high = read_bounds(checks)
        share = 0.05 + 0.9 * (0.8 * order + 0.2 * random.random(count))  # keeps away from both ends
        drawn = low + (high - low) * share
        return pd.Series(np.floor(drawn) if "int" in dtype else drawn).clip(low, high).astype(dtype)
    return pd.Series(draw_texts(checks, count, random)).astype(dtype)


def draw_classes(classes: list[Any], order: np.ndarray, random: np.random.Generator) -> list[Any]:
    """Return a class for each row: the later in the list, the larger its `order`; a tenth is drawn at random."""
    is_noise = random.random(len(order)) < NOISE_SHARE
    noisy = np.where(is_noise, random.random(len(order)), order)
    return [classes[int(place * len(classes))] for place in noisy]


def make_rows(schema: dict[str, Any], params: Params, count: int = DEFAULT_ROWS, seed: int = 0) -> pd.DataFrame:
    """Return rows that keep a schema, with missing values where it allows them.

    Parameters
    ----------
    schema
        The content of schema.yaml.
    params
        The project's parameters: which column is the target, the group, and what the task is.
    count
        The number of rows; fewer remain where some repeat the key of another.
    seed
        Where draws start.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(count) / count
    data = params.data
    columns = dict(schema["columns"])
    table = pd.DataFrame({name: draw_values(rules, order, random) for name, rules in columns.items()})
    for name in columns:
        if columns[name].get("nullable") and name != data.target:
            table.loc[random.random(count) < MISSING_SHARE, name] = np.nan
    if data.task == "classification":
        classes = parse_checks(columns[data.target]).get("isin", [0, 1])
        drawn = draw_classes(classes, order, random)
        table[data.target] = pd.Series(drawn).astype(table[data.target].dtype)
    if data.group and data.group != data.target:
        first_rows = np.arange(count) // ROWS_PER_GROUP * ROWS_PER_GROUP
        table[data.group] = table[data.group].to_numpy()[first_rows]
    return table.drop_duplicates(schema["unique"], ignore_index=True) if schema.get("unique") else table
