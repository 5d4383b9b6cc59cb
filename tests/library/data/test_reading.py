import io
import string
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidFileError
from modelyard.core.params import DataParams
from modelyard.core.yaml import parse_yaml
from modelyard.data.dialect import Dialect, read_dialect
from modelyard.data.importing import ImportOptions, convert_to_parquet, open_source
from modelyard.data.profiling import profile_columns
from modelyard.data.reading import read_rows
from modelyard.workspace.infer_schema import EMPTY_SCHEMA, amend_schema

DATA = DataParams("table.parquet", "whole", "regression", ["real"])
LETTERS = string.ascii_letters + "äß€,;|\t \"'.#-"
WORDS = st.text(LETTERS, max_size=8).map(str.strip)
FORMATS: dict[str, Any] = {
    "1234.5": lambda value: f"{value:.2f}",
    "1.234,5": lambda value: f"{value:.2f}".replace(".", ","),
    "$1,234.5": lambda value: f"${value:,.2f}",
    "1 234,5 km": lambda value: f"{value:,.2f} km".replace(",", " ").replace(".", ","),
}
TIMES = ("%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y %I:%M %p", "%d-%b-%y")
PREAMBLES = ("", "sep=;", "# exported", "Exported by a tool (you can hide this)\n\n")


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """A table with a column of each kind, as text of the plain kind; None is a gap."""
    count = draw(st.integers(25, 40))
    rows = {"min_size": count, "max_size": count}
    return pd.DataFrame(
        {
            "whole": draw(st.lists(st.integers(-9999, 10**6), **rows)),
            "real": draw(st.lists(st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 2)), **rows)),
            "word": draw(st.lists(st.none() | WORDS, **rows)),
            "truth": draw(st.lists(st.none() | st.booleans(), **rows)),
            "time": draw(st.lists(st.datetimes(pd.Timestamp("2000-01-13"), pd.Timestamp("2030-12-31")), **rows)),
        }
    )


def write_text(path: Path, table: pd.DataFrame, number: str, time: str, missing: str, layout: Dialect) -> None:
    """Write a table as a stranger would: in any layout, with any way to write numbers and times."""
    written = table.assign(
        real=table["real"].map(FORMATS[number]),
        time=table["time"].dt.strftime(time),
        truth=[missing if value is None else str(value).upper() for value in table["truth"]],
        word=[missing if value is None else value for value in table["word"]],
    )
    body = io.StringIO()
    quoting = {"escapechar": layout.escape, "doublequote": False} if layout.escape else {}
    written.to_csv(body, sep=layout.separator, index=False, lineterminator="\n", **quoting)
    lines = [line for line in (layout.comment, body.getvalue().rstrip("\n"), "\nTotal rows: 3" * layout.footer) if line]
    path.write_bytes("\n".join(lines).encode(layout.encoding, errors="replace"))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    table=tables(),
    separator=st.sampled_from(",;\t|"),
    escape=st.sampled_from(("", "\\")),
    encoding=st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "cp1252")),
    number=st.sampled_from(list(FORMATS)),
    time=st.sampled_from(TIMES),
    missing=st.sampled_from(("", "NA", "None", "n.a.")),
    preamble=st.sampled_from(PREAMBLES),
    footer=st.booleans(),
)
def test_what_adopt_wrote_is_what_the_reader_reads(
    tmp_path_factory: pytest.TempPathFactory,
    table: pd.DataFrame,
    separator: str,
    escape: str,
    encoding: str,
    number: str,
    time: str,
    missing: str,
    preamble: str,
    footer: bool,
) -> None:
    path = tmp_path_factory.mktemp("any") / "table.csv"
    comment = preamble.replace(";", separator)
    layout = Dialect(separator=separator, escape=escape, encoding=encoding, comment=comment, footer=int(footer))
    write_text(path, table, number, time, missing, layout)
    adopted, dialect, dtypes = adopt(path, ImportOptions(missing=("n.a.",), numbers=True))
    found = pd.concat(read_rows(path, dtypes, dialect, 10), ignore_index=True)
    pd.testing.assert_frame_equal(found.astype(dtypes), adopted)
    assert adopted["whole"].tolist() == table["whole"].tolist()
    assert adopted["real"].tolist() == table["real"].tolist()


def adopt(path: Path, options: ImportOptions) -> tuple[pd.DataFrame, Dialect, dict[str, str]]:
    """Return the rows that adopt keeps of a file, and the dialect and the types that schema.yaml has afterwards."""
    parquet, schema = path.with_name("adopted.parquet"), path.with_name("schema.yaml")
    source = open_source(path, None, options)
    convert_to_parquet(source, parquet, [], drop=False, numbers=options.numbers)
    text = amend_schema(EMPTY_SCHEMA, profile_columns(parquet), DATA, set(), [], source.dialect)
    schema.write_text(text, encoding="utf-8")
    dtypes = {name: rules["dtype"] for name, rules in parse_yaml(text)["columns"].items()}
    return pd.read_parquet(parquet), read_dialect(schema), dtypes


def rows_of(path: Path, dtypes: dict[str, str], **dialect: Any) -> pd.DataFrame:
    return pd.concat(read_rows(path, dtypes, Dialect(**dialect), 100))


def given_file(tmp_path: Path, content: str, name: str = "in.csv") -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_plain_file_is_read_where_the_projects_own_are_not_plain(tmp_path: Path) -> None:
    path = given_file(tmp_path, "a,b\n1.5,x\n")
    found = rows_of(path, {"a": "float64", "b": "str"}, separator=";", formats={"a": "1.234,5"})
    assert found.to_dict("list") == {"a": [1.5], "b": ["x"]}


def test_words_are_kept_or_missing_as_the_dialect_says(tmp_path: Path) -> None:
    path = given_file(tmp_path, "a,b\nNone,x\nNA,n.a.\n")
    found = rows_of(path, {"a": "str", "b": "str"}, keep=("None",), missing=("n.a.",))
    assert found["a"].tolist()[:1] == ["None"]
    assert found.isna().sum().to_dict() == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("b,c\n1,2\n", "lacks a; add what is missing"),
        ("a,b\n1,2\n3,x\n", r"has 'x' for b in row 2, where schema.yaml says whole numbers"),
        ("a,b\n1,2\n3,\n", "has no value of b in row 2"),
        ("a,b\n1,2\n3\n", r"row 3 has 1 instead of 2 \(3\); correct that row"),
        ("\x00\xff", "lacks a"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(InvalidFileError, match=words):
        rows_of(given_file(tmp_path, content), {"a": "int64", "b": "int64"})


def test_a_file_in_another_encoding_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes("a,b\n1,ä\n".encode("cp1252"))
    with pytest.raises(InvalidFileError, match=r"cannot be read as utf-8 text .*save it as UTF-8"):
        rows_of(path, {"a": "int64", "b": "str"})


def test_json_lines_have_columns_too(tmp_path: Path) -> None:
    path = given_file(tmp_path, '{"a": 1, "b": "x", "c": [1]}\n{"a": 2, "b": "y"}\n', "in.jsonl")
    assert rows_of(path, {"a": "int64", "b": "str"}).to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}
