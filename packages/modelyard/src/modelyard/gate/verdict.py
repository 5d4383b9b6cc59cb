"""Judge the candidate in this folder against the champion: write reports/verdict.json."""

import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core.console import print_result
from modelyard.core.dvc_lock import verify_model_matches_lock
from modelyard.core.errors import MissingFileError, UserError
from modelyard.core.files import flatten_mapping, read_json, replace_nonfinite, sha256, write_json
from modelyard.core.git_objects import checkout_commit, read_yaml_at, resolve_base
from modelyard.core.model_at import MODEL_FILES
from modelyard.core.params import DataParams, Params, load_params
from modelyard.core.paths import (
    DATA_JSON,
    MODEL_FILE,
    PARAMS_YAML,
    SCHEMA_YAML,
    VERDICT_JSON,
)
from modelyard.core.predictions import Predictions
from modelyard.core.process import run_git
from modelyard.core.project import use_project_in
from modelyard.core.protocol import GATE_RULES_VARIABLE
from modelyard.core.yaml import read_yaml
from modelyard.gate.champion import predict_dummy
from modelyard.gate.confine import FULL_CONFINEMENT
from modelyard.gate.curves import CURVES_PARQUET, choose_models, write_curves
from modelyard.gate.erosion import check_cumulative_drop
from modelyard.gate.isolation import (
    BaseRules,
    describe_changes,
    describe_lost_columns,
    find_judge_notes,
    has_pipeline,
    run_base_gate,
)
from modelyard.gate.looks import build_look_notes, compute_ladder_step, count_looks, require_ladder_step
from modelyard.gate.pairs import PairedPredictions
from modelyard.gate.rules import (
    RuleResult,
    build_slice_results,
    check_all_rules,
    check_latency,
    check_retarget,
    check_types,
)
from modelyard.gate.scoring import (
    ChampionScores,
    JudgedRows,
    is_code_changed,
    load_rules_and_rows,
    refuse_unknown_classes,
    score_candidate,
    score_champion,
)
from modelyard.gate.scratch import ModelOutput
from modelyard.statistics.clusters import DEFAULT_PERIOD, PERIODS, Clusters
from modelyard.statistics.comparison import (
    Difference,
    compute_detectable_difference,
    decide_verdict,
    is_margin_resolved,
)
from modelyard.statistics.paired_scores import RowCounts

VERSION = 1  # of the form of reports/verdict.json, which docs/gate.md of the template describes
COULD_NOT_JUDGE = 2
UNATTENDED_ACTIONS = {"unchanged": "nothing", "better": "open", "not worse": "keep", "worse": "issue"}
VERDICT_PHRASES = {
    "unchanged": "Unchanged, the champion's own model",
    "better": "Better than the champion",
    "not worse": "Not worse than the champion",
    "worse": "Worse than the champion",
    "inconclusive": "Inconclusive: this holdout does not decide",
}


def main(base: str | None = None) -> int:
    """Judge the model in this folder against BASE; exit 0 pass, 1 block, 2 could not judge."""
    try:
        require_model()
        revision = resolve_base(base)
        VERDICT_JSON.unlink(missing_ok=True)
        CURVES_PARQUET.unlink(missing_ok=True)
        exit_code = run_base_gate(revision)
        if exit_code is not None:
            return exit_code
        verdict = build_verdict(revision)
    except UserError as problem:
        problem.code = COULD_NOT_JUDGE
        raise
    write_json(VERDICT_JSON, replace_nonfinite(verdict))
    print_result("gate", f"{verdict['sentence']}\n{'':<10}{verdict['decision']} → {VERDICT_JSON}")
    return 1 if verdict["decision"] == "block" else 0


def require_model() -> None:
    """Raise an error unless the model and the hashes of its training rows are there, as dvc.lock names them."""
    for path in MODEL_FILES:
        if not path.exists():
            raise MissingFileError(path, "`make pipeline` makes it")
        verify_model_matches_lock(path)


def build_verdict(base: str) -> dict[str, Any]:
    """Return the verdict on the model in this folder, as reports/verdict.json holds it.

    Own code that the judge itself runs, `load` and `METRICS` and the list of trusted types, comes from the base.

    Parameters
    ----------
    base
        The commit that the change is compared with.

    Raises
    ------
    UserError
        The models cannot be compared.
    """
    with ExitStack() as stack:
        if has_pipeline(base):
            stack.enter_context(use_project_in(stack.enter_context(checkout_commit(base))))
        return judge_candidate(base)


@dataclass(frozen=True)
class Comparison:
    """Candidate and champion, predicted and compared on the rows that neither was trained on."""

    candidate: ModelOutput
    scored: ChampionScores
    pairs: PairedPredictions
    primary: Difference
    counts: RowCounts
    is_unchanged: bool


def judge_candidate(base: str) -> dict[str, Any]:
    """Return the verdict by the project that `Project.load` finds; for the parameter see `build_verdict`."""
    base_rules, rows = load_rules_and_rows(base, load_params())
    params = base_rules.params
    looks = count_looks(base, params.gate.looks)  # before any code of the branch runs
    compared = compare_models(params, base, rows)
    primary, scored = compared.primary, compared.scored
    write_curves(compared.pairs, choose_models(scored.champion.source, compared.is_unchanged))
    word = "unchanged" if compared.is_unchanged else decide_verdict(primary, compared.counts)
    word = require_ladder_step(word, primary, looks.count)
    slices = [] if compared.is_unchanged else build_slice_results(compared.pairs)
    rules = check_rules(base_rules, base, rows, compared, slices)
    changes = diff_with_base(base)
    notes = [
        *describe_changes(base_rules, list(changes["schema"])),
        *find_judge_notes(base),
        *build_comparison_notes(params.data, word, compared),
        *build_confinement_notes(compared.candidate.confinement),
        *build_look_notes(looks, primary),
    ]
    return {
        **build_conclusion(params, word, rules, primary, scored.champion.source),
        **describe_origin(base),
        "confinement": compared.candidate.confinement,
        "notes": notes,
        "champion": asdict(scored.champion),
        "rows": describe_rows(scored.clean, compared.counts, compared.pairs, primary),
        "looks": {**asdict(looks), "step": compute_ladder_step(primary.error, looks.count)},
        "rules": rules,
        "slices": slices,
        "metrics": compare_all_metrics(compared.pairs),
        "changes": changes,
    }


def compare_models(params: Params, base: str, rows: JudgedRows) -> Comparison:
    """Let both models predict the holdout, and compare them in the primary metric."""
    candidate = score_candidate(params, rows.holdout)
    refuse_unknown_classes(candidate.predictions, rows.table[params.data.target])
    scored = score_champion(params, base, rows, candidate.predictions)
    pairs = pair_clean_rows(params, rows.holdout, candidate.predictions, scored)
    primary = pairs.compare_metric(params.evaluate.metric)
    is_same_model = scored.champion.source != "retrained" and scored.champion.model == sha256(MODEL_FILE)
    # Answers of all rows, not of the compared ones alone: other code may spare these.
    is_unchanged = is_same_model and candidate.predictions.has_equal_answers(scored.predictions)
    return Comparison(candidate, scored, pairs, primary, pairs.count_rows(), is_unchanged)


def check_rules(
    base_rules: BaseRules, base: str, rows: JudgedRows, compared: Comparison, slices: list[dict[str, Any]]
) -> list[RuleResult]:
    """Return the lines of all rules beside the comparison in the primary metric."""
    params, scored, candidate = base_rules.params, compared.scored, compared.candidate
    clean = candidate.predictions.select_rows(scored.clean)
    dummy = predict_dummy(params.data, rows.train, len(clean))
    return [
        *check_retarget(params, find_obstacles(base_rules, base, rows, compared)),
        *check_types(),
        *check_all_rules(compared.pairs, clean, dummy, compared.primary, slices),
        *check_cumulative_drop(params, base, scored, rows, candidate.predictions, compared.primary),
        *check_latency(params, candidate.milliseconds),
    ]


def find_obstacles(rules: BaseRules, base: str, rows: JudgedRows, compared: Comparison) -> list[str]:
    """Return why the base's rules do not fit the branch, in words; none where they apply as they are."""
    obstacles = [rules.obstacle, describe_lost_columns(rules.lost), *compared.scored.obstacles]
    if rows.moved.any() and is_more_changed_than_split(base):
        obstacles.append("splits otherwise, trains on rows of the base's holdout, and changes more than the split")
    elif rows.moved.any() and not compared.counts.has_enough_rows:
        obstacles.append(f"leaves {compared.counts.rows:,} rows of the base's holdout to compare on")
    return [obstacle for obstacle in obstacles if obstacle]


def is_more_changed_than_split(base: str) -> bool:
    """Whether the recipe differs from the base's by more than its split, which `make holdout` alone changes."""
    before, now = read_yaml_at(base, PARAMS_YAML), read_yaml(PARAMS_YAML)
    names = ("data", "train", "seed")
    return is_code_changed(base) or any(before.get(name) != now.get(name) for name in names)


def build_comparison_notes(data: DataParams, word: str, compared: Comparison) -> list[str]:
    """Return the sentences on how the champion was scored, and on what the compared rows can show."""
    return [
        *build_notes(compared.scored.notes, compared.scored.clean),
        *build_size_notes(compared.counts, compared.primary.metric),
        *build_cluster_notes(data, compared.pairs.clusters),
        *build_power_notes(word, compared.primary),
    ]


def describe_origin(base: str) -> dict[str, Any]:
    """Return what was judged, against which commit, and by whose rules."""
    return {
        "version": VERSION,
        "base": base,
        "rules_from": os.environ.get(GATE_RULES_VARIABLE, base),
        "candidate": {"model": sha256(MODEL_FILE), "commit": run_git("rev-parse", "HEAD")},
    }


def pair_clean_rows(
    params: Params, rows: pd.DataFrame, candidate: Predictions, scored: ChampionScores
) -> PairedPredictions:
    """Pair the predictions of the holdout rows that neither model was trained on, or raise a `UserError`."""
    if not scored.clean.any():
        raise UserError("every row of the holdout was in the training rows; run `make pipeline` with the base's split")
    return PairedPredictions.of_selected(params, rows, scored.predictions, candidate, scored.clean)


def describe_rows(
    clean: np.ndarray, counts: RowCounts, pairs: PairedPredictions, primary: Difference
) -> dict[str, Any]:
    """Return the numbers of rows and of clusters in the verdict, and how much wider these made the interval."""
    clusters = pairs.clusters
    return {
        "holdout": len(clean),
        "compared": counts.rows,
        "left_out": int((~clean).sum()),
        "minority": counts.minority,
        "clusters": dict(zip(clusters.names, clusters.counts, strict=True)) if clusters else {},
        "widening": pairs.compute_widening(primary) if clusters else 1.0,
    }


def compare_all_metrics(pairs: PairedPredictions) -> list[dict[str, Any]]:
    """Return the difference in every metric that is defined for both models."""
    of_candidate = pairs.compute_metrics(pairs.candidate)
    names = [name for name in pairs.compute_metrics(pairs.champion) if name in of_candidate]
    return [asdict(pairs.compare_metric(name)) for name in names]


def diff_with_base(base: str) -> dict[str, dict[str, list[Any]]]:
    """Return what differs from the base in parameters, schema and data: by name, the values before and now."""
    changes = {}
    for title, path in (("parameters", PARAMS_YAML), ("schema", SCHEMA_YAML), ("data", DATA_JSON)):
        before = flatten_mapping(read_yaml_at(base, path) or {})
        now = flatten_mapping(read_yaml(path))
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)] if before else []
        changes[title] = {name: [before.get(name), now.get(name)] for name in names}
    return changes


def build_notes(scoring_notes: list[str], clean: np.ndarray) -> list[str]:
    """Return the sentences on the rows that were compared.

    Parameters
    ----------
    scoring_notes
        How the champion was scored.
    clean
        The holdout rows that neither model was trained on, booleans of shape (n,).
    """
    notes = [*scoring_notes]
    left_out = int((~clean).sum())
    if left_out:
        total = len(clean)
        notes.append(f"{left_out:,} of {total:,} holdout rows were left out: one of the models was trained on them.")
    return notes


def build_size_notes(counts: RowCounts, metric: str) -> list[str]:
    """Return a sentence where there are too few rows or clusters for an interval of the metric."""
    few = []
    if not counts.has_enough_rows:
        few.append(f"{counts.minority} rows of the rarest class" if counts.needs_rare_class else f"{counts.rows} rows")
    if not counts.has_enough_clusters:
        uneven = "" if counts.is_even else f", as uneven as {counts.effective_clusters:.0f} of one size"
        few.append(f"{counts.clusters} groups or blocks of rows that are independent of each other{uneven}")
    if not few:
        return []
    return [
        f"Only {' and '.join(few)} were compared, too few for an interval of {metric} that can be trusted: a candidate "
        "is blocked as worse only beyond doubt (99.9 %), and cannot be called better."
    ]


def build_cluster_notes(data: DataParams, clusters: Clusters | None) -> list[str]:
    """Return a sentence where the rows span too few of the blocks in time that should be independent."""
    asked = data.block or (DEFAULT_PERIOD if data.time else None)
    names = clusters.names if clusters else ()
    if asked is None or asked in names:
        return []
    finer = [name for name in names if name in PERIODS]
    instead = f"by {finer[0]}" if finer else "as if each moment were independent of the others"
    return [
        f"The compared rows span too few periods of one {asked} for an interval by {asked}, so they were compared "
        f"{instead}; where rows of one {asked} resemble each other, the interval is too narrow."
    ]


def build_power_notes(word: str, primary: Difference) -> list[str]:
    """Return a sentence where the holdout may miss a loss of two margins."""
    if word not in ("not worse", "inconclusive") or is_margin_resolved(primary.error, primary.margin):
        return []
    return ["This holdout is too small for this margin: a loss of two margins may go unnoticed."]


def build_confinement_notes(confinement: str) -> list[str]:
    """Return a sentence where the models' code was confined by less than Linux can."""
    if confinement == FULL_CONFINEMENT:
        return []
    return [
        f"The models' code was confined by {confinement}: here it could reach files, sockets or the network. A "
        "workflow on GitHub's Linux runners starts it only where it cannot."
    ]


def build_conclusion(
    params: Params, word: str, rules: list[RuleResult], primary: Difference, source: str
) -> dict[str, Any]:
    """Return the verdict, the decision, and the sentence with the numbers that they rest on.

    Parameters
    ----------
    params
        The parameters with the base's rules.
    word
        The verdict.
    rules
        The lines of the further rules.
    primary
        The difference in the primary metric.
    source
        The source of the champion.
    """
    failed = sorted({rule["name"] for rule in rules if rule["blocking"] and not rule["passed"]})
    is_blocked = word == "worse" or bool(failed)
    decision = "block" if is_blocked else "pass"
    if word == "inconclusive" and not is_blocked:
        decision = params.gate.inconclusive
    sentence = describe_difference(word, primary, source)
    if failed:
        sentence = f"Blocked by {', '.join(failed)}. {sentence}"
    detectable = compute_detectable_difference(primary.error, params.gate.confidence)
    return {
        "verdict": word,
        "decision": decision,
        "unattended": "issue" if is_blocked else UNATTENDED_ACTIONS.get(word, "keep"),
        "sentence": sentence,
        "primary": {**asdict(primary), "detectable": detectable},
    }


def describe_difference(word: str, primary: Difference, source: str) -> str:
    """Return the verdict as a sentence with its numbers."""
    phrase = VERDICT_PHRASES[word]
    if source == "dummy":
        phrase = phrase.replace("champion", "dummy model")
    return (
        f"{phrase}: {primary.metric} {primary.candidate:.4f} against {primary.champion:.4f}, "
        f"difference {primary.difference:+.4f} [{primary.low:+.4f}, {primary.high:+.4f}], margin {primary.margin:.4f}."
    )


def load_verdict() -> dict[str, Any]:
    """Return the verdict on this folder's model.

    Raises
    ------
    MissingFileError
        There is none.
    UserError
        It is about another model.
    """
    if not VERDICT_JSON.exists():
        raise MissingFileError(VERDICT_JSON, "`make gate` makes it")
    verdict: dict[str, Any] = read_json(VERDICT_JSON)
    if verdict["candidate"]["model"] != sha256(MODEL_FILE):
        raise UserError("the verdict is about another model; run `make gate` again")
    return verdict
