"""Any table that is adopted keeps its values, and its schema holds for it, is inferred again, and makes rows."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.params import load_params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.yaml import read_yaml
from modelyard.data.schema import collect_failures, load_schema
from modelyard.inference.example_rows import to_json_rows
from modelyard.inference.request import RequestDecoder
from modelyard.testing.rows import make_rows
from modelyard.workspace import adopt, infer_schema
from tests.library.core.test_fuzz import few

ROWS = 120
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "count": st.integers(-1000, 1000),
    "size": st.integers(-(10**6), 10**6).map(lambda number: number / 100),
    "kind": st.sampled_from(["alpha", "beta gamma", "d'é", "x,y"]),
    "flag": st.booleans(),
}
GAPS = st.lists(st.integers(0, ROWS - 1), max_size=5)


@st.composite
def draw_table(draw: st.DrawFn) -> pd.DataFrame:
    """Return a table of one to four columns of any kind, some with gaps, and two classes that none gives away."""
    columns: dict[str, pd.Series] = {}
    for number, kind in enumerate(draw(st.lists(st.sampled_from([*CELLS]), min_size=1, max_size=4))):
        values = draw(st.lists(CELLS[kind], min_size=12, max_size=12, unique=kind in ("count", "size")))
        column = pd.Series([values[row * (number + 1) % 12] for row in range(ROWS)])
        for gap in draw(GAPS) if kind in ("size", "kind") else []:
            column[gap] = None
        columns[f"{kind}{number}"] = column
    return pd.DataFrame(columns).assign(row=range(ROWS), y=[row * row % 101 % 3 > 0 for row in range(ROWS)])


@few
@given(table=draw_table(), separator=st.sampled_from([",", ";", "\t"]))
def test_an_adopted_table_keeps_its_values_and_its_schema_holds(
    piped: Path, tmp_path: Path, table: pd.DataFrame, separator: str
) -> None:
    folder = tmp_path / "project"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(piped, folder)
    table.to_csv(tmp_path / "table.csv", index=False, sep=separator)
    with contextlib.chdir(folder), contextlib.redirect_stdout(None):
        adopt.main(str(tmp_path / "table.csv"), "y")
        params = load_params()
        kept = pd.read_parquet(params.data.path)
        assert to_json_rows(kept) == to_json_rows(table)
        assert collect_failures(kept, load_schema()).empty
        written = SCHEMA_YAML.read_bytes()
        infer_schema.main(write=True)
        assert SCHEMA_YAML.read_bytes() == written
        decoder = RequestDecoder(params.data)
        for rows in (kept, make_rows(read_yaml(SCHEMA_YAML), params)):
            assert collect_failures(rows, load_schema()).empty
            body = msgspec.json.encode(to_json_rows(rows[params.data.features]))
            assert not any(decoder.find_violations(decoder.decode(body)))
