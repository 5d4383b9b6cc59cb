from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.model_at import Champion
from modelyard.core.params import load_params
from modelyard.gate import champion
from tests.library.gate.support import commit_all

PARAMS_YAML = "data: {target: y}\n"


def test_dummy_champion_has_no_model() -> None:
    assert Champion("dummy").model is None


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS_YAML, encoding="utf-8")
    Path("dvc.lock").write_text("stages: {}\n", encoding="utf-8")
    Path("deploy").mkdir()
    Path("deploy/production.yaml").write_text("champion: null\n", encoding="utf-8")
    return tmp_path


@pytest.mark.usefixtures("repository")
def test_champion_is_the_deployed_model_or_the_one_of_the_base() -> None:
    base = commit_all()
    assert champion.find_champion(base, "y") == Champion("base", None, base)
    Path("deploy/production.yaml").write_text(f"champion: {{model: abc, commit: {base}}}\n", encoding="utf-8")
    assert champion.find_champion(commit_all(), "y") == Champion("deployed", "abc", base)


@pytest.mark.usefixtures("repository")
def test_champion_is_a_dummy_where_the_target_is_another() -> None:
    assert champion.find_champion(commit_all(), "z") == Champion("dummy")


@pytest.mark.usefixtures("project")
def test_dummy_predicts_the_shares_of_the_classes() -> None:
    target = load_params().data.target
    train = pd.read_parquet("data/train.parquet")
    found = champion.predict_dummy(load_params().data, train, 7)
    shares = train[target].astype(str).value_counts(normalize=True)
    assert len(found) == 7
    assert np.asarray(found.probabilities)[0].tolist() == pytest.approx([shares[name] for name in found.classes])
