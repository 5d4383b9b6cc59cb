"""Scores the candidate and the champion on the same rows, without rows that one of them was trained on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from modelyard.core.dvc_lock import get_hashes, load_lock
from modelyard.core.errors import InvalidFileError
from modelyard.core.files import sha256
from modelyard.core.git_objects import checkout_commit, read_yaml_at
from modelyard.core.model_at import Champion, restore_model
from modelyard.core.params import Params
from modelyard.core.paths import (
    DVC_LOCK,
    HOLDOUT_PARQUET,
    MODEL_FILE,
    PARAMS_YAML,
    PREDICTIONS_PARQUET,
    SCHEMA_YAML,
)
from modelyard.core.predictions import Predictions
from modelyard.core.yaml import read_yaml
from modelyard.data.schema import read_key
from modelyard.gate.champion import find_champion, predict_at_commit, predict_dummy, retrain_champion
from modelyard.gate.leakage import find_rows_seen_in_training
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.pipeline.split import split_table
from modelyard.statistics.paired_scores import MIN_UNITS

MIN_CLEAN_SHARE = 0.5  # of the holdout


@dataclass(frozen=True)
class ChampionScores:
    """The champion's predictions of the holdout.

    Parameters
    ----------
    champion
        The champion.
    predictions
        Its predictions, n rows.
    clean
        The rows that neither model was trained on, booleans of shape (n,).
    notes
        Sentences for the report.
    """

    champion: Champion
    predictions: Predictions
    clean: np.ndarray
    notes: list[str]


def load_candidate_predictions(
    params: Params, table: pd.DataFrame, is_split_changed: bool
) -> tuple[pd.DataFrame, Predictions]:
    """Return the holdout by the base's split, and the candidate's predictions of it.

    Parameters
    ----------
    params
        The parameters with the base's rules.
    table
        The whole table.
    is_split_changed
        Whether the branch splits the table in another way, so that its own holdout does not count.

    Raises
    ------
    InvalidFileError
        The predictions are of other rows than the holdout's.
    """
    if is_split_changed:
        _, rows = split_table(table, params.data, read_key(), params.split)
        rows = rows.reset_index(drop=True)
        return rows, Predictions.from_frame(predict_frame(load_model(MODEL_FILE), select_features(params, rows)))
    rows = pd.read_parquet(HOLDOUT_PARQUET)
    predictions = Predictions.from_parquet(PREDICTIONS_PARQUET)
    if len(predictions) != len(rows):
        problem = f"has {len(predictions):,} rows and {HOLDOUT_PARQUET} has {len(rows):,}"
        raise InvalidFileError(PREDICTIONS_PARQUET, problem, "run `make pipeline` again")
    return rows, predictions


def score_champion(
    params: Params, base: str, table: pd.DataFrame, rows: pd.DataFrame, candidate: Predictions
) -> ChampionScores:
    """Return the champion's predictions of the holdout.

    Parameters
    ----------
    params
        The parameters with the base's rules.
    base
        The commit that the change is compared with.
    table
        The whole table.
    rows
        The holdout, n rows of the table.
    candidate
        The candidate's predictions of the holdout, which are the champion's where both are one model.
    """
    seen_by_candidate = find_rows_seen_in_training(Path(), read_yaml(SCHEMA_YAML), rows, table)
    clean = np.ones(len(rows), bool) if seen_by_candidate is None else ~seen_by_candidate
    champion = find_champion(base, params.data.target)
    if champion.source == "dummy":
        return ChampionScores(champion, predict_dummy(rows), clean, [])
    if is_candidate(champion):
        return ChampionScores(replace(champion, model=sha256(MODEL_FILE)), candidate, clean, [])
    with checkout_commit(str(champion.commit)) as project:
        return score_champion_in_checkout(params, project, restore_model(project, champion), table, rows, clean)


def score_champion_in_checkout(
    params: Params, project: Path, champion: Champion, table: pd.DataFrame, rows: pd.DataFrame, clean: np.ndarray
) -> ChampionScores:
    """Score the champion as it is, or train its recipe on today's training rows where it cannot be scored.

    It cannot where the data has lost some of its columns, or where too few holdout rows are new to it. For the
    parameters see `score_champion`; `clean` are the rows that the candidate was not trained on.
    """
    commit = str(champion.commit)
    features = read_yaml_at(commit, PARAMS_YAML)["data"]["features"]
    lost_columns = [name for name in features if name not in table]
    seen = find_rows_seen_in_training(project, read_yaml_at(commit, SCHEMA_YAML), rows, table)
    clean_for_both = np.zeros(len(rows), bool) if seen is None else clean & ~seen
    if not lost_columns and has_enough_rows(params, rows[params.data.target], clean_for_both):
        return ChampionScores(champion, predict_at_commit(project, rows), clean_for_both, [])
    train, _ = split_table(table, params.data, read_key(), params.split)
    retrain_champion(project, train)
    if lost_columns:
        reason = f"the data no longer has its columns {', '.join(lost_columns)}"
    else:
        reason = "it was trained on most of today's holdout"
    note = (
        f"The champion could not be scored as it is, since {reason}: its recipe was trained on today's training rows."
    )
    return ChampionScores(replace(champion, source="retrained"), predict_at_commit(project, rows), clean, [note])


def has_enough_rows(params: Params, truth: pd.Series, clean: np.ndarray) -> bool:
    """Whether the clean rows can carry a comparison: half of the holdout, and 50 rows of the rarest class.

    A holdout that has fewer than 50 rows of a class needs all of them.
    """
    if clean.mean() < MIN_CLEAN_SHARE:
        return False
    rarest = truth[clean].value_counts().min() if params.data.task == "classification" else clean.sum()
    return bool(rarest >= min(MIN_UNITS, truth.value_counts().min()))


def is_candidate(champion: Champion) -> bool:
    """Whether the champion is the model here, by SHA-256 or, where that is not known, by the MD5 in dvc.lock."""
    if champion.model:
        return champion.model == sha256(MODEL_FILE)
    here = get_hashes(load_lock()).get(str(MODEL_FILE))
    there = get_hashes(read_yaml_at(str(champion.commit), DVC_LOCK)).get(str(MODEL_FILE))
    return here == there
