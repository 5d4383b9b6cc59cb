"""TODO doc."""

import difflib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from modelyard.core.errors import UserError
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.yaml import read_yaml
from modelyard.data.schema_fields import read_personal_columns

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

MAX_EXAMPLES = 5


def load_schema(path: Path = SCHEMA_YAML) -> "DataFrameSchema":
    """The schema of a row, read by pandera; nonsense is a `UserError` that says where."""
    from pandera.io.pandas_io import deserialize_schema

    try:
        schema = deserialize_schema(read_yaml(path))
        found = find_misspelt_rule(path) if schema.columns else ""
    except FileNotFoundError:
        raise UserError(f"there is no {path}; `make schema` infers it from the data") from None
    except Exception as problem:  # pandera and PyYAML raise a dozen kinds
        detail = " ".join(str(problem).split())[:200]
        raise UserError(f"{path} cannot be read as a schema ({detail}); `make schema` infers it again") from None
    if not schema.columns:
        raise UserError(f"{path} names no columns; `make schema` infers it again")
    if found:
        raise UserError(f"{path} has {found}; correct it, since a rule that nobody knows holds for nothing")
    return schema


def find_misspelt_rule(path: Path) -> str:
    """The first rule that pandera does not know and passes over in silence; notes of your own are no rules."""
    import pandera.pandas as pa

    known = {name for name in dir(pa.Check) if not name.startswith("_")} | {*inspect.signature(pa.Column).parameters}
    for column, rules in read_yaml(path)["columns"].items():
        for rule in (name for name in rules if name not in known):
            near = difflib.get_close_matches(rule, known, 1, 0.75)
            if near or isinstance(rules[rule], dict | list):
                hint = f"; did you mean {near[0]}?" if near else ""
                return f"a rule {rule} for {column} that does not exist{hint}"
    return ""


def read_key(path: Path = SCHEMA_YAML) -> list[str]:
    """The columns that name a row, where the schema says so; read without pandera, which takes its time."""
    found = read_yaml(path) if path.exists() else {}
    return list(found.get("unique") or []) if isinstance(found, dict) else []


def collect_failures(table: pd.DataFrame, schema: "DataFrameSchema") -> pd.DataFrame:
    """The rules that the table breaks: one row for each rule, with its count and example rows."""
    from pandera.errors import SchemaErrors

    try:
        schema.validate(table, lazy=True)
    except SchemaErrors as problem:
        cases = problem.failure_cases.assign(check=lambda c: c["check"].astype(str))
        cases["column"] = cases["column"].fillna("(table)").astype(str)
        cases["failure_case"] = cases["failure_case"].mask(cases["column"].isin(read_personal_columns()), "(personal)")
        grouped = cases.groupby(["column", "check"], sort=True)
        return grouped.agg(
            rows=("failure_case", "size"),
            values=("failure_case", lambda v: ", ".join(map(str, v.drop_duplicates()[:MAX_EXAMPLES]))),
            examples=("index", lambda v: ", ".join(map(str, v.dropna().drop_duplicates()[:MAX_EXAMPLES]))),
        ).reset_index()
    return pd.DataFrame(columns=["column", "check", "rows", "values", "examples"])
