"""What must hold for the data itself; skipped where DVC has not fetched it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from {{cookiecutter.__package}}.config import Params
from {{cookiecutter.__package}}.facts import facts_of, sample
from {{cookiecutter.__package}}.schema import looks_personal
from {{cookiecutter.__package}}.split import split
from {{cookiecutter.__package}}.validate import failures, key, load_schema, twins

MAIL = r"[^@\s]+@[^@\s]+\.\w+"
ROWS = 20_000  # `make pipeline` validates every row


@pytest.fixture(scope="module")
def path(params: Params) -> Path:
    found = ROOT / params.data.path
    if not found.exists():
        pytest.skip(f"{params.data.path} is not here; `make pull` fetches it")
    return found


@pytest.fixture(scope="module")
def rows(path: Path) -> pd.DataFrame:
    return sample(path, ROWS)


def test_rows_keep_the_schema(rows: pd.DataFrame) -> None:
    broken = failures(rows, load_schema(ROOT / "schema.yaml"))
    assert broken.empty, broken.to_string()


def test_the_schema_names_every_column(rows: pd.DataFrame) -> None:
    assert set(load_schema(ROOT / "schema.yaml").columns) == set(rows)


def test_the_key_tells_rows_apart(path: Path) -> None:
    names = key(ROOT / "schema.yaml")
    if not names:
        pytest.skip("the schema names no key")
    assert twins(path, names).size == 0


def test_every_row_has_a_target(path: Path, params: Params) -> None:
    target = facts_of(path)[params.data.target]
    assert target.gaps == 0
    assert target.values is None or len(target.values) > 1


def test_features_are_columns_that_were_not_left_out(rows: pd.DataFrame, params: Params) -> None:
    data = params.data
    assert set(data.features) <= set(rows) - {data.target}
    assert not set(data.features) & set(data.left_out)
    assert {*data.sensitive, *filter(None, (data.time, data.group))} <= set(rows)


def test_every_column_is_used_or_left_out_for_a_reason(rows: pd.DataFrame, params: Params) -> None:
    known = {*params.data.features, *params.data.left_out, params.data.target}
    assert set(rows) - known == set()


def test_no_group_and_no_moment_is_on_both_sides(rows: pd.DataFrame, params: Params) -> None:
    train, holdout = split(rows, params.data, key(ROOT / "schema.yaml"), params.split.holdout, params.split.seed)
    if params.data.group:
        assert not set(train[params.data.group]) & set(holdout[params.data.group])
    elif params.data.time:
        assert train[params.data.time].max() < holdout[params.data.time].min()
    assert len(train) + len(holdout) == len(rows)


def test_columns_that_look_personal_are_marked(rows: pd.DataFrame) -> None:
    """By their name, or by values that are e-mail addresses; `personal: false` says that one is not."""
    columns = yaml.safe_load((ROOT / "schema.yaml").read_text(encoding="utf-8"))["columns"]
    mails = {name for name, values in rows.items() if values.astype(str).str.fullmatch(MAIL).mean() > 0.5}
    named = set(filter(looks_personal, rows))
    assert {name for name in mails | named if "personal" not in columns[name]} == set()


def test_numbers_are_finite(rows: pd.DataFrame) -> None:
    assert not np.isinf(rows.select_dtypes("number").to_numpy(dtype=float)).any()


def test_slices_and_floors_name_what_there_is(params: Params) -> None:
    columns = yaml.safe_load((ROOT / "schema.yaml").read_text(encoding="utf-8"))["columns"]
    assert set(params.gate.slices) <= set(columns)
