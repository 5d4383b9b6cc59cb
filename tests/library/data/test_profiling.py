from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.paths import SCHEMA_YAML
from modelyard.data import profiling
from modelyard.data.profiling import ColumnProfile, merge_profiles, profile_columns, profile_table, sample_rows

TABLE = pd.DataFrame(
    {
        "whole": [1, 2, 2, 3],
        "gaps": [1.0, 2.0, None, 4.0],
        "share": [0.5, 1.0, 2.0, 4.0],
        "text": ["1", "2.5", None, "n.a."],
        "time": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-03"]).astype("datetime64[us]"),
    }
)


@pytest.fixture
def profiles(tmp_path: Path) -> dict[str, ColumnProfile]:
    """The profile of each column of a table."""
    TABLE.to_parquet(tmp_path / "table.parquet", index=False)
    return profile_columns(tmp_path / "table.parquet")


def test_a_profile_counts_rows_gaps_and_distinct_values(profiles: dict[str, ColumnProfile]) -> None:
    assert [profile.rows for profile in profiles.values()] == [4] * 5
    assert [profile.missing_count for profile in profiles.values()] == [0, 1, 0, 1, 0]
    assert [profile.distinct_count for profile in profiles.values()] == [3, 3, 4, 3, 3]


def test_a_profile_has_the_range_of_values_or_lengths(profiles: dict[str, ColumnProfile]) -> None:
    assert (profiles["share"].low, profiles["share"].high) == (0.5, 4.0)
    assert (profiles["text"].low, profiles["text"].high) == (1, 4)
    assert profiles["time"].high == datetime(2024, 1, 3)


def test_a_profile_counts_texts_that_look_like_numbers(profiles: dict[str, ColumnProfile]) -> None:
    assert (profiles["text"].numeric_count, profiles["text"].strays) == (2, ["n.a."])


def test_whole_numbers_may_be_floats(profiles: dict[str, ColumnProfile]) -> None:
    assert [name for name, profile in profiles.items() if profile.is_whole] == ["whole", "gaps"]


def test_infinity_is_not_whole() -> None:
    assert not ColumnProfile("a", "float64", values={1.0, np.inf}).is_whole


def test_many_values_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "MAX_DISTINCT_KEPT", 2)
    TABLE.to_parquet(tmp_path / "table.parquet", index=False)
    profile = profile_columns(tmp_path / "table.parquet")["share"]
    assert (profile.values, profile.distinct_count, profile.is_whole) == (None, 3, False)


def test_sampled_rows_are_spread_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "BATCH_ROWS", 7)
    pd.DataFrame({"a": range(100)}).to_parquet(tmp_path / "table.parquet", index=False)
    assert sample_rows(tmp_path / "table.parquet", 10)["a"].tolist() == list(range(0, 100, 10))


def test_profile_of_a_table_hides_personal_values() -> None:
    SCHEMA_YAML.write_text("columns: {share: {personal: true}}\n")
    columns = profile_table(TABLE)["columns"]
    assert columns["share"] == {"type": "float64", "missing": 0.0, "distinct": 4}
    assert columns["whole"] == {"type": "int64", "missing": 0.0, "distinct": 3, "min": 1.0, "max": 3.0, "mean": 2.0}


def test_merged_profiles_are_that_of_the_whole_table() -> None:
    blocks = [TABLE[:3], TABLE[3:]]
    sketches = {name: np.sort(pd.util.hash_array(TABLE[name].dropna().unique())) for name in ("whole", "gaps")}
    merged = merge_profiles([profile_table(block) for block in blocks], sketches)
    whole = profile_table(TABLE)
    assert merged == {"rows": 4, "columns": {name: whole["columns"][name] for name in sketches}}


def test_many_distinct_values_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "SKETCH_SIZE", 1000)
    values = pd.DataFrame({"a": np.arange(50_000)})
    smallest = np.sort(pd.util.hash_array(values["a"].to_numpy()))[:1000]
    merged = merge_profiles([profile_table(values)], {"a": smallest})
    assert merged["columns"]["a"]["distinct"] == pytest.approx(50_000, rel=0.1)
