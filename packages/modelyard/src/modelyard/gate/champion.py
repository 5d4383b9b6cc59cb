"""The champion: the model that a candidate is compared with, and its recipe on today's rows."""

from pathlib import Path

import numpy as np
import pandas as pd

from modelyard.core.deployments import find_deployed_champion
from modelyard.core.git_objects import read_yaml_at
from modelyard.core.model_at import MODELYARD_COMMAND, Champion, bring_start_model, run_in_checkout
from modelyard.core.params import DataParams
from modelyard.core.paths import DVC_LOCK, PARAMS_YAML, TRAIN_PARQUET
from modelyard.core.predictions import Predictions
from modelyard.core.yaml import dump_yaml, read_yaml


def find_champion(base: str, target: str) -> Champion:
    """Return the model that a candidate is compared with.

    Parameters
    ----------
    base
        The commit that a change is compared with.
    target
        The target column of the candidate.

    Returns
    -------
    Champion
        The deployed model, else the one that `base` made. It is a dummy where there is none, or where it predicts
        another target.
    """
    deployed = find_deployed_champion(base)
    if deployed:
        found = Champion("deployed", deployed.model, deployed.commit)
    else:
        found = Champion("base", None, base)
    params = read_yaml_at(str(found.commit), PARAMS_YAML)
    lock = read_yaml_at(str(found.commit), DVC_LOCK)
    if not params or not lock or params["data"]["target"] != target:
        return Champion("dummy")
    return found


def retrain_champion(project: Path, train: pd.DataFrame) -> None:
    """Train a checkout's recipe on today's training rows, without the features that the rows no longer have."""
    (project / TRAIN_PARQUET).parent.mkdir(parents=True, exist_ok=True)
    train.to_parquet(project / TRAIN_PARQUET, index=False)
    params = read_yaml(project / PARAMS_YAML)
    params["data"]["features"] = [name for name in params["data"]["features"] if name in train]
    (project / PARAMS_YAML).write_text(dump_yaml(params), encoding="utf-8")
    bring_start_model(project)
    run_in_checkout(project, *MODELYARD_COMMAND, "train")


def predict_dummy(data: DataParams, train: pd.DataFrame, count: int) -> Predictions:
    """Return the predictions of a model without features: the classes' shares in the training rows, or their mean.

    Parameters
    ----------
    data
        The block `data` of params.yaml.
    train
        The training rows.
    count
        The number of rows to predict.
    """
    target = train[data.target]
    if data.task != "classification":
        return Predictions(np.full(count, float(target.mean())))
    shares = target.astype(str).value_counts(normalize=True).sort_index()
    return Predictions.from_probabilities(np.tile(shares.to_numpy(), (count, 1)), shares.index.to_numpy())
