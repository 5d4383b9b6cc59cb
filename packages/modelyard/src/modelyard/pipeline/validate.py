"""Stage: check that the table keeps schema.yaml; stop and show the rows that break it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modelyard.core.console import print_data, report_stage
from modelyard.core.errors import UserError
from modelyard.core.files import write_json
from modelyard.core.paths import DATA_JSON, SCHEMA_YAML
from modelyard.core.project import Project
from modelyard.data.duplicates import find_duplicate_failures
from modelyard.data.parquet import WHOLE_TABLE_ROWS, count_rows, read_blocks
from modelyard.data.profiling import SKETCH_SIZE, merge_profiles, profile_table
from modelyard.data.schema import collect_failures, load_schema
from modelyard.data.source import hash_source, open_table

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema


def validate_table(path: Path, schema: "DataFrameSchema") -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rules that a table breaks, and its profile.

    Parameters
    ----------
    path
        A Parquet table of any size: at most one block of it is in memory.
    schema
        The schema of a row.

    Returns
    -------
    pandas.DataFrame
        One row for each broken rule: column, check, number of rows, values and example rows.
    dict
        The profile, as reports/data.json keeps it.
    """
    if count_rows(path) <= WHOLE_TABLE_ROWS:
        table = next(iter(read_blocks(path)))
        return collect_failures(table, schema), profile_table(table)
    unique = schema.unique
    schema.unique = None  # rows of different blocks are compared below
    failures = []
    profiles = []
    sketches: dict[str, np.ndarray] = {}
    for block in read_blocks(path):
        failures.append(collect_failures(block, schema))
        profiles.append(profile_table(block))
        for name in map(str, block):
            sketches[name] = extend_sketch(sketches.get(name), block[name])
    if unique:
        failures.append(find_duplicate_failures(path, unique))
    rules = pd.concat(failures).groupby(["column", "check"], as_index=False)
    broken = rules.agg({"rows": "sum", "values": "first", "examples": "first"})
    return broken, merge_profiles(profiles, sketches)


def extend_sketch(sketch: np.ndarray | None, values: pd.Series) -> np.ndarray:
    """Return the smallest hashes of a column's distinct values, those of one more block included."""
    hashes = pd.util.hash_array(values.dropna().unique())
    known = hashes if sketch is None else np.concatenate([sketch, hashes])
    return np.unique(known)[:SKETCH_SIZE]


def main() -> int:
    """Stop with the rules that the data breaks; else write reports/data.json."""
    project = Project.load()
    path = Path(project.params.data.path)
    table = open_table(project)
    with report_stage("validate", count_rows(table)) as notes:
        broken, profile = validate_table(table, load_schema())
        if len(broken):
            print_data(broken.to_string(index=False))  # also with -q: the error names these rows
            word = "rule" if len(broken) == 1 else "rules"
            cure = "correct the rows above, or the schema (`make schema` shows how it would differ)"
            raise UserError(f"{path} breaks {len(broken)} {word} of {SCHEMA_YAML}; {cure}")
        write_json(DATA_JSON, {"path": str(path), "sha256": hash_source(path), **profile})
        notes["columns"] = len(profile["columns"])
    return 0
