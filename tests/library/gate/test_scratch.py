"""The scratch process: what it may reach, and what of its answer the judge believes."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import ToolError
from modelyard.core.params import load_params
from modelyard.core.paths import PARAMS_YAML
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.gate import confine, scratch
from modelyard.gate.scratch import ModelOutputError, predict_in_scratch, read_predictions
from modelyard.pipeline.predict import ROW_COLUMN
from tests.library.gate.support import commit_all

FEATURES = Path("src/flight_delays/features.py")
TWO_ROWS = {"p_0": [0.25, 0.5], "p_1": [0.75, 0.5], ROW_COLUMN: [0, 1]}
needs_landlock = pytest.mark.skipif(not confine.query_landlock(), reason="this kernel has no Landlock")


@pytest.fixture
def rows(project: Path) -> pd.DataFrame:
    """The holdout of the project in the current folder, which is a repository."""
    commit_all()
    return pd.read_parquet(project / "data/holdout.parquet")


def predict(rows: pd.DataFrame, is_timed: bool = False) -> scratch.ModelOutput:
    data = load_params().data
    return predict_in_scratch("candidate", Path(), rows, data.target, data.task, is_timed=is_timed)


def spy(code: str) -> None:
    """Let the project's features run a line of code when they are imported; what it returns is in the error."""
    line = f"import os; import pandas as pd; from pathlib import Path; raise SystemExit('spied: ' + str({code}))"
    FEATURES.write_text(f"{FEATURES.read_text()}\n{line}\n", encoding="utf-8")


def ask(rows: pd.DataFrame, code: str) -> str:
    """Return what a line of code sees in the scratch process."""
    spy(code)
    with pytest.raises(ToolError, match="spied: ") as found:
        predict(rows)
    return str(found.value).partition("spied: ")[2]


def test_the_predictions_are_the_pipelines(rows: pd.DataFrame) -> None:
    found = predict(rows, is_timed=True)
    before = pd.read_parquet("reports/predictions.parquet")
    assert np.asarray(found.predictions.probabilities)[:, 1].tolist() == before["p_1"].tolist()
    assert found.milliseconds is not None and found.milliseconds > 0


def test_the_target_is_not_among_the_rows(rows: pd.DataFrame) -> None:
    code = "pd.read_parquet('../rows.parquet').columns.tolist()"
    assert ask(rows, code) == str(load_params().data.features)


def test_a_model_that_wants_the_target_is_refused(rows: pd.DataFrame) -> None:
    params = read_yaml(PARAMS_YAML)
    params["data"]["features"].append(params["data"]["target"])
    PARAMS_YAML.write_text(dump_yaml(params), encoding="utf-8")
    with pytest.raises(ModelOutputError, match=f"wants to see {params['data']['target']}"):
        predict(rows)


def test_the_folder_holds_no_data_and_no_repository(rows: pd.DataFrame) -> None:
    assert ask(rows, "sorted(os.listdir('.'))") == str(
        ["models", "params.yaml", "pyproject.toml", "schema.yaml", "src"]
    )


def test_files_that_git_ignores_do_not_come_along(rows: pd.DataFrame) -> None:
    Path(".gitignore").write_text("*.parquet\n", encoding="utf-8")
    shutil.copy("data/holdout.parquet", FEATURES.with_name("truth.parquet"))
    assert "truth.parquet" not in ask(rows, "sorted(os.listdir('src/flight_delays'))")


def test_the_environment_holds_no_token_and_no_proxy(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "MODELYARD_X", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in ask(rows, "dict(os.environ)")


def test_the_home_is_an_empty_folder(rows: pd.DataFrame) -> None:
    assert ask(rows, "os.listdir(os.path.expanduser('~'))") == "[]"


def test_modules_beside_the_model_stand_in_for_none(rows: pd.DataFrame) -> None:
    for name in ("joblib.py", "numexpr.py", "src/joblib.py", "src/numexpr.py"):
        Path(name).write_text("raise SystemExit('error: imported ' + __file__)\n", encoding="utf-8")
    assert len(predict(rows).predictions) == len(rows)


@needs_landlock
def test_the_project_cannot_be_read(rows: pd.DataFrame) -> None:
    with pytest.raises(ToolError, match="Permission denied"):
        spy(f"Path({str(Path.cwd() / 'data/holdout.parquet')!r}).read_bytes()")
        predict(rows)


@needs_landlock
def test_nothing_is_written_outside(rows: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="Permission denied"):
        spy(f"Path({str(tmp_path / 'verdict.json')!r}).write_text('pass')")
        predict(rows)
    assert not (tmp_path / "verdict.json").exists()


@needs_landlock
def test_the_network_cannot_be_reached(rows: pd.DataFrame) -> None:
    code = "__import__('socket').create_connection(('127.0.0.1', 9), 1)"
    with pytest.raises(ToolError, match=r"Permission denied|unreachable"):
        spy(code)
        predict(rows)


def test_a_model_that_fails_is_one_line(rows: pd.DataFrame) -> None:
    FEATURES.write_text("def features(raw):\n    raise ValueError('too many birds')\n", encoding="utf-8")
    with pytest.raises(ToolError, match=r"the candidate's model: .*too many birds"):
        predict(rows)


def write_table(folder: Path, columns: dict[str, list[float]]) -> Path:
    pd.DataFrame(columns).to_parquet(folder / "out.parquet", index=False)
    return folder / "out.parquet"


def test_a_whole_table_is_read(tmp_path: Path) -> None:
    found = read_predictions(write_table(tmp_path, TWO_ROWS), "candidate", "classification", 2)
    assert found.classes == ("0", "1")
    assert np.asarray(found.probabilities).tolist() == [[0.25, 0.75], [0.5, 0.5]]


def test_a_table_of_an_older_library_has_no_places(tmp_path: Path) -> None:
    found = read_predictions(write_table(tmp_path, {"prediction": [1.5, 2.5]}), "champion", "regression", 2)
    assert found.values.tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({name: values[:1] for name, values in TWO_ROWS.items()}, "returned 1 predictions for 2 rows"),
        (TWO_ROWS | {ROW_COLUMN: [1, 0]}, "in another order"),
        (TWO_ROWS | {"p_0": [np.nan, 0.5]}, "missing or infinite value for row 0"),
        (TWO_ROWS | {"p_0": [0.25, np.inf]}, "missing or infinite value for row 1"),
        (TWO_ROWS | {"p_0": [5.0, 0.5], "p_1": [-4.0, 0.5]}, "below 0 or do not sum to 1"),
        (TWO_ROWS | {"p_0": [0.9, 0.5]}, "below 0 or do not sum to 1"),
        (TWO_ROWS | {"p_0": ["a", "b"]}, "returned no numbers"),
        ({"prediction": [1, 0]}, "returned no numbers"),
    ],
    ids=["short", "order", "missing", "infinite", "negative", "sum", "text", "no classes"],
)
def test_a_table_that_is_not_one_prediction_a_row_is_refused(
    tmp_path: Path, columns: dict[str, list[float]], sentence: str
) -> None:
    with pytest.raises(ModelOutputError, match=sentence):
        read_predictions(write_table(tmp_path, columns), "candidate", "classification", 2)


@pytest.mark.parametrize("content", [None, b"PAR1"], ids=["nothing", "no table"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "out.parquet").write_bytes(content)
    with pytest.raises(ModelOutputError, match="no table of predictions"):
        read_predictions(tmp_path / "out.parquet", "candidate", "regression", 2)


def test_a_time_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelOutputError, match="no time of a row"):
        scratch.read_milliseconds(tmp_path / "times.json", "candidate")
