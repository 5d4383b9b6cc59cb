"""Each check passes with the small project, and fails where what it looks for is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.params import Params
from modelyard.core.yaml_edit import edit_yaml
from modelyard.testing import checks, fit_model, make_schema_rows
from modelyard.testing.model_checks import draw_arguments
from modelyard.testing.samples import SampleModel

ROW_CHECKS = (
    checks.check_rows_keep_schema,
    checks.check_schema_names_columns,
    checks.check_features_are_columns,
    checks.check_columns_are_used_or_left_out,
    checks.check_split_keeps_groups_and_time,
    checks.check_personal_columns_are_marked,
    checks.check_numbers_are_finite,
    checks.check_row_alone_has_same_features,
    checks.check_raw_rows_stay,
    checks.check_rows_keep_their_place,
    checks.check_other_columns_are_text,
)
MODEL_CHECKS = (
    checks.check_beats_guessing,
    checks.check_no_group_prefers_guessing,
    checks.check_linear_model_is_not_better,
    checks.check_no_feature_harms,
    checks.check_order_does_not_matter,
    checks.check_row_alone_is_predicted_the_same,
    checks.check_left_out_columns_do_not_matter,
    checks.check_unknown_category_is_predicted,
    checks.check_missing_values_are_predicted,
    checks.check_direction_follows_strongest_column,
)


@pytest.fixture(autouse=True)
def _project(project: Path) -> None:
    """The small project as the current folder."""


@pytest.fixture
def rows() -> pd.DataFrame:
    return make_schema_rows()


def edit_params(**data: Any) -> None:
    """Change values of the block `data` in params.yaml."""
    with edit_yaml(Path("params.yaml")) as document:
        document["data"].update(data)


def write_features(body: str) -> None:
    Path("src/flight_delays/features.py").write_text(f"def features(raw):\n    {body}\n")


@pytest.mark.parametrize("check", ROW_CHECKS, ids=lambda check: check.__name__)
def test_rows_of_the_schema_pass(check: Callable[[pd.DataFrame], None], rows: pd.DataFrame) -> None:
    check(rows)


@pytest.mark.parametrize("check", [checks.check_key_is_unique, checks.check_target_is_complete])
def test_the_table_passes(check: Callable[[Path], None]) -> None:
    check(Path("data/raw/flights.parquet"))


def test_slices_of_the_project_pass() -> None:
    checks.check_slices_are_columns()


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
def test_a_model_that_learned_passes(check: Callable[[SampleModel], None]) -> None:
    check(fit_model())


def test_a_row_that_breaks_the_schema_fails(rows: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match="distance"):
        checks.check_rows_keep_schema(rows.assign(distance=-1))


def test_a_column_that_the_schema_lacks_fails(rows: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match="another"):
        checks.check_schema_names_columns(rows.assign(another=1))


def test_repeated_keys_fail(rows: pd.DataFrame, tmp_path: Path) -> None:
    pd.concat([rows, rows.head(3)]).to_parquet(tmp_path / "t.parquet", index=False)
    with pytest.raises(AssertionError, match="3 rows"):
        checks.check_key_is_unique(tmp_path / "t.parquet")


def test_a_missing_target_fails(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows.assign(late=rows["late"].where(rows.index > 0)).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(AssertionError, match="1 rows have no late"):
        checks.check_target_is_complete(tmp_path / "t.parquet")


def test_one_target_alone_fails(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows.assign(late=1).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(AssertionError, match="the same late"):
        checks.check_target_is_complete(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"features": ["carrier", "late"]}, "late is the target"),
        ({"features": ["carrier", "flight"]}, "flight: in data.features and in data.left_out"),
        ({"features": ["carrier", "nothing"]}, "lacks nothing"),
        ({"sensitive": ["nothing"]}, "lacks nothing"),
    ],
)
def test_features_that_are_none_fail(rows: pd.DataFrame, data: dict[str, Any], reason: str) -> None:
    edit_params(**data)
    with pytest.raises(AssertionError, match=reason):
        checks.check_features_are_columns(rows)


def test_a_column_that_nobody_named_fails(rows: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match="another: add them"):
        checks.check_columns_are_used_or_left_out(rows.assign(another=1))


@pytest.mark.parametrize("name", ["e_mail", "contact"])
def test_a_personal_column_that_is_not_marked_fails(rows: pd.DataFrame, name: str) -> None:
    with edit_yaml(Path("schema.yaml")) as document:
        document["columns"][name] = {"dtype": "str"}
    table = rows.assign(**{name: "somebody@example.org"})
    with pytest.raises(AssertionError, match=name):
        checks.check_personal_columns_are_marked(table)
    with edit_yaml(Path("schema.yaml")) as document:
        document["columns"][name]["personal"] = False
    checks.check_personal_columns_are_marked(table)


def test_an_infinite_number_fails(rows: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match="temp"):
        checks.check_numbers_are_finite(rows.assign(temp=np.inf))


def test_a_slice_that_is_no_column_fails() -> None:
    with edit_yaml(Path("params.yaml")) as document:
        document["gate"]["slices"] = ["nothing"]
    with pytest.raises(AssertionError, match="nothing"):
        checks.check_slices_are_columns()


def test_features_by_other_rows_fail(rows: pd.DataFrame) -> None:
    write_features("return raw.assign(distance=raw['distance'].rank())")
    with pytest.raises(AssertionError):
        checks.check_row_alone_has_same_features(rows)


def test_features_that_change_their_argument_fail(rows: pd.DataFrame) -> None:
    write_features("raw['x'] = 1; return raw")
    with pytest.raises(AssertionError):
        checks.check_raw_rows_stay(rows)


def test_a_model_that_says_the_opposite_fails() -> None:
    model = fit_model()
    turned = replace_truth(model)
    for check in (checks.check_beats_guessing, checks.check_direction_follows_strongest_column):
        with pytest.raises(AssertionError):
            check(turned)


def replace_truth(model: SampleModel) -> SampleModel:
    """Return the model with rows whose truth is the opposite of what it learned."""
    target = model.params.data.target
    turned = [rows.assign(**{target: 1 - rows[target]}) for rows in (model.train, model.holdout)]
    return SampleModel(model.params, *turned, model.pipeline)


def test_a_group_that_is_better_off_with_guessing_fails(params: Params) -> None:
    model = fit_model()
    holdout = pd.concat([model.holdout] * 3, ignore_index=True).assign(origin="EWR")
    gate = replace(params.gate, slices=["origin"])
    turned = replace_truth(SampleModel(replace(model.params, gate=gate), model.train, holdout, model.pipeline))
    with pytest.raises(AssertionError, match="EWR would be better off"):
        checks.check_no_group_prefers_guessing(SampleModel(turned.params, model.train, turned.holdout, model.pipeline))


def test_drawn_settings_lie_in_the_search_space(params: Params) -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        drawn = draw_arguments(params, random)
        assert set(drawn) == set(params.sweep.space)
        assert 0.01 <= drawn["learning_rate"] <= 0.2
        assert isinstance(drawn["max_leaf_nodes"], int)


def test_no_search_space_is_a_skip() -> None:
    model = fit_model()
    params = replace(model.params, sweep=replace(model.params.sweep, space={}))
    with pytest.raises(pytest.skip.Exception, match=r"sweep\.space is empty"):
        checks.check_drawn_settings_are_not_better(SampleModel(params, model.train, model.holdout, model.pipeline))
