"""Verb: better arguments for the estimator are searched on the training rows alone and written into params.yaml."""

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
from msgspec.structs import asdict, replace

from .config import PARAMS, TRAIN, Data, Params, UserError, atomic, load_params, sha256
from .evaluate import encode
from .metrics import find
from .model import build, estimator, inputs, predict
from .schema import Editor
from .track import STORE, client
from .train import learnable

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

STUDIES = STORE / "sweep.log"
Part = tuple[np.ndarray, np.ndarray]


def ranges(params: Params) -> "dict[str, BaseDistribution]":
    """The search space as Optuna has it; nonsense in it is a `UserError`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    known, found = estimator(params.train, params.seed).get_params(), {}
    for name, rule in params.sweep.space.items():
        if name not in known:
            some = ", ".join(sorted(known))
            raise UserError(f"sweep.space names {name}, which {params.train.estimator} does not have: {some}")
        try:
            if isinstance(rule, list):
                found[name] = CategoricalDistribution(rule)
            else:
                whole = isinstance(rule.low, int) and isinstance(rule.high, int)
                found[name] = (IntDistribution if whole else FloatDistribution)(**asdict(rule))
        except ValueError as problem:
            raise UserError(f"sweep.space.{name} cannot be searched: {problem}") from None
    if not found or params.sweep.trials < 1 or params.sweep.folds < 2:
        raise UserError("a sweep needs a trial, 2 folds, and an argument in sweep.space: alpha: {low: 0.1, high: 10.0}")
    return found


def folds(table: pd.DataFrame, data: Data, count: int, seed: int) -> list[Part]:
    """Rows to learn from and rows to score on: later ones if rows have a time, other groups if they have one."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

    target, groups = table[data.target], table[data.group].astype(str).to_numpy() if data.group else None
    even = data.task == "classification" and target.value_counts().min() >= count
    try:
        if data.time:  # rows of one moment stay together
            moments, moment = np.unique(table[data.time].to_numpy(), return_inverse=True)
            ends = [(a[-1], b[-1]) for a, b in TimeSeriesSplit(count).split(moments)]
            parts = [(np.flatnonzero(moment <= a), np.flatnonzero((moment > a) & (moment <= b))) for a, b in ends]
            if groups is not None:
                parts = [(a, b[~np.isin(groups[b], groups[a])]) for a, b in parts]
        elif groups is not None:
            parts = list(GroupKFold(count).split(table, groups=groups))
        else:
            drawn = (StratifiedKFold if even else KFold)(count, shuffle=True, random_state=seed)
            parts = list(drawn.split(table, target))
    except ValueError as problem:
        raise UserError(f"the training rows cannot be parted into {count} folds: {problem}") from None
    least = 2 if data.task == "classification" else 1
    parts = [(a, b) for a, b in parts if target.iloc[a].nunique() >= least and len(b)]
    if not parts:
        raise UserError(f"no fold of {count} has rows to learn from and rows to score on; bring more rows")
    return parts


def score(params: Params, table: pd.DataFrame, parts: list[Part]) -> float:
    """The mean of the primary metric over folds, where a model answers for rows that it did not learn from."""
    found = []
    for learned, held in ((table.iloc[a], table.iloc[b]) for a, b in parts):
        pipeline = build(params, inputs(params, learned), learned[params.data.target])
        truth, scores = encode(held[params.data.target], predict(pipeline, inputs(params, held)))
        found.append(find(params.evaluate.metric).function(truth, scores, params.evaluate.cost))
    return float(np.nanmean(found))


def study_of(params: Params) -> "Study":
    """The study of this question (rows, recipe, space), begun or taken up where it was left."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fixed = {name: value for name, value in params.train.arguments.items() if name not in params.sweep.space}
    recipe = replace(params.train, arguments=fixed), replace(params.sweep, trials=0)
    question = [sha256(TRAIN), recipe, params.seed, params.data.features, params.evaluate]
    STORE.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(STUDIES))),
        study_name=hashlib.sha256(msgspec.json.encode(question)).hexdigest()[:12],
        direction="maximize" if find(params.evaluate.metric).higher_is_better else "minimize",
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(seed=params.seed + len(study.trials))
    if not finished(study):
        arguments = params.train.arguments
        study.enqueue_trial({name: arguments[name] for name in params.sweep.space if name in arguments})
    return study


def finished(study: "Study") -> "list[FrozenTrial]":
    """The trials that came to an end."""
    return [trial for trial in study.trials if trial.value is not None]


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    """Arguments in three digits, which is all that a person wants to read."""
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in found.items()}


def record(params: Params, sweep: str, number: int, arguments: dict[str, Any], value: float) -> None:
    """Log a trial in MLflow as a run under the sweep's own, which is found again when the sweep goes on."""
    import mlflow

    found = mlflow.search_runs(filter_string=f"tags.sweep = '{sweep}'", output_format="list")
    parent = {"run_id": found[0].info.run_id} if found else {"run_name": f"sweep {sweep}", "tags": {"sweep": sweep}}
    with mlflow.start_run(**parent), mlflow.start_run(run_name=f"trial {number}", nested=True):
        mlflow.log_params(arguments)
        mlflow.log_metric(params.evaluate.metric, value)


def search(params: Params, study: "Study", table: pd.DataFrame, parts: list[Part], track: bool) -> None:
    """Run the trials that are missing."""
    from tqdm import tqdm

    space, done = ranges(params), len(finished(study))
    if track:
        client()
    with tqdm(total=params.sweep.trials, initial=done, unit="trial", desc="sweep") as progress:
        for _ in range(done, params.sweep.trials):
            trial = study.ask(space)
            arguments = rounded(trial.params)
            recipe = replace(params.train, arguments=params.train.arguments | arguments)
            value = score(replace(params, train=recipe), table, parts)
            study.tell(trial, value)
            if track:
                record(params, study.study_name, trial.number, arguments, value)
            progress.set_postfix_str(f"best {params.evaluate.metric} {study.best_value:.5g}")
            progress.update()


def conclude(params: Params, study: "Study") -> None:
    """Write the best arguments into params.yaml, and say what they are and what they improve on."""
    best, first = rounded(study.best_trial.params), finished(study)[0]
    said = ", ".join(f"{name} {value}" for name, value in best.items())
    editor = Editor(PARAMS.read_text(encoding="utf-8"))
    editor.document["train"].setdefault("arguments", {}).update(best)
    with atomic(PARAMS) as draft:
        draft.write_text(editor.text(), encoding="utf-8")
    print(
        f"{'sweep':<10}{params.evaluate.metric} {study.best_value:.5g}, {first.value:.5g} as it was: "
        f"{said} → {PARAMS}; now `make pipeline`"
    )


def main(track: bool = True) -> int:
    """Search sweep.space on the training rows and write the best arguments into params.yaml.

    Ctrl-C stops it, the next call goes on; TRACK=0 leaves MLflow out.
    """
    params = load_params()
    find(params.evaluate.metric)
    ranges(params)
    if not TRAIN.exists():
        raise UserError(f"{TRAIN} is missing; `make pipeline` makes it")
    table = learnable(params, pd.read_parquet(TRAIN)).reset_index(drop=True)
    parts = folds(table, params.data, params.sweep.folds, params.seed)
    how = "each later than what it learns from" if params.data.time else f"by {params.data.group or 'chance'}"
    print(f"{'sweep':<10}{len(table):,} training rows, {len(parts)} folds, {how}; {params.sweep.trials} trials")
    study = study_of(params)
    try:
        search(params, study, table, parts, track)
    except KeyboardInterrupt:
        done = f"{len(finished(study))} of {params.sweep.trials} trials"
        print(f"\n{'sweep':<10}stopped after {done}; run it again to go on")
        return 130
    conclude(params, study)
    return 0
