"""TODO doc."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.params import Params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.data.schema_fields import SchemaField, read_column_specs, read_personal_columns
from modelyard.data.schema_fields import build_field as rule_of
from modelyard.monitoring.signals import Signal, threshold_check
from modelyard.monitoring.windows import ReferenceData, Window


def data_quality(params: Params, ref: ReferenceData, windows: Sequence[Window]) -> list[Signal]:
    """The share of each column's values that schema.yaml does not allow; one window of them is enough."""
    specs, rules, found = read_column_specs(SCHEMA_YAML), params.monitor, []
    some = [w if len(w.raw) >= rules.minimum else None for w in windows]
    hidden = read_personal_columns()
    for column in (name for name in map(str, ref.raw) if name not in hidden):
        rule = parse_column_rule(column, specs[column]) if column in specs else None
        values = [
            compute_violation_share(rule, w.raw[column], w.unreadable_shares[column]) if w else None for w in some
        ]
        share = next((value for value in values[::-1] if value is not None), 0.0)
        sentence = f"{share:.1%} of the values of {column} break schema.yaml"
        grave = "critical" if share > 0.5 else "warning"
        found.append(threshold_check("quality", column, values, rules.broken, grave, sentence))
    return found


def parse_column_rule(column: str, spec: dict[str, Any]) -> SchemaField | None:
    """What a column may hold; None for a check that no single value can be held to."""
    try:
        return rule_of(column, spec, True)
    except UserError:
        return None


def compute_violation_share(rule: SchemaField | None, values: pd.Series, unread: float) -> float:
    """The share of values that are none of the column's type, missing where none may be, or fail a check."""
    if rule is None:
        return unread
    counts = values.value_counts()
    plain = [v.to_pydatetime() if isinstance(v, pd.Timestamp) else v for v in counts.index.tolist()]
    broken = sum(number for value, number in zip(plain, counts, strict=True) if not rule.accepts(value))
    return broken / len(values) + (unread if rule.nullable else float(values.isna().mean()))
