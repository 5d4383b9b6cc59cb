"""Searches better arguments for the estimator on the training rows alone, and writes them into params.yaml."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
from msgspec.structs import asdict, replace

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import MissingFileError, SettingError, UserError
from modelyard.core.files import sha256
from modelyard.core.parallel import use_parallel_backend
from modelyard.core.params import Params, SearchRange, load_params
from modelyard.core.paths import PARAMS_YAML, TRAIN_PARQUET
from modelyard.core.project import Project
from modelyard.core.yaml_edit import edit_yaml
from modelyard.data.schema import read_key
from modelyard.data.source import hash_source
from modelyard.pipeline.estimator import fit_pipeline
from modelyard.pipeline.evaluate import compute_primary_metric
from modelyard.pipeline.preprocessing import select_features
from modelyard.pipeline.split import split_table
from modelyard.pipeline.train import select_training_rows
from modelyard.statistics.metrics import get_metric
from modelyard.tracking.store import STORE_FOLDER, get_mlflow_client

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

STUDY_LOG = STORE_FOLDER / "sweep.log"
DIGITS = 3
INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended
Fold = tuple[pd.DataFrame, pd.DataFrame]  # rows to learn from, rows to score on


def build_distribution(rule: "list[Any] | SearchRange") -> "BaseDistribution":
    """Return the values that an argument may take: of a list, or of a range of whole numbers or of numbers."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(rule, list):
        return CategoricalDistribution(rule)
    if isinstance(rule.low, int) and isinstance(rule.high, int):
        return IntDistribution(**asdict(rule))
    return FloatDistribution(**asdict(rule))


def build_search_space(params: Params) -> "dict[str, BaseDistribution]":
    """Return the search space in Optuna's form, by argument.

    Raises
    ------
    SettingError
        The space in params.yaml is empty, or one of its ranges cannot be searched.
    """
    space = {}
    for name, rule in params.sweep.space.items():
        try:
            space[name] = build_distribution(rule)
        except ValueError as problem:
            cure = "write a list, or low and high"
            raise SettingError(f"sweep.space.{name}", f"cannot be searched: {problem}", cure) from None
    if not space:
        cure = "name an argument and its range, such as alpha: {low: 0.1, high: 10.0}"
        raise SettingError("sweep.space", "is empty", cure)
    return space


def make_folds(params: Params, table: pd.DataFrame) -> list[Fold]:
    """Split the training rows into folds by the rule of the holdout.

    With a time, the scoring rows of each fold come before those of the fold before it.
    """
    folds: list[Fold] = []
    for number in range(params.sweep.folds):
        split = replace(params.split, seed=params.split.seed + 1 + number, window=None)
        learned, held = split_table(table, params.data, read_key(), split)
        folds.append((learned, held))
        if params.data.time:
            table = learned
    return folds


def score_fold(params: Params, fold: Fold) -> float:
    """Return the primary metric of a model of a fold; NaN where its scoring rows do not define the metric."""
    learned, held = fold
    pipeline = fit_pipeline(params, select_features(params, learned), learned[params.data.target])
    return compute_primary_metric(params, pipeline, held)


def average_fold_scores(metric: str, scores: np.ndarray) -> float:
    """Return the mean over the folds that define the metric; raise a `UserError` where none does.

    Parameters
    ----------
    metric
        The name of the metric.
    scores
        The score of each fold, shape (n,); NaN where the fold does not define it.
    """
    if np.isnan(scores).all():
        raise UserError(f"{metric} is not defined on any fold; bring more rows, or name another metric")
    return float(np.nanmean(scores))


def name_study(params: Params) -> str:
    """Return a name for the question that a sweep answers: rows, code, recipe and space, but not the trials."""
    fixed = {name: value for name, value in params.train.arguments.items() if name not in params.sweep.space}
    question = [
        sha256(TRAIN_PARQUET),
        hash_source(Project.load().source),
        (replace(params.train, arguments=fixed), replace(params.sweep, trials=0)),
        params.seed,
        replace(params.data, left_out={}, sensitive=[]),
        params.split,
        params.evaluate,
    ]
    return hashlib.sha256(msgspec.json.encode(question)).hexdigest()[:12]


def open_study(params: Params) -> "Study":
    """Return the study of this question, new or continued; a new one begins with the present arguments."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    STORE_FOLDER.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(STUDY_LOG))),
        study_name=name_study(params),
        direction="maximize" if get_metric(params.evaluate.metric).higher_is_better else "minimize",
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(seed=params.seed + len(study.trials))
    if not list_finished_trials(study):
        present = params.train.arguments
        study.enqueue_trial({name: present[name] for name in params.sweep.space if name in present})
    return study


def list_finished_trials(study: "Study") -> "list[FrozenTrial]":
    """Return the trials that were not interrupted."""
    return [trial for trial in study.trials if trial.value is not None]


def round_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with three significant digits, which are tried and written as such."""
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for name, value in arguments.items()
    }


def log_trial(params: Params, sweep: str, number: int, arguments: dict[str, Any], score: float) -> None:
    """Log a trial in MLflow as a child of the sweep's run, which is found again when the sweep continues."""
    import mlflow

    found = mlflow.search_runs(filter_string=f"tags.sweep = '{sweep}'", output_format="list")
    if found:
        parent = mlflow.start_run(run_id=found[0].info.run_id)
    else:
        parent = mlflow.start_run(run_name=f"sweep {sweep}", tags={"sweep": sweep})
    with parent, mlflow.start_run(run_name=f"trial {number}", nested=True):
        mlflow.log_params(arguments)
        mlflow.log_metric(params.evaluate.metric, score)


def score_trials(params: Params, trials: "list[Trial]", folds: list[Fold]) -> Iterator[tuple[dict[str, Any], float]]:
    """Fit and score every trial on every fold, in parallel, and yield each trial's arguments and mean score."""
    from joblib import Parallel, delayed

    tried = [round_arguments(trial.params) for trial in trials]
    work = []
    for arguments in tried:
        train = replace(params.train, arguments=params.train.arguments | arguments)
        work += [delayed(score_fold)(replace(params, train=train), fold) for fold in folds]
    scores = np.reshape(Parallel()(work), (len(trials), len(folds)))
    for arguments, fold_scores in zip(tried, scores, strict=True):
        yield arguments, average_fold_scores(params.evaluate.metric, fold_scores)


def run_trials(params: Params, study: "Study", folds: list[Fold], track: bool) -> None:
    """Run the trials that a study still lacks.

    Parameters
    ----------
    params
        The project's parameters.
    study
        The study.
    folds
        The folds of the training rows.
    track
        Whether to log each trial in MLflow.
    """
    from tqdm import tqdm

    space = build_search_space(params)
    total = params.sweep.trials
    if track:
        get_mlflow_client()
    with use_parallel_backend(params.compute) as workers, tqdm(total=total, unit=" trials", desc="sweep") as progress:
        done = len(list_finished_trials(study))
        while done < total:
            progress.update(done - progress.n)
            trials = [study.ask(space) for _ in range(min(workers, total - done))]
            scored = score_trials(params, trials, folds)
            for trial, (arguments, score) in zip(trials, scored, strict=True):
                study.tell(trial, score)
                if track:
                    log_trial(params, study.study_name, trial.number, arguments, score)
            progress.set_postfix_str(f"best {params.evaluate.metric} {study.best_value:.5g}")
            done = len(list_finished_trials(study))
        progress.update(total - progress.n)


def write_best_arguments(params: Params, study: "Study") -> None:
    """Write the best arguments of a study into params.yaml."""
    best = round_arguments(study.best_trial.params)
    with edit_yaml(PARAMS_YAML) as document:
        document["train"].setdefault("arguments", {}).update(best)
    before = list_finished_trials(study)[0].value
    scores = f"{params.evaluate.metric} {study.best_value:.5g}, {before:.5g} as it was"
    arguments = ", ".join(f"{name} {value}" for name, value in best.items())
    print_result("sweep", f"{scores}: {arguments} → {PARAMS_YAML}; now `make pipeline`")


def main(track: bool = True) -> int:
    """Search sweep.space on the training rows and write the best arguments into params.yaml.

    Ctrl-C stops it, and the next call continues; TRACK=0 logs nothing in MLflow.
    """
    params = load_params()
    build_search_space(params)
    if not TRAIN_PARQUET.exists():
        raise MissingFileError(TRAIN_PARQUET, "run `make pipeline`")
    table = select_training_rows(params, pd.read_parquet(TRAIN_PARQUET))
    folds = make_folds(params, table)
    print_result("sweep", f"{len(table):,} training rows in {len(folds)} folds, {params.sweep.trials} trials")
    study = open_study(params)
    try:
        run_trials(params, study, folds, track)
    except KeyboardInterrupt:
        done = len(list_finished_trials(study))
        print_line()
        print_result("sweep", f"stopped after {done} of {params.sweep.trials} trials; run it again to continue")
        return INTERRUPTED
    write_best_arguments(params, study)
    return 0
