"""The rows that the judge itself reads and splits."""

from pathlib import Path

import pandas as pd
import pytest

from modelyard.core.errors import UserError
from modelyard.core.params import load_params
from modelyard.core.project import Project
from modelyard.data.source import open_table
from modelyard.gate.scoring import load_rules_and_rows
from tests.library.gate.support import commit_all

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


@pytest.mark.usefixtures("project")
def test_a_load_that_fails_is_one_sentence() -> None:
    write_load("def load(source):\n    yield open('a file that the base expects')\n")
    with pytest.raises(UserError, match=r"the base's load cannot read .*bring the change of data.py to the base first"):
        load_rules_and_rows(commit_all(), load_params())
