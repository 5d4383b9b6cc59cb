"""What features.py promises, on rows that are made from schema.yaml alone."""

from modelyard.testing import checks, make_schema_rows


def test_a_row_has_the_same_features_alone() -> None:
    checks.check_row_alone_has_same_features(make_schema_rows())
    checks.check_raw_rows_stay(make_schema_rows())


def test_every_row_stays_in_its_place() -> None:
    checks.check_rows_keep_their_place(make_schema_rows())


def test_what_is_no_number_is_text() -> None:
    checks.check_other_columns_are_text(make_schema_rows())
