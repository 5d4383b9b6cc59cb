import os
from pathlib import Path

import pandas as pd
import pytest

from modelyard.core.errors import HookError, MissingFileError, UserError
from modelyard.core.hooks import DataSource
from modelyard.core.params import Params
from modelyard.core.project import Project
from modelyard.data import parquet
from modelyard.data.source import ParquetBlocks, hash_source, load_parquet, open_table
from modelyard.monitoring.labels import append_labelled_rows
from modelyard.pipeline import evaluate, split, train, validate

COUNTED_LOAD = """\
from pathlib import Path
import pandas as pd

def load(source):
    with Path("calls.txt").open("a") as file:
        file.write("x")
    yield pd.read_parquet(source.path)
"""


def write_load(text: str, folder: Path = Path()) -> Project:
    """Give the project in a folder its own data.py."""
    (folder / "src/flight_delays/data.py").write_text(text)
    return Project.load(folder)


def count_calls() -> int:
    return len(Path("calls.txt").read_text())


@pytest.mark.usefixtures("project")
def test_without_load_the_file_itself_is_read() -> None:
    Path("src/flight_delays/data.py").unlink(missing_ok=True)
    assert open_table(Project.load()) == Path("data/raw/flights.parquet")


@pytest.mark.usefixtures("project")
def test_with_the_default_load_the_file_itself_is_read() -> None:
    project = write_load("from modelyard import defaults\ndef load(source):\n    return defaults.load(source)\n")
    assert open_table(project) == Path("data/raw/flights.parquet")
    assert not list(Path("data").glob("loaded-*"))


@pytest.mark.usefixtures("project")
def test_default_load_of_another_file_reads_that_file() -> None:
    project = write_load(
        "from dataclasses import replace\nfrom modelyard import defaults\n"
        "def load(source):\n    return defaults.load(replace(source, path=source.path.with_name('b.parquet')))\n"
    )
    assert open_table(project) == Path("data/raw/b.parquet")


@pytest.mark.usefixtures("project")
def test_own_load_is_streamed_once() -> None:
    project = write_load(COUNTED_LOAD)
    first, second = open_table(project), open_table(project)
    assert first == second
    assert first.parent == Path("data")
    assert count_calls() == 1
    pd.testing.assert_frame_equal(pd.read_parquet(first), pd.read_parquet(project.params.data.path))


@pytest.mark.usefixtures("project")
def test_a_changed_source_is_loaded_again() -> None:
    project = write_load(COUNTED_LOAD)
    before = open_table(project)
    path = Path(project.params.data.path)
    pd.read_parquet(path).head(100).to_parquet(path, index=False)
    after = open_table(project)
    assert len(pd.read_parquet(after)) == 100
    assert not before.exists()


@pytest.mark.usefixtures("project")
def test_changed_code_is_loaded_again() -> None:
    before = open_table(write_load(COUNTED_LOAD))
    after = open_table(write_load(f"{COUNTED_LOAD}# another version\n"))
    assert before != after


@pytest.mark.usefixtures("project")
def test_stages_run_on_the_rows_of_own_load() -> None:
    raw = Path("data/raw/flights.parquet")
    rows = pd.read_parquet(raw)
    for number, start in enumerate(range(0, len(rows), 100)):
        rows[start : start + 100].to_csv(f"data/raw/part-{number}.csv", index=False)
    raw.unlink()
    text = Path("params.yaml").read_text().replace("data/raw/flights.parquet", "data/raw")
    Path("params.yaml").write_text(text)
    dtypes = {name: str(dtype) for name, dtype in rows.dtypes.items()}
    write_load(
        "import pandas as pd\n\ndef load(source):\n    for path in sorted(source.path.glob('*.csv')):\n"
        f"        for block in pd.read_csv(path, chunksize=50):\n            yield block.astype({dtypes})\n"
    )
    for stage in (validate, split, train, evaluate):
        assert stage.main() == 0
    sides = [len(pd.read_parquet(f"data/{side}.parquet")) for side in ("train", "holdout")]
    assert sum(sides) == len(rows)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("yield [1]", "yields a list"),
        ("return iter(())", "yields no table"),
        ("yield pd.DataFrame({'a': [1]}); yield pd.DataFrame({'b': [1]})", "different columns"),
        ("yield pd.DataFrame({'a': [1]}); yield pd.DataFrame({'a': ['x']})", "does not fit"),
        ("yield pd.DataFrame({'a': [1]}); yield pd.DataFrame({'a': [1.5]})", "does not fit"),
    ],
)
def test_a_load_that_yields_nonsense_is_one_sentence_and_leaves_nothing(body: str, reason: str) -> None:
    project = write_load(f"import pandas as pd\n\ndef load(source):\n    {body}\n")
    before = sorted(Path("data").iterdir())
    with pytest.raises(HookError, match=reason):
        open_table(project)
    assert sorted(Path("data").iterdir()) == before


@pytest.mark.usefixtures("project")
def test_a_missing_source_of_own_load_is_one_sentence() -> None:
    project = write_load(COUNTED_LOAD)
    Path(project.params.data.path).unlink()
    with pytest.raises(MissingFileError):
        open_table(project)


def test_parquet_blocks_are_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"a": range(100)})
    table.to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(parquet, "WHOLE_TABLE_ROWS", 40)
    blocks = load_parquet(DataSource(tmp_path / "t.parquet"))
    assert isinstance(blocks, ParquetBlocks)
    assert [len(block) for block in blocks] == [10] * 10


def test_a_folder_has_one_digest_in_any_order_of_its_files(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    before = hash_source(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").write_text("cache")
    os.utime(tmp_path / "a", (0, 0))
    assert hash_source(tmp_path) == before
    (tmp_path / "a").write_text("other")
    assert hash_source(tmp_path) != before


def test_labelled_rows_are_not_added_to_what_load_reads(project: Path, params: Params) -> None:
    write_load(COUNTED_LOAD)
    before = (project / params.data.path).read_bytes()
    with pytest.raises(UserError, match=r"load\(\) in data\.py"):
        append_labelled_rows(params)
    assert (project / params.data.path).read_bytes() == before
