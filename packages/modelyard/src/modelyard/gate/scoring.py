"""Scores the candidate and the champion on the same rows, without rows that one of them was trained on."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from modelyard.core.dvc_lock import get_hashes, load_lock
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.git_objects import checkout_commit, find_commit, read_yaml_at
from modelyard.core.model_at import Champion, restore_model
from modelyard.core.params import Params
from modelyard.core.paths import DVC_LOCK, MODEL_FILE, PARAMS_YAML, ROW_HASHES_FILE, SCHEMA_YAML
from modelyard.core.predictions import Predictions
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.core.yaml import read_yaml
from modelyard.data.hashing import hash_frame
from modelyard.data.parquet import read_table
from modelyard.data.schema import read_key
from modelyard.data.source import open_table
from modelyard.gate.champion import find_champion, predict_dummy, retrain_champion
from modelyard.gate.isolation import BaseRules, apply_base_rules
from modelyard.gate.leakage import find_rows_seen_in_training, flag_leaked_rows
from modelyard.gate.scratch import ModelOutput, ModelOutputError, predict_in_scratch
from modelyard.pipeline.split import split_file
from modelyard.statistics.paired_scores import MIN_UNITS

MIN_CLEAN_SHARE = 0.5  # of the holdout


@dataclass(frozen=True)
class JudgedRows:
    """The raw rows as the judge itself read and split them: nothing that a branch's pipeline wrote is among them.

    Parameters
    ----------
    table
        All rows.
    train
        The training rows.
    holdout
        The rows that both models predict, n of them.
    moved
        Those that the branch's own split trains on, booleans of shape (n,).
    """

    table: pd.DataFrame
    train: pd.DataFrame
    holdout: pd.DataFrame
    moved: np.ndarray

    @classmethod
    def split(cls, table: pd.DataFrame, path: Path, params: Params, key: list[str]) -> "JudgedRows":
        """Split a table, which was read from a Parquet file, as the parameters and the key say."""
        train, holdout = split_file(path, params, key)
        return cls(table, train, holdout.reset_index(drop=True), np.zeros(len(holdout), dtype=bool))

    def compare_with_split(self, path: Path, params: Params, key: list[str]) -> "JudgedRows":
        """Return the same rows, with those of the holdout flagged that another split trains on."""
        columns = sorted(str(name) for name in self.table)
        train, _ = split_file(path, params, key)
        hashes = [hash_frame(part[columns]) for part in (train, self.holdout, self.table)]
        return replace(self, moved=flag_leaked_rows(*hashes))


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
    obstacles
        Why the base's rules do not fit the branch, each as the rest of a sentence.
    """

    champion: Champion
    predictions: Predictions
    clean: np.ndarray
    notes: list[str]
    obstacles: list[str] = field(default_factory=list)


def load_rules_and_rows(base: str, params: Params) -> tuple[BaseRules, JudgedRows]:
    """Return the rules that judge a branch, and the branch's raw rows, loaded and split by the base.

    Parameters
    ----------
    base
        The commit that the change is compared with.
    params
        The branch's parameters.

    Raises
    ------
    UserError
        The `load` of the base cannot read the branch's data.
    """
    with tempfile.TemporaryDirectory() as folder:  # a table that the branch's pipeline loaded does not count
        try:
            path = open_table(Project.load(), Path(params.data.path), Path(folder))
        except UserError:
            raise
        except Exception as problem:  # whatever a project's own code raises
            cure = "bring the change of data.py to the base first"
            raise UserError(f"the base's load cannot read {params.data.path} ({problem}); {cure}") from problem
        table = read_table(path)
        rules = apply_base_rules(base, params, [str(name) for name in table])
        rows = JudgedRows.split(table, path, rules.params, rules.key)
        if rules.changed:
            rows = rows.compare_with_split(path, params, read_key())
    return rules, rows


def score_candidate(params: Params, holdout: pd.DataFrame) -> ModelOutput:
    """Return the predictions of the holdout by the model in this folder."""
    is_timed = params.gate.milliseconds is not None
    return predict_in_scratch("candidate", Path(), holdout, params.data.target, params.data.task, is_timed=is_timed)


def refuse_unknown_classes(predictions: Predictions, truth: pd.Series) -> None:
    """Raise a `ModelOutputError` where the candidate predicts a class that no row of the data has.

    Parameters
    ----------
    predictions
        The candidate's predictions.
    truth
        The target in all rows.
    """
    unknown = set(predictions.classes) - set(truth.dropna().astype(str))
    if unknown:
        raise ModelOutputError("candidate", f"predicts classes that no row has: {', '.join(sorted(unknown))[:200]}")


@dataclass(frozen=True)
class TrainingRows:
    """The holdout rows that the candidate was trained on, booleans of shape (n,), and how many nothing explains."""

    seen: np.ndarray
    unexplained: int

    @property
    def obstacles(self) -> list[str]:
        """What stands against the comparison, as the rest of a sentence; none where every row is explained."""
        if not self.unexplained:
            return []
        problem = (
            f"names {self.unexplained:,} rows of the holdout in {ROW_HASHES_FILE} that its split does not train on"
        )
        return [f"{problem} (another data.py may load other rows)"]


def find_candidate_training_rows(rows: JudgedRows, known: np.ndarray | None = None) -> TrainingRows:
    """Find the holdout rows that the model here was trained on.

    models/rows.npy is written by the branch, and each row that it names is left out of the comparison. The judge
    itself finds why it may name one: the branch's split trains on it, or the champion knows it, and then it stands for
    all that the champion knows, so that a branch does not choose among them. Any other is unexplained, which blocks.

    Parameters
    ----------
    rows
        The rows, n of them in the holdout.
    known
        The holdout rows that the champion was trained on, booleans of shape (n,): a warm start goes on from them.

    Raises
    ------
    UserError
        Nothing can tell.
    """
    named = find_named_rows(rows) & ~rows.moved
    allowed = np.zeros_like(named) if known is None else known
    is_warm = (named & allowed).any()
    seen = named | rows.moved | (allowed if is_warm else False)
    return TrainingRows(seen, int((named & ~allowed).sum()))


def goes_on_from(commit: str) -> bool:
    """Whether the training here went on from the model of a commit."""
    start = (read_yaml(PARAMS_YAML).get("train") or {}).get("start") or {}
    return bool(start) and find_commit(str(start.get("commit"))) == find_commit(commit)


def find_named_rows(rows: JudgedRows) -> np.ndarray:
    """Flag the holdout rows that models/rows.npy names; a `UserError` where nothing can tell."""
    named = find_rows_seen_in_training(Path(), read_yaml(SCHEMA_YAML), rows.holdout, rows.table)
    if named is None:
        raise UserError(f"the data lacks columns that {SCHEMA_YAML} names; run `make schema`, then `make pipeline`")
    return named


def score_champion(params: Params, base: str, rows: JudgedRows, candidate: Predictions) -> ChampionScores:
    """Return the champion's predictions of the holdout.

    Parameters
    ----------
    params
        The parameters with the base's rules.
    base
        The commit that the change is compared with.
    rows
        The rows, n of them in the holdout.
    candidate
        The candidate's predictions of the holdout, which are the champion's where both are one model.
    """
    champion = find_champion(base, params.data.target)
    if champion.source == "dummy":
        trained = find_candidate_training_rows(rows)
        dummy = predict_dummy(params.data, rows.train, len(rows.holdout))
        return ChampionScores(champion, dummy, ~trained.seen, [], trained.obstacles)
    if is_candidate(champion):
        clean = ~(find_named_rows(rows) | rows.moved)  # the base wrote the hashes, too
        return ChampionScores(replace(champion, model=sha256(MODEL_FILE)), candidate, clean, [])
    with checkout_commit(str(champion.commit)) as project:
        return score_champion_in_checkout(params, project, restore_model(project, champion), rows)


def score_champion_in_checkout(params: Params, project: Path, champion: Champion, rows: JudgedRows) -> ChampionScores:
    """Score the champion as it is, or train its recipe on today's training rows where it cannot be scored.

    It cannot where the data has lost some of its columns, or where too few holdout rows are new to it. For the
    parameters see `score_champion`.
    """
    commit = str(champion.commit)
    features = read_yaml_at(commit, PARAMS_YAML)["data"]["features"]
    lost_columns = [name for name in features if name not in rows.table]
    seen = find_rows_seen_in_training(project, read_yaml_at(commit, SCHEMA_YAML), rows.holdout, rows.table)
    trained = find_candidate_training_rows(rows, seen if goes_on_from(commit) else None)
    clean = ~trained.seen
    new_to_champion = np.zeros(len(clean), bool) if seen is None else ~seen
    # Rows that the branch's split moved are no reason: a branch does not decide that the champion is trained again.
    unmoved = (clean | rows.moved) & new_to_champion
    if not lost_columns and has_enough_rows(params, rows, unmoved):
        scores = predict_by_champion(params, project, rows)
        return ChampionScores(champion, scores, clean & new_to_champion, [], trained.obstacles)
    retrain_champion(project, rows.train)
    if lost_columns:
        reason = f"the data no longer has its columns {', '.join(lost_columns)}"
    else:
        reason = "it was trained on most of today's holdout"
    note = (
        f"The champion could not be scored as it is, since {reason}: its recipe was trained on today's training rows."
    )
    champion = replace(champion, source="retrained")
    scores = predict_by_champion(params, project, rows)
    lost = [f"has no column {', '.join(lost_columns)}, which the champion needs"] if lost_columns else []
    return ChampionScores(champion, scores, clean, [note], trained.obstacles + lost)


def predict_by_champion(params: Params, project: Path, rows: JudgedRows) -> Predictions:
    """Return the predictions of the holdout by the model and the code in the champion's checkout."""
    return predict_in_scratch("champion", project, rows.holdout, params.data.target, params.data.task).predictions


def has_enough_rows(params: Params, rows: JudgedRows, clean: np.ndarray) -> bool:
    """Whether the clean rows can carry a comparison: half of the holdout, and 50 rows of the rarest class.

    A holdout that has fewer than 50 rows of a class needs all of them.
    """
    truth = rows.holdout[params.data.target]
    if clean.mean() < MIN_CLEAN_SHARE:
        return False
    rarest = truth[clean].value_counts().min() if params.data.task == "classification" else clean.sum()
    return bool(rarest >= min(MIN_UNITS, truth.value_counts().min()))


def is_candidate(champion: Champion) -> bool:
    """Whether the champion is the program here: the same model, prepared by the same code and columns."""
    commit = str(champion.commit)
    return is_same_model(champion) and is_same_file(ROW_HASHES_FILE, commit) and not is_code_changed(commit)


def is_code_changed(commit: str) -> bool:
    """Whether `src/`, schema.yaml or the features differ from a commit's: one model file then may answer otherwise."""
    if run_git("status", "--porcelain", "--untracked-files=all", "--", "src", str(SCHEMA_YAML)):
        return True
    if run_git("diff", "--name-only", commit, "HEAD", "--", "src", str(SCHEMA_YAML)):
        return True
    before = read_yaml_at(commit, PARAMS_YAML)["data"]["features"]
    return bool(before != read_yaml(PARAMS_YAML)["data"]["features"])


def is_same_model(champion: Champion) -> bool:
    """Whether the champion is the model file here, by SHA-256 or, where that is not known, by the MD5 in dvc.lock."""
    if champion.model:
        return champion.model == sha256(MODEL_FILE)
    return is_same_file(MODEL_FILE, str(champion.commit))


def is_same_file(path: Path, commit: str) -> bool:
    """Whether dvc.lock names the same file at a path as it does at a commit."""
    there = get_hashes(read_yaml_at(commit, DVC_LOCK))
    return get_hashes(load_lock()).get(str(path)) == there.get(str(path))
