"""Verb: better arguments for the estimator are searched on the training rows alone and written into params.yaml."""

import hashlib
import io
import json
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from msgspec.structs import replace

from .config import PARAMS, TRAIN, Data, Params, Sweep, UserError, atomic, load_params, sha256
from .evaluate import encode
from .metrics import find
from .model import build, estimator, inputs, predict
from .schema import editor
from .track import STORE, client
from .train import learnable

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

STUDIES = STORE / "sweep.log"
SCALARS = (str, int, float, bool, type(None))
Part = tuple[np.ndarray, np.ndarray]


def check_space(params: Params) -> None:
    """Refuse a search space that names no argument of the estimator, or says nothing about it."""
    known = estimator(params.train, params.seed).get_params()
    if not params.sweep.space:
        raise UserError("sweep.space is empty; name an argument and its range, such as alpha: {low: 0.1, high: 10.0}")
    if params.sweep.trials < 1 or params.sweep.folds < 2:
        raise UserError("sweep needs at least 1 trial and 2 folds; correct sweep.trials or sweep.folds")
    for name, rule in params.sweep.space.items():
        if name not in known:
            some = ", ".join(sorted(known))
            raise UserError(f"sweep.space names {name}, which {params.train.estimator} does not have: {some}")
        if reason := nonsense(rule):
            raise UserError(f"sweep.space.{name} {reason}; write a list of values, or {{low: 1, high: 10, log: true}}")


def nonsense(rule: Any) -> str:
    """What is wrong with one line of the search space, or nothing."""
    if isinstance(rule, list):
        return "" if rule and all(isinstance(value, SCALARS) for value in rule) else "has no values to choose from"
    if not isinstance(rule, dict) or not {"low", "high"} <= set(rule) <= {"low", "high", "log"}:
        return "is neither a list nor a range"
    low, high = rule["low"], rule["high"]
    if any(isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end) for end in (low, high)):
        return "has an end that is no number"
    if low >= high:
        return f"runs from {low} to {high}"
    return "is logarithmic and starts at or below 0" if rule.get("log") and low <= 0 else ""


def propose(trial: "Trial", space: dict[str, Any]) -> dict[str, Any]:
    """Arguments drawn from the space; three digits are all that a person wants to read."""
    found: dict[str, Any] = {}
    for name, rule in space.items():
        if isinstance(rule, list):
            found[name] = trial.suggest_categorical(name, rule)
        elif isinstance(rule["low"], int) and isinstance(rule["high"], int):
            found[name] = trial.suggest_int(name, rule["low"], rule["high"], log=bool(rule.get("log")))
        else:
            drawn = trial.suggest_float(name, rule["low"], rule["high"], log=bool(rule.get("log")))
            found[name] = min(max(float(f"{drawn:.3g}"), rule["low"]), rule["high"])
    return found


def inside(value: Any, rule: Any) -> bool:
    """Whether the space holds a value."""
    if isinstance(rule, list):
        return value in rule
    return isinstance(value, int | float) and bool(rule["low"] <= value <= rule["high"])


def folds(table: pd.DataFrame, data: Data, sweep: Sweep, seed: int) -> list[Part]:
    """Rows to learn from and rows to score on: later ones if rows have a time, other groups if they have one."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    classes = data.task == "classification" and table[data.target].value_counts().min() >= sweep.folds
    groups = table[data.group].astype(str) if data.group else None
    if data.time:
        parts = later(table[data.time], sweep.folds)
        if groups is not None:
            parts = [(a, b[~groups.iloc[b].isin(set(groups.iloc[a])).to_numpy()]) for a, b in parts]
    else:
        kind: Any = (StratifiedKFold if classes else KFold) if groups is None else GroupKFold
        kind = StratifiedGroupKFold if groups is not None and classes else kind
        drawn = kind(sweep.folds, shuffle=True, random_state=seed)
        try:
            parts = list(drawn.split(table, table[data.target], groups))
        except ValueError as problem:
            raise UserError(f"the training rows cannot be parted into {sweep.folds} folds: {problem}") from None
    if data.task == "classification":
        parts = [(a, b) for a, b in parts if table[data.target].iloc[a].nunique() > 1]
    parts = [(a, b) for a, b in parts if len(a) and len(b)]
    if not parts:
        raise UserError(f"no fold of {sweep.folds} has rows to learn from and rows to score on; bring more rows")
    return parts


def later(moments: pd.Series, count: int) -> list[Part]:
    """Folds that learn from the past and score on the time after it; rows of one moment stay together."""
    ordered = moments.sort_values(kind="stable").reset_index(drop=True)
    borders = [ordered.iloc[len(ordered) * i // (count + 1)] for i in range(1, count + 1)]
    ends = [*borders[1:], None]
    at = moments.to_numpy()
    return [
        (np.flatnonzero(at < start), np.flatnonzero((at >= start) & (at < end if end is not None else True)))
        for start, end in zip(borders, ends, strict=True)
    ]


def score(params: Params, table: pd.DataFrame, part: Part) -> float:
    """The primary metric of a model that learned from one part and answers for the other; NaN if undefined there."""
    learn, held = table.iloc[part[0]], table.iloc[part[1]]
    pipeline = build(params, inputs(params, learn), learn[params.data.target])
    truth, scores = encode(held[params.data.target], predict(pipeline, inputs(params, held)))
    return find(params.evaluate.metric).function(truth, scores, params.evaluate.cost)


def objective(params: Params, table: pd.DataFrame, parts: list[Part]) -> "Callable[[Trial], float]":
    """What Optuna calls: the mean score over the folds, given up early where others were better by now."""

    def run(trial: "Trial") -> float:
        from optuna import TrialPruned

        found = propose(trial, params.sweep.space)
        trial.set_user_attr("arguments", found)
        ours = replace(params, train=replace(params.train, arguments={**params.train.arguments, **found}))
        scores: list[float] = []
        for step, part in enumerate(parts):
            scores.append(score(ours, table, part))
            mean = float(np.nanmean(scores)) if np.isfinite(scores).any() else math.nan
            trial.report(mean, step)
            if trial.should_prune() and step + 1 < len(parts):
                raise TrialPruned
        return mean

    return run


def study_of(params: Params) -> "Study":
    """The study of this question (rows, recipe, space), begun or taken up where it was left."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fixed = {k: v for k, v in params.train.arguments.items() if k not in params.sweep.space}
    about = [sha256(TRAIN), params.train.estimator, fixed, params.train.window, params.seed, params.data.features]
    about += [params.sweep.space, params.sweep.folds, params.evaluate.metric, params.evaluate.cost]
    STORE.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(STUDIES))),
        study_name=hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12],
        direction="maximize" if find(params.evaluate.metric).higher_is_better else "minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        load_if_exists=True,
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # it was stopped there
    study.sampler = optuna.samplers.TPESampler(seed=params.seed + len(study.trials))
    if not study.trials:
        now = {k: v for k, v in params.train.arguments.items() if inside(v, params.sweep.space.get(k, []))}
        study.enqueue_trial(now)
    return study


def finished(study: "Study") -> list["FrozenTrial"]:
    """The trials that came to an end."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def recorder(params: Params, name: str) -> "Callable[[Study, FrozenTrial], None]":
    """Logs each trial in MLflow as a run under the sweep's own."""
    import mlflow

    store = client()
    experiment = mlflow.get_experiment_by_name(__package__ or "").experiment_id
    found = store.search_runs([experiment], f"tags.sweep = '{name}'")
    tags = {"mlflow.runName": f"sweep {name}", "sweep": name}
    parent = (found[0] if found else store.create_run(experiment, tags=tags)).info.run_id

    def record(_: "Study", trial: "FrozenTrial") -> None:
        run = store.create_run(
            experiment, tags={"mlflow.parentRunId": parent, "mlflow.runName": f"trial {trial.number}"}
        ).info.run_id
        for argument, value in trial.user_attrs.get("arguments", {}).items():
            store.log_param(run, argument, value)
        if trial.state.name == "COMPLETE":
            store.log_metric(run, params.evaluate.metric, trial.value)
        store.set_terminated(run, "FAILED" if trial.state.name == "FAIL" else "FINISHED")
        store.set_terminated(parent, "FINISHED")

    return record


def say(study: "Study", trial: "FrozenTrial") -> None:
    """One line for each trial, where there is no terminal for a progress bar."""
    value = f"{trial.value:.5g}" if trial.state.name == "COMPLETE" else trial.state.name.lower()
    said = ", ".join(f"{name} {value}" for name, value in trial.user_attrs.get("arguments", {}).items())
    print(f"{'':<10}{len(finished(study)):>3}  {value:<10}  {said}", flush=True)


def edited(text: str, found: dict[str, Any]) -> str:
    """params.yaml with these arguments of the estimator; everything else stays, comments included."""
    writer = editor()
    document = writer.load(text)
    arguments = document["train"].setdefault("arguments", {})
    for name, value in found.items():
        arguments[name] = value
    buffer = io.StringIO()
    writer.dump(document, buffer)
    return buffer.getvalue()


def search(params: Params, study: "Study", table: pd.DataFrame, parts: list[Part], track: bool) -> bool:
    """Run the trials that are missing; False when a person stopped them."""
    missing = params.sweep.trials - len(finished(study))
    watched = sys.stderr.isatty()
    callbacks = [*([recorder(params, study.study_name)] if track else []), *([] if watched else [say])]
    run = objective(params, table, parts)
    try:
        study.optimize(run, n_trials=max(0, missing), callbacks=callbacks, show_progress_bar=watched)
    except KeyboardInterrupt:
        done = f"{len(finished(study))} of {params.sweep.trials} trials"
        print(f"\n{'sweep':<10}stopped after {done}; run it again to go on")
        return False
    return True


def conclude(params: Params, study: "Study") -> None:
    """Write the best arguments where they beat those in params.yaml, and say so."""
    best = study.best_trial.user_attrs["arguments"]
    now = {name: params.train.arguments.get(name) for name in best}
    first = next((t for t in study.trials if t.user_attrs.get("arguments") == now and t.value is not None), None)
    before = f", {first.value:.5g} as it was" if first else ""
    said = ", ".join(f"{name} {value}" for name, value in best.items())
    if best == now:
        print(f"{'sweep':<10}{PARAMS} holds the best of {len(finished(study))} trials: {said}")
        return
    with atomic(PARAMS) as draft:
        draft.write_text(edited(PARAMS.read_text(encoding="utf-8"), best), encoding="utf-8")
    print(
        f"{'sweep':<10}{params.evaluate.metric} {study.best_value:.5g}{before}: {said} → {PARAMS}; now `make pipeline`"
    )


def main(track: bool = True) -> int:
    """Search sweep.space on the training rows and write the best arguments into params.yaml.

    Ctrl-C stops it, the next call goes on; TRACK=0 leaves MLflow out.
    """
    params = load_params()
    find(params.evaluate.metric)
    check_space(params)
    if not TRAIN.exists():
        raise UserError(f"{TRAIN} is missing; `make pipeline` makes it")
    table = learnable(params, pd.read_parquet(TRAIN)).reset_index(drop=True)
    parts = folds(table, params.data, params.sweep, params.seed)
    study = study_of(params)
    how = "each later than what it learns from" if params.data.time else f"by {params.data.group or 'chance'}"
    print(f"{'sweep':<10}{len(table):,} training rows, {len(parts)} folds, {how}; {params.sweep.trials} trials")
    if not search(params, study, table, parts, track):
        return 130
    conclude(params, study)
    return 0
