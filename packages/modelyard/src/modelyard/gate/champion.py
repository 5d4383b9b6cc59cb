"""The champion: which model a change is held against, where its bytes are, and what it says of today's rows."""

import sys
import tempfile
from pathlib import Path

import pandas as pd

from modelyard.core.deployments import find_deployed_champion
from modelyard.core.git_objects import read_yaml_at
from modelyard.core.model_at import Champion, bring_start_model, run_in_checkout
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK, PARAMS_YAML, TRAIN_PARQUET
from modelyard.core.yaml import dump_yaml, read_yaml


def find_champion(base: str, target: str) -> Champion:
    """The deployed model, else the one at `base`, else none (a dummy): also when the target changed."""
    deployed = find_deployed_champion(base)
    if deployed:
        found = Champion("deployed", deployed.model, deployed.commit)
    else:
        found = Champion("base", None, base)
    params, lock = read_yaml_at(str(found.commit), PARAMS_YAML), read_yaml_at(str(found.commit), DVC_LOCK)
    if not params or not lock or params["data"]["target"] != target:
        return Champion("dummy")
    return found


def predict_at_commit(project: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """What the model in a checkout says of raw rows, by that checkout's own code."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder, "rows.parquet"), Path(folder, "answers.parquet")
        rows.to_parquet(here, index=False)
        run_in_checkout(project, sys.executable, "-m", "modelyard", "predict", "--rows", str(here), "--out", str(there))
        return pd.read_parquet(there).set_axis(rows.index)


def retrain_champion(project: Path, train: pd.DataFrame) -> None:
    """Train the champion's recipe on today's rows, without the features that are gone."""
    (project / TRAIN_PARQUET).parent.mkdir(parents=True, exist_ok=True)
    train.to_parquet(project / TRAIN_PARQUET, index=False)
    params = read_yaml(project / PARAMS_YAML)
    params["data"]["features"] = [name for name in params["data"]["features"] if name in train]
    (project / PARAMS_YAML).write_text(dump_yaml(params), encoding="utf-8")
    bring_start_model(project)
    run_in_checkout(project, sys.executable, "-m", "modelyard", "train")


def predict_dummy(rows: pd.DataFrame) -> pd.DataFrame:
    """What a model without any features says: the classes' shares in the training rows, or their mean."""
    params = load_params()
    target = pd.read_parquet(TRAIN_PARQUET, columns=[params.data.target])[params.data.target]
    if params.data.task != "classification":
        return pd.DataFrame({"prediction": float(target.mean())}, index=rows.index)
    shares = target.astype(str).value_counts(normalize=True).sort_index()
    said = {"prediction": str(shares.idxmax()), **{f"p_{name}": share for name, share in shares.items()}}
    return pd.DataFrame(said, index=rows.index)
