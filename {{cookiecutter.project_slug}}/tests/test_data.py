"""The data as it lies here; without it (`make pull` fetches it) these tests are skipped."""

from modelyard.testing import checks, load_rows, load_table_path


def test_rows_keep_the_schema() -> None:
    checks.check_rows_keep_schema(load_rows())


def test_the_schema_names_every_column() -> None:
    checks.check_schema_names_columns(load_rows())


def test_the_key_tells_rows_apart() -> None:
    checks.check_key_is_unique(load_table_path())


def test_every_row_has_a_target() -> None:
    checks.check_target_is_complete(load_table_path())


def test_features_are_columns_that_were_not_left_out() -> None:
    checks.check_features_are_columns(load_rows())
    checks.check_slices_are_columns()


def test_every_column_is_used_or_left_out_for_a_reason() -> None:
    checks.check_columns_are_used_or_left_out(load_rows())


def test_no_group_and_no_moment_is_on_both_sides() -> None:
    checks.check_split_keeps_groups_and_time(load_rows())


def test_columns_that_look_personal_are_marked() -> None:
    checks.check_personal_columns_are_marked(load_rows())


def test_numbers_are_finite() -> None:
    checks.check_numbers_are_finite(load_rows())
