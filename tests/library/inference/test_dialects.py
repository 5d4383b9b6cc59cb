"""A file that was adopted is scored as the table that adopt made of it, whatever its dialect is."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import InvalidFileError
from modelyard.core.params import load_params
from modelyard.inference import batch
from modelyard.pipeline import evaluate, split, train, validate
from modelyard.workspace import adopt

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]
ROWS = 160


def make_table() -> pd.DataFrame:
    """A table whose target follows its columns; some words are missing."""
    random = np.random.default_rng(0)
    size, kind = random.normal(5000, 900, ROWS).round(2), random.choice(["alpha", "beta", "None"], ROWS)
    late = size + 900 * (kind == "beta") + random.normal(0, 300, ROWS) > 5300
    days = pd.date_range("2024-01-01", periods=ROWS, freq="D")
    columns = {"day": days, "size": size, "kind": kind, "new": random.choice([True, False], ROWS)}
    return pd.DataFrame(columns | {"late": np.where(late, "yes", "NA")})


def to_german(table: pd.DataFrame) -> bytes:
    size = table["size"].map(lambda value: f"{value:,.2f}".translate(str.maketrans(",.", ".,")))
    return (
        table.assign(size=size, day=table["day"].dt.strftime("%d.%m.%Y")).to_csv(index=False, sep=";").encode("cp1252")
    )


def to_export(table: pd.DataFrame) -> bytes:
    size = table["size"].map(lambda value: f"${value:,.2f}")
    written = table.assign(size=size, day=table["day"].dt.strftime("%m/%d/%Y %I:%M %p"))
    return f"Exported by a tool\n\n{written.to_csv(index=False)}\nTotal rows: {ROWS}\n".encode("utf-16")


def to_padded(table: pd.DataFrame) -> bytes:
    written = table.assign(kind=" " + table["kind"], new=table["new"].map({True: " TRUE", False: " ?"}))
    return written.to_csv(index=False, sep="|").replace("\n", "\r\n").encode()


def to_quoted(table: pd.DataFrame) -> bytes:
    kind = table["kind"] + ' "x", y'
    written = table.assign(kind=kind, day=table["day"].astype("int64") // 10**6)
    return written.to_csv(index=False, escapechar="\\", doublequote=False).encode()


def to_lines(table: pd.DataFrame) -> bytes:
    return str(table.to_json(orient="records", lines=True, date_format="iso")).encode()


DIALECTS = {
    "german": (to_german, "in.csv", {"keep": "NA,None"}),
    "export": (to_export, "in.csv", {"keep": "NA", "numbers": "auto", "time": "day"}),
    "padded": (to_padded, "in.csv", {"keep": "NA"}),
    "quoted": (to_quoted, "in.csv", {"keep": "NA,None", "time": "day"}),
    "lines": (to_lines, "in.jsonl", {}),
}


def adopt_and_train(path: Path, options: dict[str, Any]) -> None:
    adopt.main(str(path), "late", **options)
    for stage in (validate, split, train, evaluate):
        stage.main()


@pytest.mark.parametrize("name", DIALECTS)
def test_score_of_the_file_equals_score_of_the_table(name: str) -> None:
    write, file, options = DIALECTS[name]
    Path(file).write_bytes(write(make_table()))
    adopt_and_train(Path(file), options)
    table = load_params().data.path
    batch.main(file, "file.parquet", outside="refuse")
    batch.main(table, "table.parquet", outside="refuse")
    found = pd.read_parquet("file.parquet")
    assert len(found) == ROWS
    pd.testing.assert_frame_equal(found, pd.read_parquet("table.parquet"))


def test_rows_outside_the_schema_are_refused_or_flagged() -> None:
    Path("in.csv").write_bytes(to_padded(make_table()))
    adopt_and_train(Path("in.csv"), {"keep": "NA"})
    odd = make_table().drop(columns="late").astype({"size": object})
    odd.loc[3, "size"] = 10**9
    odd.loc[5, "size"] = None
    odd.loc[5, "kind"] = "delta"
    odd.to_csv("odd.csv", index=False, sep="|")
    with pytest.raises(InvalidFileError, match=r"first row 4: size: less_than_or_equal_to .*OUTSIDE=flag"):
        batch.main("odd.csv", "out.csv")
    batch.main("odd.csv", "out.csv", outside="flag")
    flags = pd.read_csv("out.csv")["flags"].fillna("")
    assert flags[flags != ""].to_dict() == {3: "size", 5: "size,kind"}
