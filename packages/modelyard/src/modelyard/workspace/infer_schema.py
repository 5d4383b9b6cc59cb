"""Infer schema.yaml again from the data; rules that the data keeps stay as they are written."""

import difflib
import math
from typing import Any

import pandas as pd

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write
from modelyard.core.params import DataParams
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.project import Project
from modelyard.core.yaml_edit import YamlEditor
from modelyard.data.dialect import Dialect
from modelyard.data.parquet import read_table
from modelyard.data.personal import is_personal_name
from modelyard.data.profiling import ColumnProfile, profile_columns
from modelyard.data.schema import collect_failures, load_schema
from modelyard.data.source import open_table

MAX_CATEGORIES = 20
EMPTY_SCHEMA = """\
# What a row is. `make pipeline` stops at rows that break it, the service refuses them, monitoring counts them.
schema_type: dataframe
api: pandas
columns: {}
"""
INFERRED_KEYS = ("dtype", "nullable", "isin", "in_range", "str_length")
UNIQUENESS_CHECK = "multiple_fields_uniqueness"  # pandera's name of the rule that no two rows have one key


def to_flow_style(value: Any) -> Any:
    """Return a mapping or list that YAML writes in one line; other values stay."""
    if not isinstance(value, dict | list):
        return value
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    styled = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    styled.fa.set_flow_style()
    return styled


def widen_range(low: float, high: float) -> tuple[float, float]:
    """Widen a range by half of its width on both sides, to round numbers.

    Parameters
    ----------
    low, high
        The least and the greatest value that were seen.

    Returns
    -------
    tuple[float, float]
        The range of values like these. A range of only positive or only negative numbers does not cross zero, and one
        within 0 and 1 becomes 0 to 1.
    """
    if low == high:
        low = min(low, 0)
        high = max(high, 0)
    if low >= 0 and high <= 1:
        return 0, 1
    room = (high - low) / 2
    step = 10 ** math.floor(math.log10(room))
    least = math.floor((low - room) / step) * step
    most = math.ceil((high + room) / step) * step
    if low >= 0:
        least = max(0, least)
    if high <= 0:
        most = min(0, most)
    return least, most


def infer_column_rules(profile: ColumnProfile, data: DataParams) -> dict[str, Any]:
    """Infer what holds for a column's values and for values like them.

    Parameters
    ----------
    profile
        The profile of the column.
    data
        The parameters of the table.

    Returns
    -------
    dict[str, Any]
        The column's entry in schema.yaml: its type, gaps, and its categories, lengths or range.
    """
    rules: dict[str, Any] = {"dtype": profile.type}
    if profile.missing_count:
        rules["nullable"] = True
    if is_personal_name(profile.name):
        rules["personal"] = True
    if profile.low is None or profile.type.startswith("datetime") or profile.name in data.left_out:
        return rules
    if has_categories(profile, data):
        rules["isin"] = to_flow_style(sorted(profile.values or ()))
    elif profile.type == "str":
        rules["str_length"] = to_flow_style({"min_value": 1, "max_value": 2 * profile.high})
    else:
        rules["in_range"] = to_flow_style(infer_range(profile))
    return rules


def has_categories(profile: ColumnProfile, data: DataParams) -> bool:
    """Return whether a column's values are listed: classes of the target always, others where they are few."""
    if profile.name == data.target and data.task == "classification":
        return True
    is_few = profile.distinct_count <= min(MAX_CATEGORIES, profile.rows / 10)
    return is_few and (profile.type == "str" or (profile.distinct_count == 2 and profile.type != "float64"))


def infer_range(profile: ColumnProfile) -> dict[str, float]:
    """Infer the range of a column of numbers, whole ones for whole numbers."""
    limits = widen_range(float(profile.low), float(profile.high))
    if profile.type == "int64":
        rounded: list[float] = [int(limit) for limit in limits]
    else:
        rounded = [float(f"{limit:.6g}") for limit in limits]
    return {"min_value": rounded[0], "max_value": rounded[1]}


def amend_entry(entry: dict[str, Any], profile: ColumnProfile, data: DataParams) -> None:
    """Replace the inferred rules of a column's entry; what its owner says about `personal` stays."""
    rules = infer_column_rules(profile, data)
    if "personal" in entry:
        rules["personal"] = entry["personal"]
    for rule in INFERRED_KEYS:
        if rule in entry and rule not in rules:
            del entry[rule]
    entry.update(rules)


def amend_schema(
    text: str,
    profiles: dict[str, ColumnProfile],
    data: DataParams,
    broken: set[str],
    key: list[str] | None = None,
    dialect: Dialect | None = None,
) -> str:
    """Write new rules for columns that are new or break theirs.

    Parameters
    ----------
    text
        The schema as it is.
    profiles
        The profile of each column of the table.
    data
        The parameters of the table.
    broken
        The columns that break their rules, and `UNIQUENESS_CHECK` where the key repeats.
    key
        The columns that no two rows share.
    dialect
        How the text files are written from which rows come; None leaves it as it is.

    Returns
    -------
    str
        The new schema; comments and further keys stay.
    """
    editor = YamlEditor(text)
    document = editor.document
    columns = document["columns"]
    columns.fa.set_block_style()
    for name in list(columns):
        if name not in profiles:
            del columns[name]
    for name, profile in profiles.items():
        entry = columns.setdefault(name, {})
        if not entry or name in broken:
            amend_entry(entry, profile, data)
    if UNIQUENESS_CHECK in broken or not set(document.get("unique") or []) <= set(profiles):
        del document["unique"]
    if key:
        document["unique"] = to_flow_style(key)
    written = dialect.to_yaml() if dialect else {}
    if written:
        document["dialect"] = {name: to_flow_style(value) for name, value in written.items()}
    return editor.to_yaml()


def find_broken_rules(table: pd.DataFrame) -> set[str]:
    """Return the columns that break the rules of schema.yaml, and `UNIQUENESS_CHECK` where the key repeats."""
    failures = collect_failures(table, load_schema())
    is_key = failures["check"] == UNIQUENESS_CHECK
    return set(failures["column"].where(~is_key, UNIQUENESS_CHECK))


def diff_schemas(old: str, new: str) -> str:
    """Return the difference of two schemas as a unified diff; empty where there is none."""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), str(SCHEMA_YAML), f"{SCHEMA_YAML} as the data is", n=2, lineterm=""
    )
    return "\n".join(lines)


def main(write: bool = False) -> int:
    """Show how schema.yaml differs from the data; WRITE=1 writes it.

    A column whose rules the data keeps is left alone: delete it from schema.yaml to have it inferred again.
    """
    project = Project.load()
    data = project.params.data
    path = open_table(project)
    table = read_table(path)
    profiles = profile_columns(path)
    old = SCHEMA_YAML.read_text(encoding="utf-8") if SCHEMA_YAML.exists() else ""
    try:
        new = amend_schema(old, profiles, data, find_broken_rules(table))
    except UserError as problem:  # the schema cannot be read, so it is inferred from nothing
        print_result("schema", str(problem))
        new = amend_schema(EMPTY_SCHEMA, profiles, data, set())
    difference = diff_schemas(old, new)
    if not difference:
        print_result("schema", f"{SCHEMA_YAML} holds for the data")
        return 0
    print_line(difference)
    if write:
        with atomic_write(SCHEMA_YAML) as draft:
            draft.write_text(new, encoding="utf-8")
    print_result("schema", "written" if write else "nothing written; `make schema WRITE=1` writes it")
    return 0
