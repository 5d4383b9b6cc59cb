"""Verb: schema.yaml is inferred again from the data; what the data still keeps stays as it is written."""

import difflib
import math
import re
from pathlib import Path
from typing import Any

from modelyard.core.errors import UserError
from modelyard.core.files import atomic
from modelyard.core.params import Data, load_params
from modelyard.core.paths import SCHEMA
from modelyard.core.yaml_edit import Editor
from modelyard.data.parquet import read_table
from modelyard.data.profiling import Facts, facts_of
from modelyard.data.schema import failures, load_schema

CATEGORIES = 20
HEAD = """\
# What a row is. `make pipeline` stops at rows that break it, the service refuses them, monitoring counts them.
schema_type: dataframe
api: pandas
columns: {}
"""
# Columns that by their name are about one person; `personal: false` says that a column is not.
PERSONAL = re.compile(
    r"(?i)(^|_)(e_?mail|phone|mobile|fax|(first|last|full|middle|given|family|sur|maiden)_?name|street|birth_?da(y|te)"
    r"|date_of_birth|dob|ssn|passport|iban|ip_address|(home|mail|postal)_?address)(_|$)"
)
INFERRED = ("dtype", "nullable", "isin", "in_range", "str_length")
UNIQUE = "multiple_fields_uniqueness"  # pandera's name of the rule that no two rows have one key


def inline(value: dict[str, Any] | list[Any]) -> Any:
    """A mapping or list that YAML writes in one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    made = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    made.fa.set_flow_style()
    return made


def widened(low: float, high: float) -> tuple[float, float]:
    """A range with half of itself added on both sides, in round numbers; what was never negative stays so."""
    if low == high:
        low, high = min(low, 0), max(high, 0)
    if low >= 0 and high <= 1:
        return 0, 1
    room = (high - low) / 2
    step = 10 ** math.floor(math.log10(room))
    least, most = math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step
    return (max(0, least) if low >= 0 else least), (min(0, most) if high <= 0 else most)


def looks_personal(name: str) -> bool:
    """Whether a column is about one person, by its name."""
    return bool(PERSONAL.search(re.sub(r"\W+", "_", name)))


def rules(facts: Facts, data: Data) -> dict[str, Any]:
    """What holds for a column's values and for values like them: type, gaps, categories or range."""
    found: dict[str, Any] = {"dtype": facts.type} | ({"nullable": True} if facts.gaps else {})
    found |= {"personal": True} if looks_personal(facts.name) else {}
    few = facts.count <= min(CATEGORIES, facts.rows / 10) and (facts.type == "str" or facts.count == 2)
    if facts.low is None or facts.type.startswith("datetime") or facts.name in data.left_out:
        return found
    classes = facts.name == data.target and data.task == "classification"
    if classes or (few and facts.type != "float64"):
        return found | {"isin": inline(sorted(facts.values or ()))}
    if facts.type == "str":
        return found | {"str_length": inline({"min_value": 1, "max_value": 2 * facts.high})}
    low, high = widened(float(facts.low), float(facts.high))
    kind = int if facts.type == "int64" else lambda value: float(f"{value:.6g}")
    return found | {"in_range": inline({"min_value": kind(low), "max_value": kind(high)})}


def amended(old: str, facts: dict[str, Facts], data: Data, wrong: set[str], key: list[str] | None = None) -> str:
    """The schema with new rules for columns that are new or break theirs; comments and further keys stay."""
    editor = Editor(old)
    columns = editor.document["columns"]
    columns.fa.set_block_style()
    for name in [name for name in columns if name not in facts]:
        del columns[name]
    for name, column in facts.items():
        entry = columns.setdefault(name, {})
        if not entry or name in wrong:
            fresh = rules(column, data) | ({"personal": entry["personal"]} if "personal" in entry else {})
            for rule in [rule for rule in INFERRED if rule in entry and rule not in fresh]:
                del entry[rule]
            entry.update(fresh)
    if UNIQUE in wrong or not set(editor.document.get("unique") or []) <= set(facts):
        del editor.document["unique"]
    editor.document.update({"unique": inline(key)} if key else {})
    return editor.text()


def main(write: bool = False) -> int:
    """Show how schema.yaml differs from the data; WRITE=1 writes it.

    A column whose rules the data keeps is left alone: delete it from schema.yaml to have it inferred again.
    """
    data = load_params().data
    table, facts = read_table(Path(data.path)), facts_of(Path(data.path))
    old = SCHEMA.read_text(encoding="utf-8") if SCHEMA.exists() else ""
    try:
        found = failures(table, load_schema())
        wrong = found["column"].where(found["check"] != UNIQUE, UNIQUE)
        new = amended(old, facts, data, set(wrong))
    except UserError as problem:  # it cannot be read: a new one
        print(f"{'schema':<10}{problem}")
        new = amended(HEAD, facts, data, set())
    names = str(SCHEMA), f"{SCHEMA} as the data is"
    shown = "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), *names, n=2, lineterm=""))
    if not shown:
        print(f"{'schema':<10}{SCHEMA} holds for the data")
        return 0
    print(shown)
    if write:
        with atomic(SCHEMA) as draft:
            draft.write_text(new, encoding="utf-8")
    print(f"{'schema':<10}{'written' if write else 'nothing written; `make schema WRITE=1` writes it'}")
    return 0
