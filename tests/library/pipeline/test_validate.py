import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from modelyard.core import console
from modelyard.core.errors import UserError
from modelyard.core.params import Params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.data import parquet, profiling, schema
from modelyard.pipeline import validate

FAR = 1e15


def numeric(params: Params, frame: pd.DataFrame) -> str:
    """A column of numbers with a range."""
    columns = schema.load_schema().columns
    names = [n for n in frame.select_dtypes("number") if columns[n].checks and n != params.data.target]
    if not names:
        pytest.skip("no column of numbers has a rule")
    return str(names[0])


@pytest.mark.usefixtures("project")
def test_rows_of_the_schema_break_no_rule(frame: pd.DataFrame) -> None:
    assert schema.collect_failures(frame, schema.load_schema()).empty


@pytest.mark.usefixtures("project")
def test_a_personal_column_shows_no_value(params: Params, frame: pd.DataFrame) -> None:
    name = numeric(params, frame)
    found_schema = yaml.safe_load(SCHEMA_YAML.read_text())
    found_schema["columns"][name]["personal"] = True
    SCHEMA_YAML.write_text(yaml.safe_dump(found_schema))
    assert set(profiling.profile_table(frame)["columns"][name]) == {"type", "missing", "distinct"}
    frame.loc[3, name] = int(FAR)
    found = schema.collect_failures(frame, schema.load_schema()).set_index("column")
    assert found.loc[name, "values"] == "(personal)"


@pytest.mark.usefixtures("project")
def test_main_writes_what_reports_compare(params: Params, frame: pd.DataFrame) -> None:
    validate.main()
    data = json.loads(Path("reports/data.json").read_text(encoding="utf-8"))
    assert (data["path"], data["rows"], set(data["columns"])) == (params.data.path, len(frame), set(frame))


@pytest.mark.usefixtures("project")
def test_a_broken_rule_has_count_values_and_rows(params: Params, frame: pd.DataFrame) -> None:
    name = numeric(params, frame)
    frame[name] = frame[name].astype("float64").astype(frame[name].dtype)
    frame.loc[[3, 7], name] = int(FAR)
    found = schema.collect_failures(frame, schema.load_schema()).set_index("column")
    assert found.loc[name, "rows"] == 2
    assert found.loc[name, "examples"] == "3, 7"


@pytest.mark.usefixtures("project")
def test_main_stops_with_the_rules_and_how_many(
    params: Params, frame: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = numeric(params, frame)
    frame.loc[[3, 7], name] = int(FAR)
    frame.to_parquet(params.data.path)
    monkeypatch.setattr(console, "_quiet", True)  # the rows belong to the error: -q shows them, too
    with pytest.raises(UserError, match=r"breaks 1 rule of schema\.yaml"):
        validate.main()
    assert name in capsys.readouterr().out


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large table, as far as the project knows."""
    monkeypatch.setattr(parquet, "WHOLE_TABLE_ROWS", 80)
    monkeypatch.setattr(validate, "WHOLE_TABLE_ROWS", 80)


def profiles(found: dict[str, Any]) -> dict[str, Any]:
    return {name: {key: pytest.approx(v) for key, v in column.items()} for name, column in found["columns"].items()}


@pytest.mark.usefixtures("project")
def test_a_table_in_blocks_has_the_same_profile(params: Params, request: pytest.FixtureRequest) -> None:
    path, found_schema = Path(params.data.path), schema.load_schema()
    whole = validate.validate_table(path, found_schema)[1]
    request.getfixturevalue("blocks")
    broken, found = validate.validate_table(path, found_schema)
    assert broken.empty and found["rows"] == whole["rows"] and found["columns"] == profiles(whole)


@pytest.mark.usefixtures("project", "blocks")
def test_what_blocks_break_is_counted_over_all(params: Params, frame: pd.DataFrame) -> None:
    name = numeric(params, frame)
    frame.loc[[3, 7, 120], name] = int(FAR)
    frame.to_parquet(params.data.path)
    found = validate.validate_table(Path(params.data.path), schema.load_schema())[0].set_index("column")
    assert found.loc[name, "rows"] == 3


@pytest.mark.usefixtures("project", "blocks")
def test_rows_that_repeat_in_another_block_are_found(params: Params, frame: pd.DataFrame) -> None:
    found_schema = schema.load_schema()
    found_schema.unique = list(frame)
    pd.concat([frame, frame[:2]]).to_parquet(params.data.path, index=False)
    (rule,) = validate.validate_table(Path(params.data.path), found_schema)[0].to_dict("records")
    assert (rule["check"], rule["rows"]) == ("multiple_fields_uniqueness", 4)
    assert rule["examples"] == f"0, 1, {len(frame)}, {len(frame) + 1}"


@pytest.mark.usefixtures("project", "blocks")
def test_whole_numbers_with_a_gap_are_floats_in_every_block(tmp_path: Path) -> None:
    path = tmp_path / "gap.parquet"
    pq.write_table(pa.table({"a": pa.array([1] * 99 + [None], "int64"), "b": range(100)}), path)
    parts = list(parquet.read_blocks(path))
    assert [[*map(str, part.dtypes)] for part in parts] == [["float64", "int64"]] * 5
    assert parts[1].index.tolist() == list(range(20, 40))


@pytest.mark.usefixtures("project")
def test_a_missing_column_is_named(params: Params, frame: pd.DataFrame) -> None:
    found = schema.collect_failures(frame.drop(columns=params.data.features[0]), schema.load_schema())
    assert params.data.features[0] in found.to_string()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[1, 2", "cannot be read as a schema", id="no yaml"),
        pytest.param("columns: 5", "cannot be read as a schema", id="columns are a number"),
        pytest.param("columns: {}", "names no columns|cannot be read", id="no columns"),
        pytest.param("columns: {a: {dtype: nonsense}}", "cannot be read", id="no type"),
        pytest.param(
            "columns: {a: {dtype: int64, in_range: {min_value: 9, max_value: 1}}}", "empty interval", id="range"
        ),
        pytest.param("columns: {a: {dtype: str, is_in: [x]}}", "did you mean isin", id="misspelt rule"),
        pytest.param("columns: {a: {dtype: str, among: [x]}}", "a rule among for a", id="unknown rule"),
        pytest.param("", "names no columns", id="empty"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_schema_that_is_nonsense_is_one_sentence(text: str, words: str) -> None:
    Path("schema.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words) as refusal:
        schema.load_schema()
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("project")
def test_a_note_of_your_own_is_no_rule() -> None:
    Path("schema.yaml").write_text("columns: {a: {dtype: str, personal: true}}", encoding="utf-8")
    assert list(schema.load_schema().columns) == ["a"]


def test_data_that_is_missing_or_no_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        parquet.read_table(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table", encoding="utf-8")
    with pytest.raises(UserError, match="is not a Parquet table"):
        parquet.read_table(tmp_path / "text.parquet")


def test_profile_counts_gaps_and_distinct_values() -> None:
    found = profiling.profile_table(pd.DataFrame({"a": [1.0, None, 3.0, 3.0]}))
    assert found["rows"] == 4
    assert found["columns"]["a"] | {"type": ""} == {
        "type": "",
        "missing": 0.25,
        "distinct": 2,
        "min": 1.0,
        "max": 3.0,
        "mean": pytest.approx(7 / 3),
    }
