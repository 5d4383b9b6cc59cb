from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from modelyard.core.params import DataParams, Params
from modelyard.core.yaml import dump_yaml, parse_yaml, read_yaml
from modelyard.data import schema
from modelyard.data.profiling import ColumnProfile
from modelyard.workspace import infer_schema

pytestmark = pytest.mark.usefixtures("project")
FILE = Path("schema.yaml")
DATA = DataParams("", "y", "regression", ["x"], left_out={"gone": "identifier"})


def facts(*values: object, kind: str = "float64", rows: int = 100) -> ColumnProfile:
    found = ColumnProfile("x", kind)
    found.add(pa.array(values))
    found.rows = rows
    return found


def numbers(frame: pd.DataFrame, params: Params) -> str:
    """A feature of numbers that is no part of the key."""
    own = [n for n in frame.select_dtypes("number") if n in params.data.features and n not in schema.read_key()]
    if not own:
        pytest.skip("no feature is a number")
    return str(own[0])


@pytest.mark.parametrize(
    ("found", "rules"),
    [
        (facts(10.0, 20.0), {"dtype": "float64", "in_range": {"min_value": 5.0, "max_value": 25.0}}),
        (facts(0.1, 0.9), {"dtype": "float64", "in_range": {"min_value": 0.0, "max_value": 1.0}}),
        (facts(0.0, 70.0), {"dtype": "float64", "in_range": {"min_value": 0.0, "max_value": 110.0}}),
        (facts(-3.0, 3.0), {"dtype": "float64", "in_range": {"min_value": -6.0, "max_value": 6.0}}),
        (facts(5.0), {"dtype": "float64", "in_range": {"min_value": 0.0, "max_value": 8.0}}),
        (
            facts(1.0, None, 4.0),
            {"dtype": "float64", "nullable": True, "in_range": {"min_value": 0.0, "max_value": 6.0}},
        ),
        (facts(0, 1, kind="int64"), {"dtype": "int64", "isin": [0, 1]}),
        (facts(1, 2, 3, kind="int64"), {"dtype": "int64", "in_range": {"min_value": 0, "max_value": 4}}),
        (facts("b", "a", kind="str"), {"dtype": "str", "isin": ["a", "b"]}),
        (facts("b", "abc", kind="str", rows=10), {"dtype": "str", "str_length": {"min_value": 1, "max_value": 6}}),
        (facts(None, None), {"dtype": "float64", "nullable": True}),
    ],
)
def test_rules_are_as_wide_as_the_values_and_half_of_it_more(found: ColumnProfile, rules: dict[str, object]) -> None:
    assert infer_schema.infer_column_rules(found, DATA) == rules


def test_classes_are_listed_however_many() -> None:
    data = DataParams("", "x", "classification", [])
    assert infer_schema.infer_column_rules(facts(*range(40), kind="int64"), data)["isin"] == list(range(40))


def test_a_schema_that_holds_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = FILE.read_bytes()
    assert infer_schema.main(write=True) == 0
    assert FILE.read_bytes() == before
    assert "holds for the data" in capsys.readouterr().out


def test_a_broken_rule_is_shown_and_written_only_when_asked(
    params: Params, frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    name = numbers(frame, params)
    frame.loc[0, name] = 10**9
    frame.to_parquet(params.data.path)
    before = FILE.read_bytes()
    infer_schema.main()
    assert FILE.read_bytes() == before
    assert "\n+" in capsys.readouterr().out
    infer_schema.main(write=True)
    assert schema.collect_failures(frame, schema.load_schema()).empty


def test_a_new_column_is_added_and_a_gone_one_removed(params: Params, frame: pd.DataFrame) -> None:
    name = numbers(frame, params)
    frame.drop(columns=name).assign(fresh=1.5).to_parquet(params.data.path)
    infer_schema.main(write=True)
    columns = schema.load_schema().columns
    assert "fresh" in columns
    assert name not in columns


def test_comments_and_further_keys_stay(params: Params, frame: pd.DataFrame) -> None:
    name = numbers(frame, params)
    document = read_yaml(FILE)
    document["columns"][name] = {"personal": True, **document["columns"][name]}
    FILE.write_text("# mine\n" + dump_yaml(document), encoding="utf-8")
    frame.loc[0, name] = 10**9
    frame.to_parquet(params.data.path)
    infer_schema.main(write=True)
    assert FILE.read_text(encoding="utf-8").startswith("# mine")
    assert read_yaml(FILE)["columns"][name]["personal"] is True


@pytest.mark.parametrize("said", [True, False])
def test_a_column_that_looks_personal_is_marked_unless_it_was_said(said: bool) -> None:
    both = {name: ColumnProfile(name, "str", rows=9, low=1, high=9) for name in ("customer_email", "emails_sent")}
    entry = "" if said else "columns:\n  customer_email: {personal: false}\n"
    old = infer_schema.EMPTY_SCHEMA.replace("columns: {}\n", entry or "columns: {}\n")
    found = parse_yaml(infer_schema.amend_schema(old, both, DATA, {"customer_email"}))["columns"]
    assert found["customer_email"]["personal"] is said and "personal" not in found["emails_sent"]


@pytest.mark.parametrize("text", ["", "columns: 5", "[", "columns: {a: {dtype: nonsense}}"])
def test_nonsense_is_inferred_again(text: str, frame: pd.DataFrame) -> None:
    FILE.write_text(text, encoding="utf-8")
    infer_schema.main(write=True)
    assert schema.collect_failures(frame, schema.load_schema()).empty


def test_a_key_that_repeats_is_dropped(params: Params, frame: pd.DataFrame) -> None:
    document = read_yaml(FILE)
    name = params.data.features[0]
    FILE.write_text(dump_yaml({**document, "unique": [name]}), encoding="utf-8")
    frame[name] = frame[name].iloc[0]
    frame.to_parquet(params.data.path)
    infer_schema.main(write=True)
    assert schema.load_schema().unique is None
