from pathlib import Path

import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.errors import InvalidFileError, OptionError, UserError
from modelyard.core.files import sha256
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE, SCHEMA_YAML
from modelyard.core.predictions import Predictions, to_log_column
from modelyard.core.yaml import read_yaml
from modelyard.inference import batch
from modelyard.monitoring.log_reader import ReadStats, read_records
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from tests.library.inference.conftest import mark_personal, read_features

pytestmark = pytest.mark.usefixtures("bundle")
OUT = Path("out.parquet")


@pytest.fixture(autouse=True)
def _small_batches(params: Params, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(params, score=replace(params.score, rows=7))
    monkeypatch.setattr(batch, "load_params", lambda: small)


def predict_holdout(params: Params) -> pd.DataFrame:
    """Return the pipeline's own predictions for the holdout."""
    return predict_frame(load_model(MODEL_FILE), read_features(params, HOLDOUT_PARQUET)).reset_index(drop=True)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_gets_the_pipelines_predictions_with_its_keys(params: Params, suffix: str) -> None:
    table = pd.read_parquet(HOLDOUT_PARQUET)
    source, target = Path(f"in{suffix}"), Path(f"out{suffix}")
    if suffix == ".parquet":
        table.to_parquet(source)
    else:
        table.to_csv(source, index=False)
    batch.main(str(source), str(target))
    found = pd.read_parquet(target) if suffix == ".parquet" else pd.read_csv(target)
    expected = predict_holdout(params)
    pd.testing.assert_frame_equal(found[list(expected)], expected, check_dtype=False, atol=1e-6)
    assert list(found) == [*batch.read_key_dtypes(), *expected]


def test_a_folder_is_scored_file_by_file_and_goes_on_where_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    for name in ("a.parquet", "b.parquet"):
        pd.read_parquet(HOLDOUT_PARQUET).to_parquet(Path("in") / name)
    batch.main("in", "out")
    first = Path("out/a.parquet").stat().st_mtime_ns
    Path("out/b.parquet").unlink()
    batch.main("in", "out")
    assert Path("out/a.parquet").stat().st_mtime_ns == first and Path("out/b.parquet").exists()
    assert "done before 1" in capsys.readouterr().out


def test_what_is_logged_is_what_monitoring_reads(params: Params) -> None:
    batch.main(str(HOLDOUT_PARQUET), str(OUT), logs="logs")
    parts = list(read_records(Path("logs"), "predictions", tally := ReadStats()))
    found, held = pd.concat(parts), pd.read_parquet(HOLDOUT_PARQUET)
    assert len(found) == found["id"].nunique() == len(held) and not tally.unreadable_files
    assert set(found["model"]) == {sha256(MODEL_FILE)}
    same = found[list(map(to_log_column, params.data.features))].set_axis(params.data.features, axis=1)
    pd.testing.assert_frame_equal(same.reset_index(drop=True), held[params.data.features], check_dtype=False)
    assert found["prediction"].tolist() == pd.read_parquet(OUT)["prediction"].tolist()


def test_a_newer_model_or_table_is_scored_again() -> None:
    batch.main(str(HOLDOUT_PARQUET), str(OUT))
    assert batch.is_already_scored(HOLDOUT_PARQUET, OUT)
    MODEL_FILE.touch()
    assert not batch.is_already_scored(HOLDOUT_PARQUET, OUT)


def test_a_personal_column_is_in_no_log_not_even_as_an_id() -> None:
    name = read_yaml(SCHEMA_YAML)["unique"][0]
    mark_personal(name)
    batch.main(str(HOLDOUT_PARQUET), str(OUT), "logs")
    log = pd.concat(pd.read_parquet(path) for path in Path("logs").glob("*.parquet"))
    assert to_log_column(name) not in log
    assert log["id"].str.startswith("predictions-holdout-").all()
    assert log["id"].is_unique


def test_another_months_file_of_the_same_name_has_a_log_of_its_own() -> None:
    for month, rows in (("january", 5), ("february", 6), ("february", 6)):
        Path(month).mkdir(exist_ok=True)
        pd.read_parquet(HOLDOUT_PARQUET).head(rows).to_parquet(f"{month}/rows.parquet")
        batch.main(f"{month}/rows.parquet", f"{month}/said.parquet", "logs")
    assert sorted(len(pd.read_parquet(path)) for path in Path("logs").iterdir()) == [5, 6]


def test_what_fails_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    build_table = batch.build_prediction_table
    calls = iter([True, False])

    def fail_at_the_second_batch(rows: pd.DataFrame, keys: batch.ColumnDtypes, predictions: Predictions) -> object:
        if not next(calls):
            raise ValueError("no more")
        return build_table(rows, keys, predictions)

    monkeypatch.setattr(batch, "build_prediction_table", fail_at_the_second_batch)
    with pytest.raises(InvalidFileError, match="no more"):
        batch.score_file(HOLDOUT_PARQUET, OUT, batch.load_params())
    assert [path.name for path in Path().glob("*out*")] == []


def test_a_table_that_lacks_a_column(params: Params) -> None:
    name = params.data.features[0]
    pd.read_parquet(HOLDOUT_PARQUET).drop(columns=name).to_parquet("lacks.parquet")
    with pytest.raises(InvalidFileError) as raised:
        batch.main("lacks.parquet", str(OUT))
    assert name in raised.value.problem


def test_a_table_without_rows() -> None:
    pd.read_parquet(HOLDOUT_PARQUET).head(0).to_parquet("empty.parquet")
    with pytest.raises(InvalidFileError) as raised:
        batch.main("empty.parquet", str(OUT))
    assert raised.value.problem == "has no rows"
    assert not OUT.exists()


def test_a_file_that_is_no_table() -> None:
    Path("broken.parquet").write_text("no table", encoding="utf-8")
    with pytest.raises(InvalidFileError) as raised:
        batch.main("broken.parquet", str(OUT))
    assert raised.value.problem.startswith("is not a readable Parquet file")


@pytest.mark.parametrize(
    ("source", "target", "option"),
    [
        ("empty", "out", "IN"),
        ("nowhere", "out", "IN"),
        (str(HOLDOUT_PARQUET), "out.txt", "OUT"),
        (str(HOLDOUT_PARQUET), str(HOLDOUT_PARQUET), "OUT"),
    ],
)
def test_paths_that_cannot_be_scored(source: str, target: str, option: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(OptionError) as raised:
        batch.main(source, target)
    assert raised.value.option == option


def test_a_model_that_the_pipeline_did_not_make_is_not_scored_with() -> None:
    Path("dvc.lock").write_text("stages: {train: {outs: [{path: models/model.skops, md5: abc}]}}", encoding="utf-8")
    with pytest.raises(UserError, match="not the model that"):
        batch.main(str(HOLDOUT_PARQUET), str(OUT))
    assert not OUT.exists()
