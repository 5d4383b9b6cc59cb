from pathlib import Path

import pandas as pd
import pytest
import yaml
from msgspec.structs import replace

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import Params
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.predictions import to_log_column
from modelyard.inference import batch
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.monitoring.log_reader import ReadStats, read_records
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features

pytestmark = pytest.mark.usefixtures("project")
HOLDOUT, OUT = Path("data/holdout.parquet"), Path("out.parquet")


@pytest.fixture(autouse=True)
def small(params: Params, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = replace(params, score=replace(params.score, rows=7))
    monkeypatch.setattr(batch, "load_params", lambda: rules)


def right(params: Params) -> pd.DataFrame:
    return predict_frame(load_model(Path("models/model.skops")), select_features(params, pd.read_parquet(HOLDOUT)))


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_gets_the_pipelines_predictions_with_its_keys(params: Params, suffix: str) -> None:
    table, source, target = pd.read_parquet(HOLDOUT), Path(f"in{suffix}"), Path(f"out{suffix}")
    if suffix == ".parquet":
        table.to_parquet(source)
    else:
        table.to_csv(source, index=False)
    batch.main(str(source), str(target))
    found = pd.read_parquet(target) if suffix == ".parquet" else pd.read_csv(target)
    names = list(right(params))
    pd.testing.assert_frame_equal(found[names], right(params).reset_index(drop=True), check_dtype=False, atol=1e-6)
    assert list(found)[: -len(names)] == list(batch.read_key_dtypes())


def test_a_folder_is_scored_file_by_file_and_goes_on_where_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    for name in ("a.parquet", "b.parquet"):
        pd.read_parquet(HOLDOUT).to_parquet(Path("in") / name)
    batch.main("in", "out")
    first = Path("out/a.parquet").stat().st_mtime_ns
    Path("out/b.parquet").unlink()
    batch.main("in", "out")
    assert Path("out/a.parquet").stat().st_mtime_ns == first and Path("out/b.parquet").exists()
    assert "done before 1" in capsys.readouterr().out


def test_what_is_logged_is_what_monitoring_reads(params: Params) -> None:
    batch.main(str(HOLDOUT), str(OUT), logs="logs")
    parts = list(read_records(Path("logs"), "predictions", tally := ReadStats()))
    found, held = pd.concat(parts), pd.read_parquet(HOLDOUT)
    assert len(found) == found["id"].nunique() == len(held) and not tally.broken
    assert set(found["model"]) == {sha256(Path("models/model.skops"))}
    same = found[list(map(to_log_column, params.data.features))].set_axis(params.data.features, axis=1)
    pd.testing.assert_frame_equal(same.reset_index(drop=True), held[params.data.features], check_dtype=False)
    assert found["prediction"].tolist() == pd.read_parquet(OUT)["prediction"].tolist()


def test_a_newer_model_or_table_is_scored_again(params: Params) -> None:
    batch.main(str(HOLDOUT), str(OUT))
    assert batch.is_already_scored(HOLDOUT, OUT)
    Path("models/model.skops").touch()
    assert not batch.is_already_scored(HOLDOUT, OUT)


def test_a_personal_column_is_in_no_log_not_even_as_an_id(params: Params) -> None:
    schema = yaml.safe_load(SCHEMA_YAML.read_text())
    name = next(iter(schema.get("unique") or params.data.features))
    schema["columns"][name]["personal"] = True
    SCHEMA_YAML.write_text(yaml.safe_dump(schema))
    batch.main(str(HOLDOUT), str(OUT), "logs")
    log = pd.concat(pd.read_parquet(path) for path in Path("logs").glob("*.parquet"))
    assert (
        to_log_column(name) not in log
        and log["id"].str.startswith("predictions-holdout-").all()
        and log["id"].is_unique
    )


def test_another_months_file_of_the_same_name_has_a_log_of_its_own() -> None:
    for month, rows in (("january", 5), ("february", 6), ("february", 6)):
        Path(month).mkdir(exist_ok=True)
        pd.read_parquet(HOLDOUT).head(rows).to_parquet(f"{month}/rows.parquet")
        batch.main(f"{month}/rows.parquet", f"{month}/said.parquet", "logs")
    assert sorted(len(pd.read_parquet(path)) for path in Path("logs").iterdir()) == [5, 6]


def test_what_fails_leaves_no_file(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    load_or_build_bundle(params)
    plain, calls = batch.build_prediction_table, iter([True, False])

    def fails(*arguments: object) -> object:
        if not next(calls):
            raise ValueError("no more")
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "build_prediction_table", fails)
    with pytest.raises(UserError, match="no more"):
        batch.score_file(HOLDOUT, OUT, 7)
    assert [path.name for path in Path().glob("*out*")] == []


def test_what_cannot_be_scored_is_one_sentence(params: Params) -> None:
    table = pd.read_parquet(HOLDOUT)
    table.drop(columns=params.data.features[0]).to_parquet("lacks.parquet")
    table.head(0).to_parquet("empty.parquet")
    Path("broken.parquet").write_text("no table")
    Path("empty").mkdir()
    said = {"lacks.parquet": params.data.features[0], "empty.parquet": "no rows", "broken.parquet": "cannot be scored"}
    for name, sentence in {**said, "empty": "IN=path", "nowhere": "IN=path"}.items():
        with pytest.raises(UserError, match=sentence):
            batch.main(name, "out" if name in ("empty", "nowhere") else str(OUT))
    with pytest.raises(UserError, match=r"\.parquet or \.csv"):
        batch.main(str(HOLDOUT), "out.txt")


def test_a_model_that_the_pipeline_did_not_make_is_not_scored_with() -> None:
    Path("dvc.lock").write_text("stages: {train: {outs: [{path: models/model.skops, md5: abc}]}}", encoding="utf-8")
    with pytest.raises(UserError, match="not the model that"):
        batch.main(str(HOLDOUT), str(OUT))
    assert not OUT.exists()
