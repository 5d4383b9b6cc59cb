"""Checks of `features`: each raises an `AssertionError` that says what is wrong."""

import pandas as pd
from pandas.testing import assert_frame_equal

from modelyard.core.project import Project
from modelyard.pipeline.preprocessing import prepare_features, select_features

ROWS_ALONE = 10


def _compute(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the columns that `features` gets of raw rows, and what it makes of them."""
    project = Project.load()
    raw = select_features(project.params, rows)
    return raw, project.hooks.compute_features(raw)


def check_row_alone_has_same_features(rows: pd.DataFrame) -> None:
    """Check that a row has the same features alone as among others."""
    raw, table = _compute(rows)
    features = Project.load().hooks.compute_features
    alone = pd.concat([features(raw.iloc[[place]]) for place in range(min(ROWS_ALONE, len(raw)))])
    assert_frame_equal(alone, table.iloc[: len(alone)], check_dtype=False)


def check_raw_rows_stay(rows: pd.DataFrame) -> None:
    """Check that `features` leaves its argument as it is."""
    project = Project.load()
    raw = select_features(project.params, rows)
    before = raw.copy()
    project.features(raw)
    assert_frame_equal(raw, before)


def check_rows_keep_their_place(rows: pd.DataFrame) -> None:
    """Check that `features` returns one row for each row, with the same index."""
    raw, table = _compute(rows)
    assert table.index.equals(raw.index), "features returns another index than raw has"


def check_other_columns_are_text(rows: pd.DataFrame) -> None:
    """Check that features that are not numbers are text or None."""
    raw, _ = _compute(rows)
    table = prepare_features(raw).select_dtypes(exclude="number")
    for name, values in table.items():
        is_text = values.map(lambda value: value is None or isinstance(value, str))
        assert is_text.all(), f"{name} is neither a number nor text"
