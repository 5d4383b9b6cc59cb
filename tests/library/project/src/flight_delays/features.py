"""From raw columns to features: the place to work, called in training and for each request alike."""

from __future__ import annotations

import pandas as pd


def features(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the model's features: times become hour (0 to 24) and weekday (0 is Monday), the rest stays.

    `raw` has the columns of `data.features` in params.yaml. The result has one row for each row of `raw`, with the same
    index, and the same columns every time; columns that are not numbers are categories. A row's features depend on that
    row alone, and `raw` stays as it is: training stops where this does not hold. To add a feature:

        table["gust"] = table["wind_gust"] - table["wind_speed"]  # miles an hour
    """
    table = raw.copy()
    for name in raw.select_dtypes("datetime").columns:
        stem = name
        while {f"{stem}_hour", f"{stem}_weekday"} & set(raw.columns):
            stem += "_"  # the table's own column stays
        moment = table.pop(name).dt
        table[f"{stem}_hour"] = moment.hour + moment.minute / 60
        table[f"{stem}_weekday"] = moment.day_of_week.astype("float64")
    return table
