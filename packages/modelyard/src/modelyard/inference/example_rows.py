"""Choose the rows that a model bundle shows: rows of the holdout, without any value of a personal column."""

import itertools
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from modelyard.core.errors import SettingError
from modelyard.core.paths import SCHEMA_YAML
from modelyard.data.schema_fields import SchemaField
from modelyard.inference.request import RequestDecoder

EXAMPLE_ROWS = 20


def select_evenly(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return at most `count` rows at equal distances, the first and the last included."""
    places = np.linspace(0, len(table) - 1, count).astype(int)
    return table.iloc[np.unique(places)]


def to_json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON values, as a client would send them: null for a missing value, text for a time."""
    plain = table.astype("object").where(table.notna(), None).to_dict("records")
    return msgspec.json.decode(msgspec.json.encode(plain, enc_hook=lambda value: value.isoformat()))


def select_example_rows(holdout: pd.DataFrame, decoder: RequestDecoder) -> pd.DataFrame:
    """Return rows of the holdout with synthetic values in the personal columns.

    Raises
    ------
    SettingError
        No synthetic value of a personal column passes its checks.
    """
    personal = [column for column in decoder.columns if column.is_required and column.name in decoder.personal]
    synthetic = {column.name: synthesize_values(holdout[column.name], column) for column in personal}
    examples = select_evenly(holdout.assign(**synthetic), EXAMPLE_ROWS)
    for column in personal:
        if any(column.find_failed_check(value) for value in examples[column.name].dropna()):
            setting = f"{SCHEMA_YAML}: the personal column {column.name}"
            problem = "has rules that no invented value keeps, and an image must not show a real one"
            raise SettingError(setting, problem, "name the values (isin), or leave the column out of the features")
    return examples


def synthesize_values(real: pd.Series, column: SchemaField) -> pd.Series:
    """Return values that belong to nobody, missing where the real ones are.

    They are the allowed values in turn, the mean of numbers or times, or masked text.
    """
    if "isin" in column.checks:
        values = list(itertools.islice(itertools.cycle(column.checks["isin"]), len(real)))
    elif real.dtype.kind in "fM" and real.notna().any():
        values = [real.mean()] * len(real)
    elif real.dtype.kind in "iub" and real.notna().any():
        values = [round(real.mean())] * len(real)
    else:
        values = [mask_text(str(value)) for value in real]
    return pd.Series(values, real.index, dtype=str(real.dtype)).where(real.notna())


def mask_text(text: str, letter: str = "X", digit: str = "0") -> str:
    """Return a text with every letter and every digit replaced by the given one; case and other signs stay."""
    masked = []
    for character in text:
        if character.isdigit():
            masked.append(digit)
        elif character.isalpha():
            masked.append(letter if character.isupper() else letter.lower())
        else:
            masked.append(character)
    return "".join(masked)
