"""Verb: the candidate is judged against the champion on the same rows, by the rules of the base."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from modelyard.core import dvc_lock, git_objects, model_at
from modelyard.core.errors import UserError
from modelyard.core.files import finite, flat, read_json, sha256, write_json
from modelyard.core.model_at import Champion
from modelyard.core.params import JUDGED_BY, Params, load_params
from modelyard.core.paths import HOLDOUT, LOCK, MODEL, PREDICTIONS, SCHEMA, TRAIN, VERDICT
from modelyard.core.process import git
from modelyard.data.parquet import read_table
from modelyard.data.schema import key
from modelyard.gate import champion
from modelyard.gate.isolation import base_judges, base_rules
from modelyard.gate.leakage import known_rows
from modelyard.gate.pairs import Sides
from modelyard.gate.rules import further_rules, slice_rows
from modelyard.pipeline.estimator import predict
from modelyard.pipeline.model_file import load
from modelyard.pipeline.preprocessing import inputs
from modelyard.pipeline.split import split
from modelyard.statistics.comparison import ENOUGH, Counts, Difference, decide, detectable, margin_of, resolved

UNATTENDED = {"unchanged": "nothing", "better": "open", "not worse": "keep", "worse": "issue"}
WORDS = {
    "unchanged": "Unchanged, the champion's own model",
    "better": "Better than the champion",
    "not worse": "Not worse than the champion",
    "worse": "Worse than the champion",
    "inconclusive": "Inconclusive: this holdout does not decide",
}


def candidate_side(params: Params, table: pd.DataFrame, splits: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The holdout by the base's split rule, and what the candidate says of it."""
    if not splits:
        rows = pd.read_parquet(HOLDOUT)
        return rows, pd.read_parquet(PREDICTIONS).drop(columns="truth")
    _, rows = split(table, params.data, key(), params.split.holdout, params.split.seed)
    rows = rows.reset_index(drop=True)
    return rows, predict(load(MODEL), inputs(params, rows))


def enough(params: Params, truth: pd.Series, keep: np.ndarray) -> bool:
    """Whether the clean rows can carry a comparison: half of the holdout, and 50 of the rarer class."""
    rarest = truth[keep].value_counts().min() if params.data.task == "classification" else keep.sum()
    return bool(keep.mean() >= 0.5 and rarest >= min(50, truth.value_counts().min()))


def challenge(
    params: Params, base: str, table: pd.DataFrame, rows: pd.DataFrame, mine: pd.DataFrame
) -> tuple[Champion, pd.DataFrame, np.ndarray, list[str]]:
    """Have the champion answer for the same rows: as it is, or its recipe trained on today's rows.

    Which champion that is, its answers, the rows that neither model has learned, and how it was had.
    """
    own = known_rows(Path(), msgspec.yaml.decode(SCHEMA.read_bytes()), rows, table)
    keep = ~own if own is not None else np.ones(len(rows), bool)
    found = champion.find(base, params.data.target)
    if found.source == "dummy":
        return found, champion.dummy(rows), keep, []
    if same(found):
        return replace(found, model=sha256(MODEL)), mine, keep, []
    with git_objects.checkout(str(found.commit)) as project:
        found = model_at.bring(project, found)
        seen = known_rows(project, git_objects.at(str(found.commit), SCHEMA), rows, table)
        gone = [n for n in git_objects.at(str(found.commit), "params.yaml")["data"]["features"] if n not in table]
        clean = keep & ~seen if seen is not None else keep & False
        if not gone and enough(params, rows[params.data.target], clean):
            return found, champion.answers(project, rows), clean, []
        train, _ = split(table, params.data, key(), params.split.holdout, params.split.seed)
        champion.retrain(project, train)
        why = f"its columns {', '.join(gone)} are gone" if gone else "it had learned from most of today's holdout"
        note = f"The champion could not be scored as it was ({why}): its recipe was trained on today's training rows."
        return replace(found, source="retrained"), champion.answers(project, rows), keep, [note]


def same(found: Champion) -> bool:
    """Whether our model is the champion, by digest or by the MD5 in both dvc.lock files."""
    if found.model:
        return found.model == sha256(MODEL)
    ours, theirs = dvc_lock.lock(), git_objects.at(str(found.commit), LOCK)
    return dvc_lock.outs(ours).get(str(MODEL)) == dvc_lock.outs(theirs).get(str(MODEL))


def changes(base: str) -> dict[str, dict[str, list[Any]]]:
    """What differs from the base in parameters, schema and data: name to [before, now]."""
    found = {}
    for title, path in (("parameters", "params.yaml"), ("schema", "schema.yaml"), ("data", "reports/data.json")):
        old = flat(git_objects.at(base, path) or {})
        new = flat(msgspec.yaml.decode(Path(path).read_bytes()))
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)] if old else []
        found[title] = {name: [old.get(name), new.get(name)] for name in names}
    return found


def judge(base: str) -> dict[str, Any]:
    """The verdict on the model in this folder, as reports/verdict.json holds it (docs/gate.md of the template)."""
    params, differing = base_rules(base, load_params())
    table = read_table(Path(params.data.path))
    rows, mine = candidate_side(params, table, "split" in differing)
    champion, answers, keep, had = challenge(params, base, table, rows, mine)
    if not keep.any():
        raise UserError("every row of the holdout was in the training rows; run `make pipeline` with the base's split")
    sides = Sides.of(params, rows[keep].reset_index(drop=True), answers[keep], mine[keep])
    size, primary = sides.size(), sides.differ(params.evaluate.metric)
    margin = margin_of(primary.metric, primary.champion, params.gate.margin)
    own = champion.source != "retrained" and champion.model == sha256(MODEL)
    word = "unchanged" if own else decide(primary, margin, size.minority, size.groups)
    parts = [] if own else slice_rows(sides)
    rules = further_rules(sides, mine[keep], champion.source, primary, margin, parts)
    notes = notes_of(differing, had, keep, size)
    if word in ("not worse", "inconclusive") and not resolved(primary.error, margin):
        notes.append("This holdout is too small for this margin: a loss of two margins may pass unseen.")
    held = {"holdout": len(rows), "compared": size.rows, "left_out": int((~keep).sum())}
    defined = sides.metrics(sides.candidate)
    return {
        **conclusion(params, word, rules, primary, margin, champion.source),
        "version": 1,
        "base": base,
        "rules_from": os.environ.get(JUDGED_BY, base),
        "notes": notes,
        "champion": asdict(champion),
        "candidate": {"model": sha256(MODEL), "commit": git("rev-parse", "HEAD")},
        "rows": {**held, "minority": size.minority, "groups": size.groups},
        "rules": rules,
        "slices": parts,
        "metrics": [asdict(sides.differ(name)) for name in sides.metrics(sides.champion) if name in defined],
        "changes": changes(base),
    }


def notes_of(differing: list[str], had: list[str], keep: np.ndarray, size: Counts) -> list[str]:
    """What the report says first: rules that were changed, how the champion was had, and rows that are missing."""
    named, left_out = ", ".join(f"`{name}`" for name in differing), int((~keep).sum())
    changed = f"This branch changes the rules ({named}); it was judged by the base's." if named else ""
    known = f"{left_out:,} of {len(keep):,} holdout rows were left out: one of the models had learned from them."
    return list(filter(None, [changed, *had, known if left_out else "", *size_notes(size)]))


def size_notes(size: Counts) -> list[str]:
    """What is too few for a verdict."""
    if size.enough:
        return []
    few_groups = size.groups is not None and size.groups < ENOUGH
    few = f"{size.groups} groups" if few_groups else f"{size.minority} rows of the rarest class"
    return [f"Only {few} were compared; with fewer than {ENOUGH} no interval is to be trusted."]


def conclusion(
    params: Params, word: str, rules: list[dict[str, Any]], primary: Difference, margin: float, source: str
) -> dict[str, Any]:
    """Verdict, decision and the sentence that says both, with the numbers they rest on."""
    failed = [item for item in rules if item["blocking"] and not item["passed"]]
    block = word == "worse" or bool(failed)
    if word == "inconclusive" and not block:
        decision = params.gate.inconclusive
    else:
        decision = "block" if block else "pass"
    words = WORDS[word].replace("champion", "dummy model") if source == "dummy" else WORDS[word]
    text = (
        f"{words}: {primary.metric} {primary.candidate:.4f} against {primary.champion:.4f}, "
        f"difference {primary.difference:+.4f} [{primary.low:+.4f}, {primary.high:+.4f}], margin {margin:.4f}."
    )
    if failed:
        text = f"Blocked by {', '.join(sorted({item['name'] for item in failed}))}. {text}"
    least = detectable(primary.error, params.gate.confidence)
    return {
        "verdict": word,
        "decision": decision,
        "unattended": "issue" if block else UNATTENDED.get(word, "keep"),
        "sentence": text,
        "primary": {**asdict(primary), "margin": margin, "detectable": least},
    }


def main(base: str | None = None) -> int:
    """Judge the model in this folder against BASE; exit 0 pass, 1 block, 2 could not judge."""
    try:
        for path in (MODEL, TRAIN, HOLDOUT, PREDICTIONS):
            if not path.exists():
                raise UserError(f"{path} is missing; `make pipeline` makes it")
        dvc_lock.own_model()
        revision = git_objects.resolve(base)
        VERDICT.unlink(missing_ok=True)
        elsewhere = base_judges(revision)
        if elsewhere is not None:
            return elsewhere
        verdict = judge(revision)
    except UserError as problem:
        raise UserError(str(problem), code=2) from None
    write_json(VERDICT, finite(verdict))
    print(f"{'gate':<10}{verdict['sentence']}\n{'':<10}{verdict['decision']} → {VERDICT}")
    return 1 if verdict["decision"] == "block" else 0


def load_verdict() -> dict[str, Any]:
    """The verdict on this folder's model; a missing one, or another model's, is a `UserError`."""
    if not VERDICT.exists():
        raise UserError("there is no verdict yet; `make gate` makes it")
    verdict: dict[str, Any] = read_json(VERDICT)
    if verdict["candidate"]["model"] != sha256(MODEL):
        raise UserError("the verdict is about another model; run `make gate` again")
    return verdict
