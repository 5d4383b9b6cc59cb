"""The rows that the judge itself reads and splits."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import UserError
from modelyard.core.model_at import Champion
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK, ROW_HASHES_FILE, SCHEMA_YAML
from modelyard.core.predictions import Predictions
from modelyard.core.project import Project
from modelyard.data.hashing import hash_frame
from modelyard.data.source import open_table
from modelyard.gate import scoring
from modelyard.gate.scoring import load_rules_and_rows
from modelyard.gate.scratch import ModelOutputError
from tests.library.gate.support import change, commit_all

LOAD = """\
import pandas as pd

def load(source):
    yield pd.read_parquet(source.path)
"""


def write_load(text: str) -> None:
    Path("src/flight_delays/data.py").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("project")
def test_the_holdout_is_the_pipelines_and_no_file_of_it_is_read() -> None:
    written = [pd.read_parquet(f"data/{side}.parquet") for side in ("train", "holdout")]
    for side in ("train", "holdout"):
        Path(f"data/{side}.parquet").unlink()
    _, rows = load_rules_and_rows(commit_all(), load_params())
    pd.testing.assert_frame_equal(rows.train.reset_index(drop=True), written[0])
    pd.testing.assert_frame_equal(rows.holdout, written[1])


@pytest.mark.usefixtures("project")
def test_a_table_that_the_branch_loaded_is_not_read() -> None:
    write_load(LOAD)
    truth = pd.read_parquet(load_params().data.path)
    loaded = open_table(Project.load())
    truth.assign(late=1).to_parquet(loaded, index=False)
    _, rows = load_rules_and_rows(commit_all(), load_params())
    assert rows.table["late"].tolist() == truth["late"].tolist()


def make_rows(moved: list[int]) -> scoring.JudgedRows:
    """Five rows, of which the last three are the holdout, and what the branch's split moved of these."""
    table = pd.DataFrame({"x": range(5), "y": [0, 1, 0, 1, 0]})
    holdout = table.tail(3).reset_index(drop=True)
    return scoring.JudgedRows(table, table.head(2), holdout, np.isin(np.arange(3), moved))


def name_rows(*places: int) -> None:
    """Let models/rows.npy name rows of the table."""
    ROW_HASHES_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_YAML.write_text("columns: {x: {}, y: {}}\n")
    np.save(ROW_HASHES_FILE, hash_frame(make_rows([]).table.iloc[list(places)]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
def test_rows_that_the_branchs_split_trains_on_are_left_out_even_unnamed() -> None:
    name_rows(0, 1)
    found = scoring.find_candidate_training_rows(make_rows([1]))
    assert (found.seen.tolist(), found.unexplained) == ([False, True, False], 0)


@pytest.mark.usefixtures("folder")
def test_rows_that_nothing_explains_are_counted() -> None:
    name_rows(0, 1, 3)
    found = scoring.find_candidate_training_rows(make_rows([]))
    assert (found.seen.tolist(), found.unexplained) == ([False, True, False], 1)


@pytest.mark.usefixtures("folder")
def test_a_warm_start_may_name_the_rows_of_the_champion() -> None:
    name_rows(0, 1, 3)
    known = np.array([False, True, False])
    found = scoring.find_candidate_training_rows(make_rows([]), known)
    assert (found.seen.tolist(), found.unexplained) == (known.tolist(), 0)


@pytest.mark.usefixtures("folder")
def test_a_branch_does_not_choose_among_the_rows_of_the_champion() -> None:
    name_rows(0, 1, 3)
    known = np.array([True, True, False])
    found = scoring.find_candidate_training_rows(make_rows([]), known)
    assert (found.seen.tolist(), found.unexplained) == (known.tolist(), 0)


@pytest.mark.usefixtures("project")
def test_rows_that_another_split_of_the_branch_trains_on_are_found() -> None:
    DVC_LOCK.write_text("stages: {}\n")
    base = commit_all()
    change("split", holdout=0.1)
    _, rows = load_rules_and_rows(base, load_params())
    assert 0.3 < rows.moved.mean() < 0.7


@pytest.mark.usefixtures("project")
def test_other_code_makes_another_candidate_of_the_same_model() -> None:
    DVC_LOCK.write_text("stages: {}\n")
    commit = commit_all()
    champion = Champion("base", None, commit)
    assert scoring.is_candidate(champion)
    features = Path("src/flight_delays/features.py")
    features.write_text(features.read_text() + "\n# other\n")
    assert not scoring.is_candidate(champion)
    commit_all()
    assert not scoring.is_candidate(champion)


@pytest.mark.usefixtures("project")
def test_rows_of_the_champion_count_only_where_training_went_on_from_it() -> None:
    commit = commit_all()
    assert not scoring.goes_on_from(commit)
    change("train", start={"commit": commit, "model": "a", "rows": "b", "holdout": "c"})
    assert scoring.goes_on_from(commit)


def test_a_class_that_no_row_has_is_refused() -> None:
    predictions = Predictions.from_probabilities(np.full((1, 3), 1 / 3), np.array(["0", "1", "zzz"]))
    with pytest.raises(ModelOutputError, match="predicts classes that no row has: zzz"):
        scoring.refuse_unknown_classes(predictions, pd.Series([0, 1]))


@pytest.mark.usefixtures("project")
def test_a_load_that_fails_is_one_sentence() -> None:
    write_load("def load(source):\n    yield open('a file that the base expects')\n")
    with pytest.raises(UserError, match=r"the base's load cannot read .*bring the change of data.py to the base first"):
        load_rules_and_rows(commit_all(), load_params())
