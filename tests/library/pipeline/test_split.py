from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.core.errors import SettingError, UserError
from modelyard.core.params import DataParams, Params, SplitParams
from modelyard.data import hashing, parquet, schema
from modelyard.pipeline import split

DATA = DataParams(path="t.parquet", target="y", task="classification", features=["x"])
TABLE = pd.DataFrame(
    {
        "x": range(1000),
        "y": [0, 0, 0, 1] * 250,
        "when": pd.date_range("2024-01-01", periods=250).repeat(4),
        "who": np.arange(1000) // 10,
    }
)


def parted(
    key: list[str] | None = None, share: float = 0.2, window: str | None = None, **options: object
) -> tuple[pd.DataFrame, pd.DataFrame]:
    data = DataParams(**{**{"path": "", "target": "y", "task": "classification", "features": ["x"]}, **options})  # type: ignore[arg-type]
    return split.split_table(TABLE, data, key or [], SplitParams(holdout=share, window=window))


@pytest.mark.usefixtures("project")
def test_every_row_is_on_one_side(frame: pd.DataFrame) -> None:
    train, holdout = pd.read_parquet("data/train.parquet"), pd.read_parquet("data/holdout.parquet")
    both = np.sort(np.concatenate([hashing.hash_frame(train), hashing.hash_frame(holdout)]))
    assert both.tolist() == np.sort(hashing.hash_frame(frame)).tolist()


@pytest.mark.usefixtures("project")
def test_the_holdout_has_about_its_share(params: Params, frame: pd.DataFrame) -> None:
    share = len(pd.read_parquet("data/holdout.parquet")) / len(frame)
    assert share == pytest.approx(params.split.holdout, abs=0.12)


@pytest.mark.usefixtures("project")
def test_main_again_gives_the_same_bytes() -> None:
    before = Path("data/holdout.parquet").read_bytes()
    split.main()
    assert Path("data/holdout.parquet").read_bytes() == before


@pytest.mark.usefixtures("project")
def test_a_table_in_blocks_is_parted_the_same(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [pd.read_parquet(f"data/{side}.parquet") for side in ("train", "holdout")]
    monkeypatch.setattr(parquet, "WHOLE_TABLE_ROWS", 80)
    split.main()
    for old, side in zip(before, ("train", "holdout"), strict=True):
        new = pd.read_parquet(f"data/{side}.parquet")
        if params.data.group or params.data.time or schema.read_key():
            pd.testing.assert_frame_equal(new, old)
        assert len(new) == len(old)  # by chance other rows, but as many


@pytest.mark.usefixtures("project")
def test_more_rows_than_are_wanted_are_held_out_from_both_sides(params: Params) -> None:
    before = [pd.read_parquet(f"data/{side}.parquet") for side in ("train", "holdout")]
    few = replace(params, split=replace(params.split, rows=len(before[1]) // 2))
    counts = split.write_split(Path(params.data.path), few)
    train, holdout = (pd.read_parquet(f"data/{side}.parquet") for side in ("train", "holdout"))
    assert counts == (len(train), len(holdout), len(before[1]) - len(holdout))
    pd.testing.assert_frame_equal(train, before[0])
    assert 0 < len(holdout) < len(before[1])
    assert set(hashing.row_hashes(holdout)) < set(hashing.row_hashes(before[1]))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("time", ["scheduled", None])
def test_the_split_in_memory_is_the_one_that_is_written(
    params: Params, monkeypatch: pytest.MonkeyPatch, time: str | None
) -> None:
    monkeypatch.setattr(parquet, "WHOLE_TABLE_ROWS", 80)
    few = replace(params, data=replace(params.data, time=time), split=replace(params.split, rows=20))
    split.write_split(Path(params.data.path), few)
    written = [pd.read_parquet(f"data/{side}.parquet") for side in ("train", "holdout")]
    for found, side in zip(split.split_file(Path(params.data.path), few, schema.read_key()), written, strict=True):
        pd.testing.assert_frame_equal(found.reset_index(drop=True), side)


@pytest.mark.parametrize("order", ["rising", "falling", "shuffled", "waves"])
def test_a_value_is_found_at_its_rank_whatever_the_order(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "RANK_SAMPLE_ROWS", 100)
    monkeypatch.setattr(split, "RANK_WINDOW_ROWS", 5)
    values = {"rising": range(5000), "falling": range(5000)[::-1], "waves": np.arange(5000) % 50 * 100}.get(
        order, np.random.default_rng(0).permutation(5000)
    )
    table = pd.DataFrame({"x": values})
    for rank in (0, 1, 999, 4000, 4999):
        found = split.value_at_rank(lambda _: (table[i : i + 300] for i in range(0, 5000, 300)), "x", 5000, rank)
        assert found == np.sort(table["x"])[rank]


def test_by_time_every_holdout_row_is_later() -> None:
    train, holdout = parted(time="when")
    assert train["when"].max() < holdout["when"].min()
    assert len(holdout) == 200


@pytest.mark.parametrize(
    ("window", "first_day"), [("30d", "2024-08-07"), ("48h", "2024-09-04"), ("2024-06-01", "2024-06-01")]
)
def test_a_window_holds_out_the_rows_since_its_start(window: str, first_day: str) -> None:
    train, holdout = parted(time="when", window=window)
    assert holdout["when"].min() == pd.Timestamp(first_day) > train["when"].max()
    assert len(train) + len(holdout) == len(TABLE)


def test_a_window_holds_out_groups_that_began_in_it() -> None:
    train, holdout = parted(group="who", time="when", window="30d")
    assert holdout["when"].min() >= pd.Timestamp("2024-08-07") and not set(train["who"]) & set(holdout["who"])


def test_a_window_has_the_time_zone_of_the_rows() -> None:
    table = TABLE.assign(when=TABLE["when"].dt.tz_localize("Asia/Tokyo"))
    data = replace(DATA, time="when")
    _, holdout = split.split_table(table, data, [], SplitParams(window="2024-06-01"))
    assert holdout["when"].min() == pd.Timestamp("2024-06-01", tz="Asia/Tokyo")


@pytest.mark.parametrize(
    ("window", "options", "problem"),
    [
        ("90d", {}, "data.time is null"),
        ("soon", {"time": "when"}, "write 90d, 12h or a time"),
        ("90d", {"time": "x"}, "x holds no times"),
        ("2030-01-01", {"time": "when"}, "leaves one side without rows"),
    ],
)
def test_a_window_that_does_not_fit_the_rows_is_refused(window: str, options: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingError, match=problem) as refusal:
        parted(window=window, **options)
    assert refusal.value.setting == "split.window"


@pytest.mark.usefixtures("project")
def test_a_window_is_written_block_by_block_and_thinned_out(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "WHOLE_TABLE_ROWS", 80)
    table = pd.read_parquet(params.data.path)
    start = table[params.data.time].sort_values().iloc[len(table) // 2]
    late = int((table[params.data.time] >= start).sum())
    halved = replace(params.split, window=start.isoformat(), rows=late // 2)
    train, holdout, _ = split.write_split(Path(params.data.path), replace(params, split=halved))
    assert train == len(table) - late
    assert holdout == pytest.approx(late / 2, abs=late / 5)


def test_by_group_no_group_is_on_both_sides() -> None:
    train, holdout = parted(group="who")
    assert not set(train["who"]) & set(holdout["who"])


def test_by_group_and_time_both_hold() -> None:
    train, holdout = parted(group="who", time="when")
    assert not set(train["who"]) & set(holdout["who"])
    assert train.groupby("who")["when"].min().max() < holdout.groupby("who")["when"].min().min()


def test_by_key_rows_keep_their_side_when_others_go() -> None:
    _, holdout = parted(key=["x"])
    data = DataParams(path="", target="y", task="classification", features=["x"])
    _, less = split.split_table(TABLE.iloc[::2], data, ["x"], SplitParams())
    assert set(less["x"]) == set(holdout["x"]) & set(TABLE.iloc[::2]["x"])


def test_by_chance_every_class_has_its_share() -> None:
    _, holdout = parted()
    assert holdout["y"].value_counts().to_dict() == {0: 150, 1: 50}


def test_by_chance_every_class_has_its_share_in_blocks_too() -> None:
    side = split.build_random_rule(DATA, 0.2, 0)
    held = pd.concat(part[side(part)] for part in (TABLE[i : i + 7] for i in range(0, len(TABLE), 7)))
    assert held["y"].value_counts().to_dict() == {0: 150, 1: 50}


def test_by_chance_numbers_have_their_share() -> None:
    _, holdout = parted(task="regression")
    assert len(holdout) == 200


@pytest.mark.parametrize("share", [0, 1, -0.1, 2])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"split\.holdout"):
        parted(share=share)


def test_a_side_without_rows_is_refused() -> None:
    one = TABLE.assign(who=1)
    with pytest.raises(UserError, match="without rows"):
        split.split_table(
            one, DataParams(path="", target="y", task="classification", features=["x"], group="who"), [], SplitParams()
        )


def test_hashes_depend_on_contents_not_on_order() -> None:
    turned = TABLE.iloc[::-1]
    assert hashing.hash_frame(turned).tolist() == hashing.hash_frame(TABLE)[::-1].tolist()


@pytest.mark.parametrize("keys", [range(2000), [f"k{i}" for i in range(2000)]])
def test_a_seed_is_another_draw_for_numbers_and_text(keys: list[object]) -> None:
    first, second = (hashing.select_by_hash(pd.DataFrame({"key": keys}), 0.2, seed) for seed in (0, 1))
    assert 0.17 < first.mean() < 0.23
    assert 0.03 < (first & second).mean() < 0.05  # as chance has it
