import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.automation import holdout
from modelyard.core.errors import OptionError, UserError
from modelyard.core.params import Params, load_params
from modelyard.core.paths import HOLDOUT_PARQUET, PARAMS_YAML


def add_newer_rows(params: Params, days: int) -> pd.DataFrame:
    """Repeat the latest rows of the table, so many days later, and return the new ones."""
    table = pd.read_parquet(params.data.path)
    newer = table.sort_values(str(params.data.time)).tail(60).copy()
    newer[params.data.time] += pd.Timedelta(days=days)
    pd.concat([table, newer]).to_parquet(params.data.path, index=False)
    return newer


def test_without_a_time_another_seed_is_drawn(params: Params) -> None:
    by_chance = replace(params, data=replace(params.data, time=None))
    assert holdout.choose_split_changes(by_chance, None) == {"seed": 1}
    with pytest.raises(OptionError, match="WINDOW"):
        holdout.choose_split_changes(by_chance, "90d")


@pytest.mark.usefixtures("project")
def test_with_a_time_the_rows_since_the_present_holdout_are_held_out(params: Params) -> None:
    newer = add_newer_rows(params, 400)
    assert holdout.choose_split_changes(params, None) == {"window": newer[params.data.time].min().isoformat()}
    assert holdout.choose_split_changes(params, "90d") == {"window": "90d"}


@pytest.mark.usefixtures("project")
def test_without_newer_rows_there_is_no_new_holdout(params: Params) -> None:
    with pytest.raises(UserError, match="only 0 rows are newer"):
        holdout.choose_split_changes(params, None)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_the_champion_is_shown_on_both_holdouts(params: Params, capfd: pytest.CaptureFixture[str]) -> None:
    times = pd.read_parquet(params.data.path)[params.data.time].sort_values()
    middle = times.iloc[len(times) // 2]
    assert holdout.main(window=middle.isoformat()) == 0
    assert load_params().split.window == middle.isoformat()
    assert pd.read_parquet(HOLDOUT_PARQUET)[params.data.time].min() == middle
    out = capfd.readouterr().out
    assert "the champion's roc_auc: 0." in out and "on the new holdout: 0." in out
    assert "# held out at most" in PARAMS_YAML.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_failed_run_leaves_the_present_holdout(params: Params) -> None:
    before = PARAMS_YAML.read_text()
    with pytest.raises(UserError, match=r"dvc repro"):
        holdout.main(window="2090-01-01")
    assert PARAMS_YAML.read_text() == before
