"""Stage: the table keeps what schema.yaml says, or the run stops and shows the rows that do not."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modelyard.core.console import print_line, report_stage
from modelyard.core.errors import UserError
from modelyard.core.files import sha256, write_json
from modelyard.core.params import load_params
from modelyard.core.paths import DATA_JSON, SCHEMA_YAML
from modelyard.data.duplicates import find_duplicate_failures
from modelyard.data.parquet import WHOLE_TABLE_ROWS, count_rows, read_blocks
from modelyard.data.profiling import SKETCH_SIZE, merge_profiles, profile_table
from modelyard.data.schema import collect_failures, load_schema

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema


def validate_table(path: Path, schema: "DataFrameSchema") -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rules that a table of any size breaks, and its profile; more than one block is never in memory."""
    broken, profiles, sketches = [], [], dict[str, np.ndarray]()
    several = count_rows(path) > WHOLE_TABLE_ROWS
    unique, schema.unique = schema.unique, None if several else schema.unique
    for part in read_blocks(path):
        broken.append(collect_failures(part, schema))
        profiles.append(profile_table(part))
        for name in map(str, part if several else ()):
            marks = pd.util.hash_array(part[name].dropna().unique())
            sketches[name] = np.unique(np.concatenate([sketches.get(name, marks), marks]))[:SKETCH_SIZE]
    if several:
        broken += [find_duplicate_failures(path, unique)] if unique else []
        rules = pd.concat(broken).groupby(["column", "check"], as_index=False)
        return rules.agg({"rows": "sum", "values": "first", "examples": "first"}), merge_profiles(profiles, sketches)
    return broken[0], profiles[0]


def main() -> int:
    """Stop with the rules that the data breaks; else write reports/data.json."""
    params = load_params()
    path = Path(params.data.path)
    with report_stage("validate", count_rows(path)) as notes:
        broken, found = validate_table(path, load_schema())
        if len(broken):
            print_line(broken.to_string(index=False))
            word = "rule" if len(broken) == 1 else "rules"
            raise UserError(
                f"{path} breaks {len(broken)} {word} of {SCHEMA_YAML}; "
                "correct the rows above, or the schema (`make schema` shows how it would differ)"
            )
        write_json(DATA_JSON, {"path": str(path), "sha256": sha256(path), **found})
        notes["columns"] = len(found["columns"])
    return 0
