"""Verb: the candidate is judged against the champion on the same rows, by the rules of the base."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelyard.core import dvc_lock, git_objects, model_at
from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.files import flatten_mapping, read_json, replace_nonfinite, sha256, write_json
from modelyard.core.model_at import Champion
from modelyard.core.params import GATE_RULES_VARIABLE, Params, load_params
from modelyard.core.paths import (
    DVC_LOCK,
    HOLDOUT_PARQUET,
    MODEL_FILE,
    PREDICTIONS_PARQUET,
    SCHEMA_YAML,
    TRAIN_PARQUET,
    VERDICT_JSON,
)
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.core.yaml import read_yaml
from modelyard.data.parquet import read_table
from modelyard.data.schema import read_key
from modelyard.data.source import open_table
from modelyard.gate import champion
from modelyard.gate.curves import CURVES_PARQUET, choose_models, write_curves
from modelyard.gate.isolation import apply_base_rules, run_base_gate
from modelyard.gate.leakage import find_rows_seen_in_training
from modelyard.gate.pairs import PairedPredictions
from modelyard.gate.rules import build_slice_results, check_all_rules
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.pipeline.split import split_table
from modelyard.statistics.comparison import (
    MIN_UNITS,
    Difference,
    RowCounts,
    compute_detectable_difference,
    compute_margin,
    decide_verdict,
    is_margin_resolved,
)

UNATTENDED_ACTIONS = {"unchanged": "nothing", "better": "open", "not worse": "keep", "worse": "issue"}
VERDICT_PHRASES = {
    "unchanged": "Unchanged, the champion's own model",
    "better": "Better than the champion",
    "not worse": "Not worse than the champion",
    "worse": "Worse than the champion",
    "inconclusive": "Inconclusive: this holdout does not decide",
}


def load_candidate_predictions(params: Params, table: pd.DataFrame, splits: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The holdout by the base's split rule, and what the candidate says of it."""
    if not splits:
        rows = pd.read_parquet(HOLDOUT_PARQUET)
        return rows, pd.read_parquet(PREDICTIONS_PARQUET).drop(columns="truth")
    _, rows = split_table(table, params.data, read_key(), params.split.holdout, params.split.seed)
    rows = rows.reset_index(drop=True)
    return rows, predict_frame(load_model(MODEL_FILE), select_features(params, rows))


def has_enough_rows(params: Params, truth: pd.Series, keep: np.ndarray) -> bool:
    """Whether the clean rows can carry a comparison: half of the holdout, and 50 of the rarer class."""
    rarest = truth[keep].value_counts().min() if params.data.task == "classification" else keep.sum()
    return bool(keep.mean() >= 0.5 and rarest >= min(50, truth.value_counts().min()))


def score_champion(
    params: Params, base: str, table: pd.DataFrame, rows: pd.DataFrame, mine: pd.DataFrame
) -> tuple[Champion, pd.DataFrame, np.ndarray, list[str]]:
    """Have the champion answer for the same rows: as it is, or its recipe trained on today's rows.

    Which champion that is, its answers, the rows that neither model has learned, and how it was had.
    """
    own = find_rows_seen_in_training(Path(), read_yaml(SCHEMA_YAML), rows, table)
    keep = ~own if own is not None else np.ones(len(rows), bool)
    found = champion.find_champion(base, params.data.target)
    if found.source == "dummy":
        return found, champion.predict_dummy(rows), keep, []
    if is_champion(found):
        return replace(found, model=sha256(MODEL_FILE)), mine, keep, []
    with git_objects.checkout_commit(str(found.commit)) as project:
        found = model_at.restore_model(project, found)
        seen = find_rows_seen_in_training(
            project, git_objects.read_yaml_at(str(found.commit), SCHEMA_YAML), rows, table
        )
        gone = [
            n for n in git_objects.read_yaml_at(str(found.commit), "params.yaml")["data"]["features"] if n not in table
        ]
        clean = keep & ~seen if seen is not None else keep & False
        if not gone and has_enough_rows(params, rows[params.data.target], clean):
            return found, champion.predict_at_commit(project, rows), clean, []
        train, _ = split_table(table, params.data, read_key(), params.split.holdout, params.split.seed)
        champion.retrain_champion(project, train)
        why = f"its columns {', '.join(gone)} are gone" if gone else "it had learned from most of today's holdout"
        note = f"The champion could not be scored as it was ({why}): its recipe was trained on today's training rows."
        return replace(found, source="retrained"), champion.predict_at_commit(project, rows), keep, [note]


def is_champion(found: Champion) -> bool:
    """Whether our model is the champion, by digest or by the MD5 in both dvc.lock files."""
    if found.model:
        return found.model == sha256(MODEL_FILE)
    ours, theirs = dvc_lock.load_lock(), git_objects.read_yaml_at(str(found.commit), DVC_LOCK)
    return dvc_lock.get_hashes(ours).get(str(MODEL_FILE)) == dvc_lock.get_hashes(theirs).get(str(MODEL_FILE))


def diff_with_base(base: str) -> dict[str, dict[str, list[Any]]]:
    """What differs from the base in parameters, schema and data: name to [before, now]."""
    found = {}
    for title, path in (("parameters", "params.yaml"), ("schema", "schema.yaml"), ("data", "reports/data.json")):
        old = flatten_mapping(git_objects.read_yaml_at(base, path) or {})
        new = flatten_mapping(read_yaml(Path(path)))
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)] if old else []
        found[title] = {name: [old.get(name), new.get(name)] for name in names}
    return found


def build_verdict(base: str) -> dict[str, Any]:
    """The verdict on the model in this folder, as reports/verdict.json holds it (docs/gate.md of the template)."""
    params, differing = apply_base_rules(base, load_params())
    table = read_table(open_table(Project.load()))
    rows, mine = load_candidate_predictions(params, table, "split" in differing)
    champion, answers, keep, had = score_champion(params, base, table, rows, mine)
    if not keep.any():
        raise UserError("every row of the holdout was in the training rows; run `make pipeline` with the base's split")
    sides = PairedPredictions.of(params, rows[keep].reset_index(drop=True), answers[keep], mine[keep])
    size, primary = sides.size(), sides.compare_metric(params.evaluate.metric)
    margin = compute_margin(primary.metric, primary.champion, params.gate.margin)
    own = champion.source != "retrained" and champion.model == sha256(MODEL_FILE)
    word = "unchanged" if own else decide_verdict(primary, margin, size.minority, size.groups)
    write_curves(sides, choose_models(champion.source, own))
    parts = [] if own else build_slice_results(sides)
    rules = check_all_rules(sides, mine[keep], champion.source, primary, margin, parts)
    notes = build_notes(differing, had, keep, size)
    if word in ("not worse", "inconclusive") and not is_margin_resolved(primary.error, margin):
        notes.append("This holdout is too small for this margin: a loss of two margins may pass unseen.")
    held = {"holdout": len(rows), "compared": size.rows, "left_out": int((~keep).sum())}
    defined = sides.metrics(sides.candidate)
    return {
        **build_conclusion(params, word, rules, primary, margin, champion.source),
        "version": 1,
        "base": base,
        "rules_from": os.environ.get(GATE_RULES_VARIABLE, base),
        "notes": notes,
        "champion": asdict(champion),
        "candidate": {"model": sha256(MODEL_FILE), "commit": run_git("rev-parse", "HEAD")},
        "rows": {**held, "minority": size.minority, "groups": size.groups},
        "rules": rules,
        "slices": parts,
        "metrics": [asdict(sides.compare_metric(name)) for name in sides.metrics(sides.champion) if name in defined],
        "changes": diff_with_base(base),
    }


def build_notes(differing: list[str], had: list[str], keep: np.ndarray, size: RowCounts) -> list[str]:
    """What the report says first: rules that were changed, how the champion was had, and rows that are missing."""
    named, left_out = ", ".join(f"`{name}`" for name in differing), int((~keep).sum())
    changed = f"This branch changes the rules ({named}); it was judged by the base's." if named else ""
    known = f"{left_out:,} of {len(keep):,} holdout rows were left out: one of the models had learned from them."
    return list(filter(None, [changed, *had, known if left_out else "", *build_size_notes(size)]))


def build_size_notes(size: RowCounts) -> list[str]:
    """What is too few for a verdict."""
    if size.is_sufficient:
        return []
    few_groups = size.groups is not None and size.groups < MIN_UNITS
    few = f"{size.groups} groups" if few_groups else f"{size.minority} rows of the rarest class"
    return [f"Only {few} were compared; with fewer than {MIN_UNITS} no interval is to be trusted."]


def build_conclusion(
    params: Params, word: str, rules: list[dict[str, Any]], primary: Difference, margin: float, source: str
) -> dict[str, Any]:
    """Verdict, decision and the sentence that says both, with the numbers they rest on."""
    failed = [item for item in rules if item["blocking"] and not item["passed"]]
    block = word == "worse" or bool(failed)
    if word == "inconclusive" and not block:
        decision = params.gate.inconclusive
    else:
        decision = "block" if block else "pass"
    words = VERDICT_PHRASES[word].replace("champion", "dummy model") if source == "dummy" else VERDICT_PHRASES[word]
    text = (
        f"{words}: {primary.metric} {primary.candidate:.4f} against {primary.champion:.4f}, "
        f"difference {primary.difference:+.4f} [{primary.low:+.4f}, {primary.high:+.4f}], margin {margin:.4f}."
    )
    if failed:
        text = f"Blocked by {', '.join(sorted({item['name'] for item in failed}))}. {text}"
    least = compute_detectable_difference(primary.error, params.gate.confidence)
    return {
        "verdict": word,
        "decision": decision,
        "unattended": "issue" if block else UNATTENDED_ACTIONS.get(word, "keep"),
        "sentence": text,
        "primary": {**asdict(primary), "margin": margin, "detectable": least},
    }


def main(base: str | None = None) -> int:
    """Judge the model in this folder against BASE; exit 0 pass, 1 block, 2 could not judge."""
    try:
        for path in (MODEL_FILE, TRAIN_PARQUET, HOLDOUT_PARQUET, PREDICTIONS_PARQUET):
            if not path.exists():
                raise UserError(f"{path} is missing; `make pipeline` makes it")
        dvc_lock.verify_model_matches_lock()
        revision = git_objects.resolve_base(base)
        VERDICT_JSON.unlink(missing_ok=True)
        CURVES_PARQUET.unlink(missing_ok=True)
        elsewhere = run_base_gate(revision)
        if elsewhere is not None:
            return elsewhere
        verdict = build_verdict(revision)
    except UserError as problem:
        raise UserError(str(problem), code=2) from None
    write_json(VERDICT_JSON, replace_nonfinite(verdict))
    print_result("gate", f"{verdict['sentence']}\n{'':<10}{verdict['decision']} → {VERDICT_JSON}")
    return 1 if verdict["decision"] == "block" else 0


def load_verdict() -> dict[str, Any]:
    """The verdict on this folder's model; a missing one, or another model's, is a `UserError`."""
    if not VERDICT_JSON.exists():
        raise UserError("there is no verdict yet; `make gate` makes it")
    verdict: dict[str, Any] = read_json(VERDICT_JSON)
    if verdict["candidate"]["model"] != sha256(MODEL_FILE):
        raise UserError("the verdict is about another model; run `make gate` again")
    return verdict
