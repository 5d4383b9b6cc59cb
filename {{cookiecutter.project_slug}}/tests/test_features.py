import pandas as pd

from {{cookiecutter.__package}}.config import Params
from {{cookiecutter.__package}}.features import features
from {{cookiecutter.__package}}.model import inputs, prepare


def test_a_row_has_the_same_features_alone(params: Params, frame: pd.DataFrame) -> None:
    raw = inputs(params, frame)
    alone = pd.concat([features(raw.iloc[[i]]) for i in range(10)])
    pd.testing.assert_frame_equal(alone, features(raw).iloc[:10], check_dtype=False)


def test_the_raw_rows_stay_as_they_were(params: Params, frame: pd.DataFrame) -> None:
    raw = inputs(params, frame)
    before = raw.copy()
    features(raw)
    pd.testing.assert_frame_equal(raw, before)


def test_every_row_stays_in_its_place(params: Params, frame: pd.DataFrame) -> None:
    raw = inputs(params, frame)
    assert features(raw).index.equals(raw.index)


def test_what_is_no_number_is_text(params: Params, frame: pd.DataFrame) -> None:
    table = prepare(inputs(params, frame)).select_dtypes(exclude="number")
    assert all(table[name].map(lambda value: value is None or isinstance(value, str)).all() for name in table)


def test_a_time_becomes_hour_and_weekday(params: Params, frame: pd.DataFrame) -> None:
    raw = inputs(params, frame).iloc[:2]  # features of yours may need any of the columns
    table = features(raw.assign(at=pd.to_datetime(["2024-01-01 06:30", None])))[["at_hour", "at_weekday"]]
    assert table.iloc[0].to_dict() == {"at_hour": 6.5, "at_weekday": 0.0}
    assert table.iloc[1].isna().all()
