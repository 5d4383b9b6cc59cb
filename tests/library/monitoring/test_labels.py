import json
from pathlib import Path

import pandas as pd
import pytest

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import Params
from modelyard.core.predictions import to_log_column
from modelyard.monitoring import labels

LOGS = Path("logs")


def log(ids: list[str], **more: object) -> None:
    LOGS.mkdir(exist_ok=True)
    frame = pd.DataFrame({"id": ids, "time": "2024-05-01T00:00:00Z", "model": "m", **more})
    frame.to_json(LOGS / "predictions-1.jsonl", orient="records", lines=True, date_format="iso")


def write(text: str, name: str = "truth.csv") -> str:
    Path(name).write_text(text)
    return name


def kept() -> dict[str, object]:
    found = {}
    for path in sorted(LOGS.glob("feedback-*")):
        found |= {row["id"]: row["truth"] for row in map(json.loads, path.read_text().splitlines())}
    return found


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("id,truth\n1,0\n2,1\n", "truth.csv"),
        ('{"id": "1", "truth": 0}\n{"id": "2", "truth": 1}\n', "truth.jsonl"),
    ],
)
def test_labels_are_kept_by_id(text: str, name: str) -> None:
    log(["1", "2"])
    assert labels.main(write(text, name)) == 0
    assert kept() == {"1": 0, "2": 1}


@pytest.mark.usefixtures("project")
def test_labels_from_parquet() -> None:
    log(["a"])
    pd.DataFrame({"id": ["a"], "truth": [1.5]}).to_parquet("truth.parquet")
    labels.main("truth.parquet")
    assert kept() == {"a": 1.5}


@pytest.mark.usefixtures("project")
def test_the_latest_label_wins_and_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    log(["a", "b", "c"])
    late, early = "2024-06-02T00:00:00Z", "2024-06-01T00:00:00Z"
    labels.main(write(f"id,truth,time\na,1,{late}\na,0,{early}\nb,1,{early}\nb,1,{early}\nc,,{early}\nz,0,{early}\n"))
    assert kept() == {"a": 1, "b": 1, "z": 0}
    said = capsys.readouterr().out
    assert all(words in said for words in ("1 empty", "2 repeated", "1 contradicting", "1 of unknown predictions"))


@pytest.mark.usefixtures("project")
def test_the_same_file_twice_is_kept_once() -> None:
    log(["a"])
    for _ in range(2):
        labels.main(write("id,truth\na,1\n"))
    assert len(list(LOGS.glob("feedback-*"))) == 1


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("id\n1\n", "truth.csv", "lacks truth"),
        ("", "truth.csv", "cannot be read"),
        ("x", "truth.parquet", "cannot be read"),
        ("{", "truth.jsonl", "cannot be read"),
        ("x", "truth.xls", "no .csv, .parquet or .jsonl"),
    ],
)
def test_a_file_that_holds_no_labels_is_refused(text: str, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        labels.main(write(text, name))
    assert not LOGS.exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("arguments", [{}, {"in_": "nowhere.csv"}, {"grow_data": True}])
def test_nothing_to_join_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UserError):
        labels.main(**arguments)


def labelled(params: Params, count: int = 20) -> pd.DataFrame:
    """Rows like the holdout's, logged and labelled, with a key or content of their own."""
    rows = pd.read_parquet(params.data.path).tail(count).reset_index(drop=True)
    Path(params.data.path).with_suffix(".all").write_bytes(Path(params.data.path).read_bytes())
    pd.read_parquet(params.data.path).iloc[:-count].to_parquet(params.data.path, index=False)
    ids = [f"r{i}" for i in range(len(rows))]
    log(ids, **{to_log_column(name): rows[name] for name in rows if name != params.data.target})
    pd.DataFrame({"id": ids, "truth": rows[params.data.target]}).to_csv("truth.csv", index=False)
    labels.main("truth.csv")
    return rows


@pytest.mark.usefixtures("project")
def test_labelled_predictions_become_rows_once(params: Params) -> None:
    rows = labelled(params)
    labels.main(grow_data=True)
    grown = pd.read_parquet(params.data.path)
    assert len(grown) == len(pd.read_parquet(Path(params.data.path).with_suffix(".all")))
    assert dict(grown.dtypes) == dict(rows.dtypes)
    before = sha256(Path(params.data.path))
    labels.main(grow_data=True)
    assert sha256(Path(params.data.path)) == before


@pytest.mark.usefixtures("project")
def test_a_log_without_a_needed_column_changes_nothing(params: Params) -> None:
    labelled(params)
    whole = pd.read_json(LOGS / "predictions-1.jsonl", lines=True)
    less = whole.drop(columns=to_log_column(params.data.features[0]))
    less.to_json(LOGS / "predictions-1.jsonl", orient="records", lines=True)
    before = sha256(Path(params.data.path))
    with pytest.raises(UserError, match=params.data.features[0]):
        labels.main(grow_data=True)
    assert sha256(Path(params.data.path)) == before
