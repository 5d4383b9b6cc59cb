"""Verb: schema.yaml is inferred again from the data; what the data still keeps stays as it is written."""

import difflib
import math
import re
from typing import Any

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write
from modelyard.core.params import DataParams
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.project import Project
from modelyard.core.yaml_edit import YamlEditor
from modelyard.data.parquet import read_table
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
# Columns that by their name are about one person; `personal: false` says that a column is not.
PERSONAL_NAME_PATTERN = re.compile(
    r"(?i)(^|_)(e_?mail|phone|mobile|fax|(first|last|full|middle|given|family|sur|maiden)_?name|street|birth_?da(y|te)"
    r"|date_of_birth|dob|ssn|passport|iban|ip_address|(home|mail|postal)_?address)(_|$)"
)
INFERRED_KEYS = ("dtype", "nullable", "isin", "in_range", "str_length")
UNIQUENESS_CHECK = "multiple_fields_uniqueness"  # pandera's name of the rule that no two rows have one key


def to_flow_style(value: dict[str, Any] | list[Any]) -> Any:
    """A mapping or list that YAML writes in one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    made = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    made.fa.set_flow_style()
    return made


def widen_range(low: float, high: float) -> tuple[float, float]:
    """A range with half of itself added on both sides, in round numbers; what was never negative stays so."""
    if low == high:
        low, high = min(low, 0), max(high, 0)
    if low >= 0 and high <= 1:
        return 0, 1
    room = (high - low) / 2
    step = 10 ** math.floor(math.log10(room))
    least, most = math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step
    return (max(0, least) if low >= 0 else least), (min(0, most) if high <= 0 else most)


def is_personal_name(name: str) -> bool:
    """Whether a column is about one person, by its name."""
    return bool(PERSONAL_NAME_PATTERN.search(re.sub(r"\W+", "_", name)))


def infer_column_rules(facts: ColumnProfile, data: DataParams) -> dict[str, Any]:
    """What holds for a column's values and for values like them: type, gaps, categories or range."""
    found: dict[str, Any] = {"dtype": facts.type} | ({"nullable": True} if facts.missing_count else {})
    found |= {"personal": True} if is_personal_name(facts.name) else {}
    few = facts.count <= min(MAX_CATEGORIES, facts.rows / 10) and (facts.type == "str" or facts.count == 2)
    if facts.low is None or facts.type.startswith("datetime") or facts.name in data.left_out:
        return found
    classes = facts.name == data.target and data.task == "classification"
    if classes or (few and facts.type != "float64"):
        return found | {"isin": to_flow_style(sorted(facts.values or ()))}
    if facts.type == "str":
        return found | {"str_length": to_flow_style({"min_value": 1, "max_value": 2 * facts.high})}
    low, high = widen_range(float(facts.low), float(facts.high))
    kind = int if facts.type == "int64" else lambda value: float(f"{value:.6g}")
    return found | {"in_range": to_flow_style({"min_value": kind(low), "max_value": kind(high)})}


def amend_schema(
    old: str, facts: dict[str, ColumnProfile], data: DataParams, wrong: set[str], key: list[str] | None = None
) -> str:
    """The schema with new rules for columns that are new or break theirs; comments and further keys stay."""
    editor = YamlEditor(old)
    columns = editor.document["columns"]
    columns.fa.set_block_style()
    for name in [name for name in columns if name not in facts]:
        del columns[name]
    for name, column in facts.items():
        entry = columns.setdefault(name, {})
        if not entry or name in wrong:
            fresh = infer_column_rules(column, data) | ({"personal": entry["personal"]} if "personal" in entry else {})
            for rule in [rule for rule in INFERRED_KEYS if rule in entry and rule not in fresh]:
                del entry[rule]
            entry.update(fresh)
    if UNIQUENESS_CHECK in wrong or not set(editor.document.get("unique") or []) <= set(facts):
        del editor.document["unique"]
    editor.document.update({"unique": to_flow_style(key)} if key else {})
    return editor.to_yaml()


def main(write: bool = False) -> int:
    """Show how schema.yaml differs from the data; WRITE=1 writes it.

    A column whose rules the data keeps is left alone: delete it from schema.yaml to have it inferred again.
    """
    project = Project.load()
    data = project.params.data
    path = open_table(project)
    table, facts = read_table(path), profile_columns(path)
    old = SCHEMA_YAML.read_text(encoding="utf-8") if SCHEMA_YAML.exists() else ""
    try:
        found = collect_failures(table, load_schema())
        wrong = found["column"].where(found["check"] != UNIQUENESS_CHECK, UNIQUENESS_CHECK)
        new = amend_schema(old, facts, data, set(wrong))
    except UserError as problem:  # it cannot be read: a new one
        print_result("schema", f"{problem}")
        new = amend_schema(EMPTY_SCHEMA, facts, data, set())
    names = str(SCHEMA_YAML), f"{SCHEMA_YAML} as the data is"
    shown = "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), *names, n=2, lineterm=""))
    if not shown:
        print_result("schema", f"{SCHEMA_YAML} holds for the data")
        return 0
    print_line(shown)
    if write:
        with atomic_write(SCHEMA_YAML) as draft:
            draft.write_text(new, encoding="utf-8")
    print_result("schema", f"{'written' if write else 'nothing written; `make schema WRITE=1` writes it'}")
    return 0
