"""From raw columns to features: the place to work, called in training and in serving alike."""

from __future__ import annotations

import pandas as pd


def features(raw: pd.DataFrame) -> pd.DataFrame:
    """The model's input, one row for each raw row: times become hour and weekday, the rest stays.

    Pure: a row's features depend on that row alone, so that serving equals training.
    """
    table = raw.copy()
    for name in raw.select_dtypes("datetime").columns:
        moment = table.pop(name).dt
        table[f"{name}_hour"] = moment.hour + moment.minute / 60
        table[f"{name}_weekday"] = moment.day_of_week.astype("float64")
    return table
