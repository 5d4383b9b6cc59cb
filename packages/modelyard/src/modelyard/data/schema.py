"""Reads schema.yaml with pandera, and collects how a table breaks it."""

import difflib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from modelyard.core.errors import InvalidFileError, MissingFileError
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.yaml import read_yaml
from modelyard.data.schema_fields import SCHEMA_CURE, read_personal_columns

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

MAX_EXAMPLES = 5
RULE_SIMILARITY = 0.75
MAX_PROBLEM_LENGTH = 200


def load_schema(path: Path = SCHEMA_YAML) -> "DataFrameSchema":
    """Return the pandera schema of a raw row.

    Raises
    ------
    MissingFileError
        There is no such file.
    InvalidFileError
        The file is not a schema, names no columns, or has a rule that pandera would ignore.
    """
    from pandera.io.pandas_io import deserialize_schema

    try:
        schema = deserialize_schema(read_yaml(path))
        misspelt = find_misspelt_rule(path) if schema.columns else ""
    except FileNotFoundError:
        raise MissingFileError(path, "`make schema WRITE=1` infers it from the data") from None
    except Exception as problem:  # pandera and PyYAML raise a dozen kinds
        detail = " ".join(str(problem).split())[:MAX_PROBLEM_LENGTH]
        raise InvalidFileError(path, f"cannot be read as a schema ({detail})", SCHEMA_CURE) from None
    if not schema.columns:
        raise InvalidFileError(path, "names no columns", SCHEMA_CURE)
    if misspelt:
        raise InvalidFileError(path, f"has {misspelt}", "correct it, because an unknown rule checks nothing")
    return schema


def find_misspelt_rule(path: Path) -> str:
    """Return the first rule that pandera does not know, in words; keys that resemble no rule are taken for notes."""
    import pandera.pandas as pa

    known = {name for name in dir(pa.Check) if not name.startswith("_")} | {*inspect.signature(pa.Column).parameters}
    for column, rules in read_yaml(path)["columns"].items():
        for rule, value in rules.items():
            if rule in known:
                continue
            similar = difflib.get_close_matches(rule, known, 1, RULE_SIMILARITY)
            if similar:
                return f"a rule {rule} for {column} that does not exist; did you mean {similar[0]}?"
            if isinstance(value, dict | list):
                return f"a rule {rule} for {column} that does not exist"
    return ""


def read_key(path: Path = SCHEMA_YAML) -> list[str]:
    """Return the columns that name a row; empty where schema.yaml has no `unique`. It works without pandera."""
    found = read_yaml(path) if path.exists() else {}
    return list(found.get("unique") or []) if isinstance(found, dict) else []


def collect_failures(table: pd.DataFrame, schema: "DataFrameSchema") -> pd.DataFrame:
    """Return the rules that a table breaks.

    Parameters
    ----------
    table
        Raw rows.
    schema
        The schema that they should have.

    Returns
    -------
    pandas.DataFrame
        One row for each broken rule: `column`, `check`, the number of `rows`, and as text up to five `values` and the
        index of five `examples`. Values of personal columns are hidden.
    """
    from pandera.errors import SchemaErrors

    try:
        schema.validate(table, lazy=True)
    except SchemaErrors as problem:
        cases = problem.failure_cases.copy()
        cases["check"] = cases["check"].astype(str)
        cases["column"] = cases["column"].fillna("(table)").astype(str)
        is_personal = cases["column"].isin(read_personal_columns())
        cases["failure_case"] = cases["failure_case"].mask(is_personal, "(personal)")
        grouped = cases.groupby(["column", "check"], sort=True)
        return grouped.agg(
            rows=("failure_case", "size"),
            values=("failure_case", _join_examples),
            examples=("index", lambda index: _join_examples(index.dropna())),
        ).reset_index()
    return pd.DataFrame(columns=["column", "check", "rows", "values", "examples"])


def _join_examples(values: "pd.Series[Any]") -> str:
    """Return the first distinct values as text."""
    return ", ".join(map(str, values.drop_duplicates()[:MAX_EXAMPLES]))
