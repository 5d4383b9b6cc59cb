"""The rule `drop`: small losses do not add up, neither since the last promotion nor since the holdout began."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from modelyard.core.deployments import PRODUCTION, get_state_path
from modelyard.core.dvc_lock import get_hashes
from modelyard.core.errors import UserError
from modelyard.core.files import md5
from modelyard.core.git_objects import checkout_commit, find_objects
from modelyard.core.model_at import Champion, restore_model
from modelyard.core.params import Params
from modelyard.core.paths import DVC_LOCK, HOLDOUT_PARQUET, METRICS_JSON, MODEL_FILE, SCHEMA_YAML
from modelyard.core.predictions import Predictions
from modelyard.core.yaml import read_yaml
from modelyard.gate.leakage import find_rows_seen_in_training
from modelyard.gate.looks import list_holdout_commits, parse_object
from modelyard.gate.pairs import PairedPredictions
from modelyard.gate.rules import RuleResult, build_rule_result
from modelyard.gate.scoring import ChampionScores, JudgedRows, has_enough_rows, predict_by_champion
from modelyard.statistics.comparison import Difference
from modelyard.statistics.metrics import get_metric

PROMOTED = ("deployed", "rebuilt")  # sources of a champion


@dataclass(frozen=True)
class RecordedModel:
    """A model of the base's history, as its dvc.lock and reports/metrics.json record it.

    Parameters
    ----------
    commit
        Its commit.
    model, holdout
        The MD5 of the model and of the rows that it was measured on.
    value
        Its value in the primary metric.
    """

    commit: str
    model: str
    holdout: str | None
    value: float


def check_cumulative_drop(
    params: Params,
    base: str,
    scored: ChampionScores,
    rows: JudgedRows,
    candidate: Predictions,
    primary: Difference,
) -> list[RuleResult]:
    """Check that the candidate has not lost more than `gate.drop` margins since the last promotion, nor on main.

    Parameters
    ----------
    params
        The parameters with the base's rules.
    base
        The commit that the change is compared with.
    scored
        The champion's predictions of the holdout.
    rows
        The rows, n of them in the holdout.
    candidate
        The candidate's predictions of the holdout.
    primary
        The difference in the primary metric.
    """
    limit = -params.gate.drop * primary.margin
    results = []
    if scored.champion.source in PROMOTED:
        results.append(build_drop_result(primary, limit, "since the last promotion"))
    models = list_recorded_models(base, params.evaluate.metric)
    if scored.champion.source == "dummy" or not models or models[0].model == md5(MODEL_FILE):
        return results
    best = pick_best_model(models, params.evaluate.metric)
    lost = best.value - primary.candidate
    if not get_metric(params.evaluate.metric).higher_is_better:
        lost = -lost
    if lost <= primary.margin:
        return results
    found = compare_with_commit(params, best.commit, rows, candidate, scored.clean)
    what = f"against the best model of the base's history on this holdout ({best.commit[:12]})"
    if found is None:
        found = replace(primary, difference=-lost, high=primary.high - primary.difference - lost)
        what += " by its recorded value, since it could not be scored again"
    allowance = compute_choice_allowance(found, len({model.model for model in models}))
    results.append(build_drop_result(found, limit, what, allowance))
    return results


def compute_choice_allowance(found: Difference, count: int) -> float:
    """Return how much wider an interval is whose earlier model was chosen as the best of so many, by Bonferroni."""
    normal = NormalDist()
    tail = (1 - found.confidence) / 2
    return (normal.inv_cdf(1 - tail / count) - normal.inv_cdf(1 - tail)) * found.error


def build_drop_result(found: Difference, limit: float, what: str, allowance: float = 0.0) -> RuleResult:
    """Return the line of the rule: it fails where the loss reaches the limit and is shown to be one.

    Parameters
    ----------
    found
        The difference in the primary metric from an earlier model.
    limit
        The difference that blocks.
    what
        The earlier model, in words.
    allowance
        How much wider the interval is where the earlier model was chosen among several.
    """
    failed = found.difference <= limit and found.high + allowance < 0
    return build_rule_result("drop", not failed, f"{found.difference:+.4g} {what}; {limit:.4g} blocks")


def list_recorded_models(base: str, metric: str) -> list[RecordedModel]:
    """Return the models of the base's first-parent history with today's holdout and champion, the newest first."""
    commits = list_holdout_commits(base)
    columns = [find_objects(commits, path) for path in (DVC_LOCK, METRICS_JSON, get_state_path(PRODUCTION))]
    champions = [(parse_object(state).get("champion") or {}).get("model") for state in columns.pop()]
    found = []
    for commit, champion, lock, metrics in zip(commits, champions, *columns, strict=True):
        if champion != champions[0]:
            break
        hashes = get_hashes(parse_object(lock))
        model = hashes.get(str(MODEL_FILE))
        value = parse_object(metrics).get(metric)
        if model and isinstance(value, float | int) and np.isfinite(value):
            found.append(RecordedModel(commit, model, hashes.get(str(HOLDOUT_PARQUET)), float(value)))
    return found


def pick_best_model(models: Sequence[RecordedModel], metric: str) -> RecordedModel:
    """Return the model with the best recorded value; of equal ones the newest."""
    sign = 1 if get_metric(metric).higher_is_better else -1
    return max(models, key=lambda model: sign * model.value)


def compare_with_commit(
    params: Params, commit: str, rows: JudgedRows, candidate: Predictions, clean: np.ndarray
) -> Difference | None:
    """Return the candidate's paired difference from the model of a commit, on rows that neither was trained on.

    None where that model cannot be restored, cannot predict today's rows, or was trained on most of them.

    Parameters
    ----------
    params, rows, candidate
        As in `check_cumulative_drop`.
    commit
        The commit of the earlier model.
    clean
        The rows that the candidate was not trained on, booleans of shape (n,).
    """
    with checkout_commit(commit) as project:
        try:
            restore_model(project, Champion("base", None, commit))
            seen = find_rows_seen_in_training(project, read_yaml(project / SCHEMA_YAML), rows.holdout, rows.table)
            predictions = predict_by_champion(params, project, rows)
        except UserError:
            return None
    if seen is None or not has_enough_rows(params, rows.holdout[params.data.target], clean & ~seen):
        return None
    both = clean & ~seen
    compared = rows.holdout[both].reset_index(drop=True)
    pairs = PairedPredictions.of(params, compared, predictions.select_rows(both), candidate.select_rows(both))
    return pairs.compare_metric(params.evaluate.metric)
