"""What a model of this recipe must do with any table; it is fitted on a sample of the data."""

from modelyard.testing import checks, fit_model


def test_floor_it_does_not_lose_to_guessing() -> None:
    checks.check_beats_guessing(fit_model())


def test_inclusion_no_group_is_better_off_with_guessing() -> None:
    checks.check_no_group_prefers_guessing(fit_model())


def test_simpler_a_linear_model_is_not_better() -> None:
    checks.check_linear_model_is_not_better(fit_model())


def test_tuned_no_drawn_setting_is_better() -> None:
    checks.check_drawn_settings_are_not_better(fit_model())


def test_features_none_of_them_harms() -> None:
    checks.check_no_feature_harms(fit_model())


def test_invariance_to_order_neighbours_and_what_was_left_out() -> None:
    checks.check_order_does_not_matter(fit_model())
    checks.check_row_alone_is_predicted_the_same(fit_model())
    checks.check_left_out_columns_do_not_matter(fit_model())


def test_robust_to_unknown_categories_and_gaps() -> None:
    checks.check_unknown_category_is_predicted(fit_model())
    checks.check_missing_values_are_predicted(fit_model())


def test_direction_it_follows_the_strongest_column() -> None:
    checks.check_direction_follows_strongest_column(fit_model())
