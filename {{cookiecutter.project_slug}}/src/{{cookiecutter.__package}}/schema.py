"""Verb: schema.yaml is inferred again from the data; what the data still keeps stays as it is written."""

import difflib
import io
import math
from pathlib import Path
from typing import Any

import yaml

from .config import SCHEMA, UserError, atomic, load_params
from .facts import Facts, facts_of
from .validate import failures, load_schema, read_table

CATEGORIES = 20
HEAD = """\
# What a row is. `make pipeline` stops at rows that break it, the service refuses them, monitoring counts them.
schema_type: dataframe
api: pandas
columns:
"""
INFERRED = ("dtype", "nullable", "isin", "in_range", "str_length")


def scalar(value: Any) -> str:
    """A value as YAML writes it inside a line."""
    options: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "sort_keys": False}
    return yaml.safe_dump([value], width=math.inf, **options).strip()[1:-1]


def widened(low: float, high: float) -> tuple[float, float]:
    """A range with half of itself added on both sides, in round numbers; what was never negative stays so."""
    if low == high:
        low, high = min(low, 0), max(high, 0)
    if low >= 0 and high <= 1:
        return 0, 1
    room = (high - low) / 2
    step = 10 ** math.floor(math.log10(room)) if room > 0 else 1
    least, most = math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step
    return (max(0, least) if low >= 0 else least), (min(0, most) if high <= 0 else most)


def rules(facts: Facts, target: bool = False) -> dict[str, Any]:
    """What holds for a column's values and for values like them: type, gaps, categories or range."""
    found: dict[str, Any] = {"dtype": facts.type}
    if facts.gaps:
        found["nullable"] = True
    count = len(facts.values) if facts.values is not None else math.inf
    few = count <= CATEGORIES and count <= facts.rows / 10
    if target or (few and (facts.type == "str" or (facts.type == "int64" and count == 2))):
        found["isin"] = facts.distinct
    elif facts.type == "str" and facts.longest:
        found["str_length"] = {"min_value": 1, "max_value": 2 * facts.longest}
    elif facts.numeric and facts.low is not None:
        low, high = widened(float(facts.low), float(facts.high))
        kind = int if facts.type == "int64" else lambda value: float(f"{value:.6g}")
        found["in_range"] = {"min_value": kind(low), "max_value": kind(high)}
    return found


def text(columns: dict[str, dict[str, Any]], key: list[str]) -> str:
    """The schema as YAML in the project's layout."""
    lines = [HEAD.rstrip()]
    for name, found in columns.items():
        lines.append(f"  {scalar(name)}:")
        lines += [f"    {rule}: {scalar(value)}" for rule, value in found.items()]
    if key:
        lines.append(f"unique: {scalar(key)}")
    return "\n".join(lines) + "\n"


def inferred(facts: dict[str, Facts], classes: str | None, key: list[str]) -> str:
    """A new schema for a table; `classes` names the target of a classification."""
    return text({name: rules(column, name == classes) for name, column in facts.items()}, key)


def broken(path: Path) -> tuple[set[str], bool]:
    """The columns whose rules the data breaks, and whether it breaks the key."""
    found = failures(read_table(path), load_schema())
    key = found["check"] == "multiple_fields_uniqueness"
    return set(found.loc[~key, "column"]), bool(key.any())


def editor() -> Any:
    """A YAML reader and writer that keeps comments, quotes and order, and says null where it stood."""
    from ruamel.yaml import YAML

    made = YAML()
    made.preserve_quotes, made.width = True, 4096
    made.indent(mapping=2, sequence=4, offset=2)
    made.representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
    return made


def amended(old: str, path: Path, facts: dict[str, Facts], classes: str | None) -> str:
    """The schema with new rules for columns that are new or break theirs; comments and further keys stay."""
    writer = editor()
    document = writer.load(old)
    wrong, repeats = broken(path)
    for name in [name for name in document["columns"] if name not in facts]:
        del document["columns"][name]
    for name, column in facts.items():
        entry = document["columns"].setdefault(name, {})
        if entry and name not in wrong:
            continue
        fresh = writer.load(text({name: rules(column, name == classes)}, []))["columns"][name]
        if "str_matches" in entry:
            fresh.pop("str_length", None)
        for rule in [rule for rule in INFERRED if rule in entry and rule not in fresh]:
            del entry[rule]
        entry.update(fresh)
    if repeats or not set(document.get("unique") or []) <= set(facts):
        del document["unique"]
    buffer = io.StringIO()
    writer.dump(document, buffer)
    return buffer.getvalue()


def proposal() -> tuple[str, str]:
    """The schema as it stands and as the data wants it; one that cannot be read is inferred as a whole."""
    params = load_params()
    path = Path(params.data.path)
    read_table(path)
    facts = facts_of(path)
    classes = params.data.target if params.data.task == "classification" else None
    old = SCHEMA.read_text(encoding="utf-8") if SCHEMA.exists() else ""
    try:
        load_schema()
    except UserError as problem:
        print(f"{'schema':<10}{problem}")
        return old, inferred(facts, classes, [])
    return old, amended(old, path, facts, classes)


def main(write: bool = False) -> int:
    """Show how schema.yaml differs from the data; WRITE=1 writes it.

    A column whose rules the data keeps is left alone: delete it from schema.yaml to have it inferred again.
    """
    old, new = proposal()
    names = str(SCHEMA), f"{SCHEMA} as the data is"
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, n=2, lineterm="")
    shown = "\n".join(lines)
    if not shown:
        print(f"{'schema':<10}{SCHEMA} holds for the data")
        return 0
    print(shown)
    if write:
        with atomic(SCHEMA) as draft:
            draft.write_text(new, encoding="utf-8")
    print(f"{'schema':<10}{'written' if write else 'nothing written; `make schema WRITE=1` writes it'}")
    return 0
