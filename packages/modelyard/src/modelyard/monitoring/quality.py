"""Signals about data quality: how many of each column's values schema.yaml does not allow."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.params import Params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.data.schema_fields import SchemaField, build_field, read_column_specs, read_personal_columns
from modelyard.monitoring.signals import Signal, threshold_check
from modelyard.monitoring.windows import ReferenceData, Window

CRITICAL_SHARE = 0.5  # of a column's values; from here on a violation is critical


def data_quality(params: Params, reference: ReferenceData, windows: Sequence[Window]) -> list[Signal]:
    """Return the share of each column's values that schema.yaml does not allow, in each window.

    One window above the limit is enough. Columns marked personal are left out.
    """
    specs = read_column_specs(SCHEMA_YAML)
    personal = read_personal_columns()
    found = []
    for column in map(str, reference.raw):
        if column not in personal:
            field = parse_column_rule(column, specs[column]) if column in specs else None
            found.append(column_quality(params, column, field, windows))
    return found


def column_quality(params: Params, column: str, field: SchemaField | None, windows: Sequence[Window]) -> Signal:
    """Return the share of one column's values that its field does not allow; None in windows of too few rows."""
    values: list[float | None] = []
    for window in windows:
        if len(window.raw) < params.monitor.minimum:
            values.append(None)
        else:
            values.append(compute_violation_share(field, window.raw[column], window.unreadable_shares[column]))
    known = [value for value in values if value is not None]
    latest = known[-1] if known else 0.0
    state = "critical" if latest > CRITICAL_SHARE else "warning"
    sentence = f"{latest:.1%} of the values of {column} violate schema.yaml"
    return threshold_check("quality", column, values, params.monitor.broken, state, sentence)


def parse_column_rule(column: str, spec: dict[str, Any]) -> SchemaField | None:
    """Return what schema.yaml allows in a column; None if it has a check that cannot be applied to single values."""
    try:
        return build_field(column, spec, True)
    except UserError:  # such a check is for the pipeline alone
        return None


def compute_violation_share(field: SchemaField | None, values: pd.Series, unreadable_share: float) -> float:
    """Return the share of values that are of another type, missing where that is not allowed, or fail a check.

    Parameters
    ----------
    field
        What is allowed; None for the type alone.
    values
        The values of a window; those of another type are missing.
    unreadable_share
        The share of values of another type.
    """
    if field is None:
        return unreadable_share
    counts = values.value_counts()
    violations = 0
    for value, count in zip(counts.index.tolist(), counts.tolist(), strict=True):
        plain = value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
        if not field.accepts(plain):
            violations += count
    missing_share = unreadable_share if field.nullable else float(values.isna().mean())
    return violations / len(values) + missing_share
