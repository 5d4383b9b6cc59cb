from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.errors import SettingError, UserError
from modelyard.core.files import sha256
from modelyard.core.params import Params
from modelyard.data import parquet
from modelyard.data.hashing import row_hashes
from modelyard.pipeline import train
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.preprocessing import select_features

TABLE = pd.DataFrame({"at": pd.date_range("2024-01-01", periods=100)[::-1], "y": [0, 1] * 50})


@pytest.mark.parametrize(("rule", "rows"), [("all", 100), ("30", 30), ("30d", 30), ("5000", 100)])
def test_window_holds_the_latest_rows(rule: str, rows: int) -> None:
    chosen = train.select_window(TABLE, "at", rule)
    assert len(chosen) == rows
    assert chosen["at"].max() == TABLE["at"].max()


@pytest.mark.parametrize("rule", ["last week", "-5", "5 d", ""])
def test_window_that_says_nothing_is_refused(rule: str) -> None:
    with pytest.raises(UserError, match=r"train\.window"):
        train.select_window(TABLE, "at", rule)


def test_window_in_days_needs_a_time() -> None:
    with pytest.raises(UserError, match=r"data\.time"):
        train.select_window(TABLE, None, "30d")


def test_one_class_cannot_be_learned(params: Params) -> None:
    data = replace(params.data, target="y", task="classification", time="at")
    ours = replace(params, data=data, train=replace(params.train, window="all"))
    with pytest.raises(UserError, match="have one y"):
        train.select_training_rows(ours, TABLE.assign(y=1))


def test_a_window_without_rows_is_one_sentence(params: Params) -> None:
    ours = replace(params, data=replace(params.data, time="at"), train=replace(params.train, window="0"))
    with pytest.raises(SettingError, match="no rows"):
        train.select_training_rows(ours, TABLE)


@pytest.mark.usefixtures("project")
def test_main_again_gives_the_same_model() -> None:
    before = sha256(Path("models/model.skops"))
    train.main()
    assert sha256(Path("models/model.skops")) == before


def learn(params: Params, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Any, np.ndarray, int]:
    """What is learned where 100 rows fit into memory, in blocks of 20."""
    recipe = replace(params.train, window="all", **options)
    monkeypatch.setattr(train, "max_rows_in_memory", lambda _: 100)
    monkeypatch.setattr(parquet, "WHOLE_TABLE_ROWS", 80)
    return train.fit_model(replace(params, train=recipe))


@pytest.mark.usefixtures("project")
def test_a_table_that_does_not_fit_is_learned_from_a_sample(
    params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, rows, count = learn(params, monkeypatch)
    assert 60 < count == len(rows) < 140
    assert set(rows) < set(row_hashes(pd.read_parquet("data/train.parquet")))
    assert "a sample of 100 is learned" in capsys.readouterr().out


@pytest.mark.usefixtures("project")
def test_a_table_that_does_not_fit_is_learned_in_parts_where_the_estimator_can(
    params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = params.data.task == "classification"
    name, arguments = ("SGDClassifier", {"loss": "log_loss"}) if classes else ("SGDRegressor", {})
    model, rows, _ = learn(params, monkeypatch, estimator=f"sklearn.linear_model.{name}", arguments=arguments)
    table = pd.read_parquet("data/train.parquet")
    assert rows.tolist() == np.sort(row_hashes(table)).tolist()
    assert len(predict_frame(model, select_features(params, table))) == len(table)
    assert "the model learns in parts" in capsys.readouterr().out


def test_memory_allows_so_many_rows(params: Params) -> None:
    less = replace(params, train=replace(params.train, megabytes=1024))
    assert train.max_rows_in_memory(
        replace(params, train=replace(params.train, megabytes=4096))
    ) == 4 * train.max_rows_in_memory(less)


@pytest.mark.usefixtures("project")
def test_rows_are_remembered_in_any_order(params: Params) -> None:
    table = pd.read_parquet("data/train.parquet")
    if params.train.window != "all":
        pytest.skip("the window holds only some of the rows")
    kept = np.load("models/rows.npy", allow_pickle=False)
    assert kept.tolist() == np.sort(row_hashes(table)).tolist()
