import json
from pathlib import Path

import pandas as pd
import pytest

from modelyard.core.errors import InvalidFileError, MissingFileError, OptionError
from modelyard.core.files import sha256
from modelyard.core.params import Params
from modelyard.core.predictions import to_log_column
from modelyard.monitoring import labels
from modelyard.monitoring.log_reader import EmptyLogError

pytestmark = pytest.mark.usefixtures("project")
LOGS = Path("logs")
LATE = "2024-06-02T00:00:00Z"
EARLY = "2024-06-01T00:00:00Z"


def write_log(ids: list[str], **columns: object) -> None:
    """Write a log of predictions with these ids."""
    LOGS.mkdir(exist_ok=True)
    frame = pd.DataFrame({"id": ids, "time": "2024-05-01T00:00:00Z", "model": "m", **columns})
    frame.to_json(LOGS / "predictions-1.jsonl", orient="records", lines=True, date_format="iso")


def write_labels(text: str, name: str = "truth.csv") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def read_feedback() -> dict[str, object]:
    """Return the truth of each id in the logs."""
    found = {}
    for path in sorted(LOGS.glob("feedback-*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            found[record["id"]] = record["truth"]
    return found


@pytest.fixture
def labelled_rows(params: Params) -> pd.DataFrame:
    """The last rows of the data, taken out of it, logged and labelled."""
    path = Path(params.data.path)
    table = pd.read_parquet(path)
    rows = table.tail(20).reset_index(drop=True)
    table.iloc[:-20].to_parquet(path, index=False)
    ids = [f"r{number}" for number in range(len(rows))]
    write_log(ids, **{to_log_column(name): rows[name] for name in rows if name != params.data.target})
    pd.DataFrame({"id": ids, "truth": rows[params.data.target]}).to_csv("truth.csv", index=False)
    labels.main("truth.csv")
    return rows


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("id,truth\n1,0\n2,1\n", "truth.csv"),
        ("id,truth\n1,0.0\n2,1.0\n", "truth.csv"),
        ("id,truth\n1,false\n2,true\n", "truth.csv"),
        ('{"id": "1", "truth": 0}\n{"id": "2", "truth": 1}\n', "truth.jsonl"),
    ],
)
def test_main_joins_labels_by_id(text: str, name: str) -> None:
    write_log(["1", "2"])
    assert labels.main(write_labels(text, name)) == 0
    assert read_feedback() == {"1": 0, "2": 1}


def test_main_joins_labels_from_parquet() -> None:
    write_log(["a"])
    pd.DataFrame({"id": ["a"], "truth": [1.5]}).to_parquet("truth.parquet")
    labels.main("truth.parquet")
    assert read_feedback() == {"a": 1.5}


def test_join_labels_latest_label_wins() -> None:
    write_log(["a"])
    labels.join_labels(Path(write_labels(f"id,truth,time\na,1,{LATE}\na,0,{EARLY}\n")), LOGS)
    assert read_feedback() == {"a": 1}


def test_join_labels_counts_what_is_odd(capsys: pytest.CaptureFixture[str]) -> None:
    write_log(["a", "b", "c"])
    rows = [f"a,1,{LATE}", f"a,0,{EARLY}", f"b,1,{EARLY}", f"b,1,{EARLY}", f"c,,{EARLY}", f"z,0,{EARLY}"]
    labels.join_labels(Path(write_labels("\n".join(["id,truth,time", *rows, ""]))), LOGS)
    assert read_feedback() == {"a": 1, "b": 1, "z": 0}
    output = capsys.readouterr().out
    assert "3 labels joined; 1 empty, 2 repeated, 1 contradicting, 1 of unknown predictions" in output


def test_join_labels_same_file_twice_is_kept_once() -> None:
    write_log(["a"])
    for _ in range(2):
        labels.main(write_labels("id,truth\na,1\n"))
    assert len(list(LOGS.glob("feedback-*"))) == 1


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("id\n1\n", "truth.csv", "lacks truth"),
        ("", "truth.csv", "lacks id, truth"),
        ("x", "truth.parquet", "is not a readable Parquet file"),
        ("{", "truth.jsonl", "is not one JSON object a line"),
        ("x", "truth.xls", "lacks id, truth"),
        ("id,truth\n1,late\n", "truth.csv", "has a truth that is no number, as late is"),
    ],
)
def test_main_file_without_labels_is_refused(text: str, name: str, problem: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        labels.main(write_labels(text, name))
    assert caught.value.path == Path(name)
    assert caught.value.problem.startswith(problem)
    assert not LOGS.exists()


def test_main_without_options_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        labels.main()
    assert caught.value.option == "IN"


def test_main_missing_file_is_refused() -> None:
    with pytest.raises(MissingFileError) as caught:
        labels.main("nowhere.csv")
    assert caught.value.path == Path("nowhere.csv")


def test_append_labelled_rows_without_labels_is_refused(params: Params) -> None:
    with pytest.raises(EmptyLogError, match="has no labels"):
        labels.append_labelled_rows(params)


def test_append_labelled_rows_labels_of_other_logs_are_refused(params: Params) -> None:
    write_log(["a"])
    labels.main(write_labels("id,truth\nz,1\n"))
    with pytest.raises(EmptyLogError, match="has no prediction with one of its 1 labels"):
        labels.append_labelled_rows(params)


def test_append_labelled_rows_of_known_types(params: Params, labelled_rows: pd.DataFrame) -> None:
    before = len(pd.read_parquet(params.data.path))
    labels.append_labelled_rows(params)
    table = pd.read_parquet(params.data.path)
    assert len(table) == before + len(labelled_rows)
    assert dict(table.dtypes) == dict(labelled_rows.dtypes)


def test_append_labelled_rows_twice_changes_nothing(params: Params, labelled_rows: pd.DataFrame) -> None:
    labels.append_labelled_rows(params)
    before = sha256(Path(params.data.path))
    labels.append_labelled_rows(params)
    assert sha256(Path(params.data.path)) == before


def test_append_labelled_rows_without_a_needed_column_changes_nothing(
    params: Params, labelled_rows: pd.DataFrame
) -> None:
    column = params.data.features[0]
    log = pd.read_json(LOGS / "predictions-1.jsonl", lines=True).drop(columns=to_log_column(column))
    log.to_json(LOGS / "predictions-1.jsonl", orient="records", lines=True)
    before = sha256(Path(params.data.path))
    with pytest.raises(InvalidFileError) as caught:
        labels.append_labelled_rows(params)
    assert column in caught.value.problem
    assert sha256(Path(params.data.path)) == before


def test_append_labelled_rows_broken_schema_changes_nothing(params: Params, labelled_rows: pd.DataFrame) -> None:
    for path in LOGS.glob("feedback-*"):
        path.unlink()
    labels.main(write_labels("id,truth\n" + "".join(f"r{number},7\n" for number in range(20)), "wrong.csv"))
    before = sha256(Path(params.data.path))
    with pytest.raises(InvalidFileError) as caught:
        labels.append_labelled_rows(params)
    assert params.data.target in caught.value.problem
    assert sha256(Path(params.data.path)) == before


def contradict(ids: list[str], truth: int) -> None:
    """Write later feedback with another truth, as somebody may send it."""
    lines = [json.dumps({"id": name, "truth": truth, "time": "2099-01-01T00:00:00Z"}) + "\n" for name in ids]
    (LOGS / "feedback-later.jsonl").write_text("".join(lines), encoding="utf-8")


def test_append_labelled_rows_leaves_contradicted_labels_out(
    params: Params, labelled_rows: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(pd.read_parquet(params.data.path))
    truth = int(labelled_rows[params.data.target].iloc[0])
    contradict(["r0"], 1 - truth)
    labels.append_labelled_rows(params)
    assert len(pd.read_parquet(params.data.path)) == before + len(labelled_rows) - 1
    assert "1 predictions are left out" in capsys.readouterr().out


def test_append_labelled_rows_takes_a_repeated_truth_once(params: Params, labelled_rows: pd.DataFrame) -> None:
    before = len(pd.read_parquet(params.data.path))
    contradict(["r0"], int(labelled_rows[params.data.target].iloc[0]))  # the same truth again
    labels.append_labelled_rows(params)
    assert len(pd.read_parquet(params.data.path)) == before + len(labelled_rows)
