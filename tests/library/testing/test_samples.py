from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.testing import fit_model, load_rows, load_table_path, make_schema_rows


@pytest.mark.usefixtures("project")
def test_rows_are_those_of_the_data(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(load_rows(), frame)


@pytest.mark.usefixtures("project")
def test_rows_can_be_changed_by_a_test() -> None:
    rows = load_rows()
    rows["late"] = 7
    assert 7 not in load_rows()["late"].to_numpy()


def test_data_that_was_not_fetched_is_a_skip_with_a_reason(project: Path) -> None:
    (project / "data/raw/flights.parquet").unlink()
    with pytest.raises(pytest.skip.Exception, match="`make pull` fetches it"):
        load_table_path()


def test_own_load_without_its_source_is_a_skip(project: Path) -> None:
    (project / "data/raw/flights.parquet").unlink()
    (project / "src/flight_delays/data.py").write_text("def load(source):\n    yield None\n")
    with pytest.raises(pytest.skip.Exception, match="`make pull` fetches it"):
        load_rows()


def test_a_model_is_fitted_without_the_data(project: Path) -> None:
    (project / "data/raw/flights.parquet").unlink()
    model = fit_model()
    assert len(model.train) + len(model.holdout) == len(make_schema_rows())


@pytest.mark.usefixtures("project")
def test_predictions_and_truth_have_one_shape() -> None:
    model = fit_model()
    predicted, truth = model.predict(model.holdout), model.encode_truth(model.holdout)
    assert predicted.shape == truth.shape == (len(model.holdout), 2)
    assert np.allclose(predicted.sum(axis=1), 1)


def test_each_project_has_a_model_of_its_own(project: Path, piped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit_model()
    monkeypatch.chdir(piped)
    assert fit_model() is not first
    monkeypatch.chdir(project)
    assert fit_model() is first
