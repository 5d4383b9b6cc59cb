"""Checks of the data: each raises an `AssertionError` that says what is wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.params import Params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.project import Project
from modelyard.core.yaml import read_yaml
from modelyard.data.duplicates import duplicate_hashes
from modelyard.data.personal import holds_email_addresses, is_personal_name
from modelyard.data.profiling import profile_columns
from modelyard.data.schema import collect_failures, load_schema, read_key
from modelyard.pipeline.split import split_table


def _load_params() -> Params:
    return Project.load().params


def check_rows_keep_schema(rows: pd.DataFrame) -> None:
    """Check that raw rows keep every rule of schema.yaml."""
    failures = collect_failures(rows, load_schema())
    assert failures.empty, failures.to_string()


def check_schema_names_columns(rows: pd.DataFrame) -> None:
    """Check that schema.yaml has each column of the table, and no other."""
    differing = {str(name) for name in load_schema().columns} ^ set(map(str, rows))
    assert not differing, f"{', '.join(sorted(differing))}: in the table or in schema.yaml alone"


def check_key_is_unique(path: Path) -> None:
    """Check that no two rows of a table have the same key; skipped where schema.yaml names none."""
    names = read_key()
    if not names:
        pytest.skip("the schema names no key")
    repeated = duplicate_hashes(path, names).size
    assert repeated == 0, f"{repeated} rows have the {', '.join(names)} of another row"


def check_target_is_complete(path: Path) -> None:
    """Check that every row of a table has a target, and that there is more than one value of it."""
    target = profile_columns(path)[_load_params().data.target]
    assert target.missing_count == 0, f"{target.missing_count} rows have no {target.name}"
    assert target.values is None or len(target.values) > 1, f"every row has the same {target.name}"


def check_features_are_columns(rows: pd.DataFrame) -> None:
    """Check that params.yaml names columns of the table, and no feature that is left out or is the target."""
    data = _load_params().data
    features = set(data.features)
    named = {*features, *data.sensitive, *filter(None, (data.time, data.group))}
    assert named <= set(rows), f"the table lacks {', '.join(sorted(named - set(rows)))}"
    assert data.target not in features, f"{data.target} is the target, and also one of data.features"
    both = features & set(data.left_out)
    assert not both, f"{', '.join(sorted(both))}: in data.features and in data.left_out"


def check_columns_are_used_or_left_out(rows: pd.DataFrame) -> None:
    """Check that each column is a feature, the target, or left out for a reason."""
    data = _load_params().data
    unknown = set(map(str, rows)) - {*data.features, *data.left_out, data.target}
    assert not unknown, f"{', '.join(sorted(unknown))}: add them to data.features or data.left_out in params.yaml"


def check_split_keeps_groups_and_time(rows: pd.DataFrame) -> None:
    """Check that no group is in training rows and holdout, and that the holdout is later."""
    params = _load_params()
    train, holdout = split_table(rows, params.data, read_key(), replace(params.split, window=None))
    group, time = params.data.group, params.data.time
    if group:
        assert not set(train[group]) & set(holdout[group]), f"a {group} is on both sides"
    elif time:
        assert train[time].max() < holdout[time].min(), f"a {time} is on both sides"
    assert len(train) + len(holdout) == len(rows)


def check_personal_columns_are_marked(rows: pd.DataFrame) -> None:
    """Check that columns that look personal, by name or by e-mail addresses, say `personal: true` or `false`."""
    columns = read_yaml(SCHEMA_YAML)["columns"]
    personal = [name for name, values in rows.items() if is_personal_name(str(name)) or holds_email_addresses(values)]
    unmarked = [name for name in personal if "personal" not in columns[name]]
    assert not unmarked, f"{', '.join(map(str, unmarked))}: write personal: true (or false) in schema.yaml"


def check_numbers_are_finite(rows: pd.DataFrame) -> None:
    """Check that no number is infinite."""
    numbers = rows.select_dtypes("number")
    infinite = [name for name in numbers if np.isinf(numbers[name].to_numpy(dtype=float, na_value=np.nan)).any()]
    assert not infinite, f"{', '.join(map(str, infinite))} hold infinite values"


def check_slices_are_columns() -> None:
    """Check that gate.slices names columns of schema.yaml."""
    unknown = set(_load_params().gate.slices) - set(read_yaml(SCHEMA_YAML)["columns"])
    assert not unknown, f"gate.slices names {', '.join(sorted(unknown))}, which schema.yaml does not have"
