"""Verb: better arguments for the estimator are searched on the training rows alone and written into params.yaml."""

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
from msgspec.structs import asdict, replace

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.parallel import use_parallel_backend
from modelyard.core.params import Params, load_params
from modelyard.core.paths import PARAMS_YAML, TRAIN_PARQUET
from modelyard.core.project import Project
from modelyard.core.yaml_edit import edit_yaml
from modelyard.data.schema import read_key
from modelyard.pipeline.estimator import fit_pipeline
from modelyard.pipeline.evaluate import compute_primary_metric
from modelyard.pipeline.preprocessing import select_features
from modelyard.data.source import hash_source
from modelyard.pipeline.split import split_table
from modelyard.pipeline.train import select_training_rows
from modelyard.statistics.metrics import get_metric
from modelyard.tracking.store import STORE_FOLDER, get_mlflow_client

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

STUDY_LOG = STORE_FOLDER / "sweep.log"
Fold = tuple[pd.DataFrame, pd.DataFrame]


def build_search_space(params: Params) -> "dict[str, BaseDistribution]":
    """The search space as Optuna has it; nonsense in it is a `UserError`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found = {}
    for name, rule in params.sweep.space.items():
        try:
            if isinstance(rule, list):
                found[name] = CategoricalDistribution(rule)
            else:
                whole = isinstance(rule.low, int) and isinstance(rule.high, int)
                found[name] = (IntDistribution if whole else FloatDistribution)(**asdict(rule))
        except ValueError as problem:
            raise UserError(f"sweep.space.{name} cannot be searched: {problem}") from None
    if not found:
        raise UserError("sweep.space is empty; name an argument and its range, such as alpha: {low: 0.1, high: 10.0}")
    return found


def make_folds(params: Params, table: pd.DataFrame) -> list[Fold]:
    """Rows to learn from and rows to score on, parted as the holdout is: in time each before the one before it."""
    found = []
    for i in range(params.sweep.folds):
        found.append(split_table(table, params.data, read_key(), params.split.holdout, params.split.seed + 1 + i))
        table = found[-1][0] if params.data.time else table
    return found


def score_fold(params: Params, part: Fold) -> float:
    """The primary metric of a model on a fold's rows, from which it did not learn; NaN where they do not define it."""
    learned, held = part
    return compute_primary_metric(
        params, fit_pipeline(params, select_features(params, learned), learned[params.data.target]), held
    )


def average_fold_scores(metric: str, found: np.ndarray) -> float:
    """The mean over the folds that define the metric; a `UserError` where none does."""
    if np.isnan(found).all():
        raise UserError(f"{metric} is not defined on any fold; bring more rows, or name another metric")
    return float(np.nanmean(found))


def open_study(params: Params) -> "Study":
    """The study of this question (rows, features, recipe, space), begun or taken up where it was left."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fixed = {name: value for name, value in params.train.arguments.items() if name not in params.sweep.space}
    recipe = replace(params.train, arguments=fixed), replace(params.sweep, trials=0)
    data, code = replace(params.data, left_out={}, sensitive=[]), hash_source(Project.load().source)
    question = [sha256(TRAIN_PARQUET), code, recipe, params.seed, data, params.split, params.evaluate]
    STORE_FOLDER.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(STUDY_LOG))),
        study_name=hashlib.sha256(msgspec.json.encode(question)).hexdigest()[:12],
        direction="maximize" if get_metric(params.evaluate.metric).higher_is_better else "minimize",
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(seed=params.seed + len(study.trials))
    if not list_finished_trials(study):
        arguments = params.train.arguments
        study.enqueue_trial({name: arguments[name] for name in params.sweep.space if name in arguments})
    return study


def list_finished_trials(study: "Study") -> "list[FrozenTrial]":
    """The trials that came to an end."""
    return [trial for trial in study.trials if trial.value is not None]


def round_arguments(found: dict[str, Any]) -> dict[str, Any]:
    """Arguments in three digits, which is all that a person wants to read."""
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in found.items()}


def log_trial(params: Params, sweep: str, number: int, arguments: dict[str, Any], value: float) -> None:
    """Log a trial in MLflow as a run under the sweep's own, which is found again when the sweep goes on."""
    import mlflow

    found = mlflow.search_runs(filter_string=f"tags.sweep = '{sweep}'", output_format="list")
    parent = {"run_id": found[0].info.run_id} if found else {"run_name": f"sweep {sweep}", "tags": {"sweep": sweep}}
    with mlflow.start_run(**parent), mlflow.start_run(run_name=f"trial {number}", nested=True):
        mlflow.log_params(arguments)
        mlflow.log_metric(params.evaluate.metric, value)


def run_trials(params: Params, study: "Study", parts: list[Fold], track: bool) -> None:
    """Run the trials that are missing."""
    from joblib import Parallel, delayed
    from tqdm import tqdm

    space, total = build_search_space(params), params.sweep.trials
    if track:
        get_mlflow_client()
    with use_parallel_backend(params.compute) as most, tqdm(total=total, unit=" trials", desc="sweep") as progress:
        while left := total - len(list_finished_trials(study)):
            progress.update(total - left - progress.n)
            trials = [study.ask(space) for _ in range(min(most, left))]
            tried = [round_arguments(trial.params) for trial in trials]
            blocks = [replace(params.train, arguments=params.train.arguments | arguments) for arguments in tried]
            recipes = [replace(params, train=train) for train in blocks]
            work = (delayed(score_fold)(recipe, part) for recipe in recipes for part in parts)
            scores = np.reshape(Parallel()(work), (len(trials), len(parts)))
            for trial, arguments, found in zip(trials, tried, scores, strict=True):
                value = average_fold_scores(params.evaluate.metric, found)
                study.tell(trial, value)
                if track:
                    log_trial(params, study.study_name, trial.number, arguments, value)
            progress.set_postfix_str(f"best {params.evaluate.metric} {study.best_value:.5g}")
        progress.update(total - progress.n)


def main(track: bool = True) -> int:
    """Search sweep.space on the training rows and write the best arguments into params.yaml.

    Ctrl-C stops it, the next call goes on; TRACK=0 leaves MLflow out.
    """
    params = load_params()
    build_search_space(params)
    if not TRAIN_PARQUET.exists():
        raise UserError(f"{TRAIN_PARQUET} is missing; `make pipeline` makes it")
    table = select_training_rows(params, pd.read_parquet(TRAIN_PARQUET))
    parts = make_folds(params, table)
    print_result("sweep", f"{len(table):,} training rows in {len(parts)} folds, {params.sweep.trials} trials")
    study = open_study(params)
    try:
        run_trials(params, study, parts, track)
    except KeyboardInterrupt:
        done = f"{len(list_finished_trials(study))} of {params.sweep.trials} trials"
        print_line(f"\n{'sweep':<10}stopped after {done}; run it again to go on")
        return 130
    best, first = round_arguments(study.best_trial.params), list_finished_trials(study)[0]
    with edit_yaml(PARAMS_YAML) as document:
        document["train"].setdefault("arguments", {}).update(best)
    found = f"{params.evaluate.metric} {study.best_value:.5g}, {first.value:.5g} as it was"
    said = ", ".join(f"{name} {value}" for name, value in best.items())
    print_result("sweep", f"{found}: {said} → {PARAMS_YAML}; now `make pipeline`")
    return 0
