"""Verb: the candidate is judged against the champion on the same rows, by the rules of the base."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from . import champion as champions
from .champion import Champion
from .compare import ENOUGH, Counts, Difference, count, decide, detectable, difference, margin_of, resolved, slices
from .config import (
    HOLDOUT,
    JUDGED_BY,
    LOCK,
    MODEL,
    PREDICTIONS,
    ROWS,
    SCHEMA,
    TRAIN,
    TRAINING,
    VERDICT,
    Params,
    UserError,
    flat,
    git,
    known,
    load_params,
    read_json,
    sha256,
    write_json,
)
from .evaluate import class_names, encode
from .metrics import METRICS, evaluate_all
from .model import inputs, load, predict
from .rows import personal
from .split import hashes, split
from .validate import key, read_table

Parts = list[dict[str, Any]]
CODE = ("champion", "compare", "gate", "metrics")  # who judges: these modules, as the base has them
UNATTENDED = {"unchanged": "nothing", "better": "open", "not worse": "keep", "worse": "issue"}
WORDS = {
    "unchanged": "Unchanged, the champion's own model",
    "better": "Better than the champion",
    "not worse": "Not worse than the champion",
    "worse": "Worse than the champion",
    "inconclusive": "Inconclusive: this holdout does not decide",
}


@dataclass(frozen=True)
class Sides:
    """What is compared: truth, the scores of both models, and the rows, all in one order."""

    params: Params
    rows: pd.DataFrame
    truth: np.ndarray
    champion: np.ndarray
    candidate: np.ndarray

    @classmethod
    def of(cls, params: Params, rows: pd.DataFrame, champion: pd.DataFrame, candidate: pd.DataFrame) -> "Sides":
        """What two models say of the same rows, with a column for every class that one of them or the truth knows."""
        truth = rows[params.data.target]
        classes = class_names(truth, candidate, champion)
        (codes, old), (_, new) = (encode(truth, said, classes) for said in (champion, candidate))
        return cls(params, rows, codes, old, new)

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each row, where the project names one."""
        name = self.params.data.group
        return self.rows[name].to_numpy() if name else None

    def by(self, judge: Callable[..., Any], metric: str, *more: Any) -> Any:
        """What a comparison of `compare` finds in a metric, by the rules of params.yaml."""
        cost, confidence = self.params.evaluate.cost, self.params.gate.confidence
        options = {"groups": self.groups, "cost": cost, "confidence": confidence}
        return judge(metric, self.truth, self.champion, self.candidate, *more, **options)

    def differ(self, metric: str) -> Difference:
        """The paired difference in one metric."""
        return self.by(difference, metric)

    def metrics(self, scores: np.ndarray) -> dict[str, float]:
        """Every metric of a side's scores that these rows define."""
        return evaluate_all(self.params.data.task, self.truth, scores, self.params.evaluate.cost)

    def size(self) -> Counts:
        """How many rows, rows of the rarest class and groups are compared."""
        return count(self.params.evaluate.metric, self.truth, self.candidate, self.groups)


def base_rules(base: str, params: Params) -> tuple[Params, list[str]]:
    """Our parameters with the base's gate, metric and split, and the names of the blocks that differ."""
    old = champions.at(base, "params.yaml")
    if not old or old["data"]["target"] != params.data.target or not champions.at(base, LOCK):
        return params, []
    try:
        held = msgspec.convert(known(old, Params), Params)
    except msgspec.ValidationError:
        return params, []
    differing = [name for name in ("gate", "evaluate", "split") if getattr(held, name) != getattr(params, name)]
    rules = msgspec.structs.replace(params, gate=held.gate, evaluate=held.evaluate, split=held.split)
    return rules, differing


def leaked(trained: np.ndarray, held: np.ndarray, table: np.ndarray) -> np.ndarray:
    """True for the held rows that a model was trained on, by hash and with multiplicity.

    Of a hash that the table has T times and the model learned R times, at least R + H - T of the H held are known.
    """
    keys, where = np.unique(held, return_inverse=True)

    def times(values: np.ndarray) -> np.ndarray:
        values = np.sort(values)
        return np.searchsorted(values, keys, "right") - np.searchsorted(values, keys, "left")

    seen = np.clip(times(trained) + times(held) - times(table), 0, times(held))
    nth = pd.Series(where).groupby(where).cumcount().to_numpy()
    return np.asarray(nth < seen[where])


def known_rows(project: Path, schema: Any, rows: pd.DataFrame, table: pd.DataFrame) -> np.ndarray | None:
    """Which of the rows a model saw in training; None where its columns are gone and nobody can tell."""
    names = list(schema.get("unique") or sorted(schema["columns"]))
    if not (project / ROWS).exists() or any(name not in table for name in names):
        return None
    return leaked(champions.learned(project), hashes(rows[names]), hashes(table[names]))


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
    found = champions.find(base, params.data.target)
    if found.source == "dummy":
        return found, champions.dummy(rows), keep, []
    if same(found):
        return replace(found, model=sha256(MODEL)), mine, keep, []
    with champions.checkout(str(found.commit)) as project:
        found = champions.bring(project, found)
        seen = known_rows(project, champions.at(str(found.commit), SCHEMA), rows, table)
        gone = [n for n in champions.at(str(found.commit), "params.yaml")["data"]["features"] if n not in table]
        clean = keep & ~seen if seen is not None else keep & False
        if not gone and enough(params, rows[params.data.target], clean):
            return found, champions.answers(project, rows), clean, []
        train, _ = split(table, params.data, key(), params.split.holdout, params.split.seed)
        champions.retrain(project, train)
        why = f"its columns {', '.join(gone)} are gone" if gone else "it had learned from most of today's holdout"
        note = f"The champion could not be scored as it was ({why}): its recipe was trained on today's training rows."
        return replace(found, source="retrained"), champions.answers(project, rows), keep, [note]


def same(found: Champion) -> bool:
    """Whether our model is the champion, by digest or by the MD5 in both dvc.lock files."""
    if found.model:
        return found.model == sha256(MODEL)
    ours, theirs = champions.lock(), champions.at(str(found.commit), LOCK)
    return champions.outs(ours).get(str(MODEL)) == champions.outs(theirs).get(str(MODEL))


def rule(name: str, passed: bool, sentence: str, *, blocking: bool = True) -> dict[str, Any]:
    """One further rule's line in the verdict."""
    return {"name": name, "passed": bool(passed), "blocking": blocking, "sentence": sentence}


def absolute_rules(params: Params, metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Floors and the leakage ceiling: what the candidate must reach, and what is too good to be true."""
    found = []
    for name, floor in params.gate.floors.items():
        if name not in metrics:
            raise UserError(f"gate.floors names {name}, which this task does not have: {', '.join(metrics)}")
        higher = METRICS[name].higher_is_better
        holds = metrics[name] >= floor if higher else metrics[name] <= floor
        found.append(rule("floor", holds, f"{name} {metrics[name]:.4g} {'≥' if higher else '≤'} {floor:g}"))
    name, ceiling = params.evaluate.metric, params.gate.ceiling
    if ceiling is not None:
        holds = metrics[name] <= ceiling if METRICS[name].higher_is_better else metrics[name] >= ceiling
        found.append(rule("ceiling", holds, f"{name} {metrics[name]:.4g}; beyond {ceiling:g} a leak is likely"))
    return found


def dummy_rule(sides: Sides, mine: pd.DataFrame) -> dict[str, Any]:
    """The candidate beats a model without features; with too few rows to tell, that is only shown."""
    metric = sides.params.evaluate.metric
    metric = "log_loss" if metric in ("roc_auc", "average_precision") else metric
    against = Sides.of(sides.params, sides.rows, champions.dummy(sides.rows), mine).differ(metric)
    sentence = f"{metric} {against.candidate:.4g} against {against.champion:.4g} of a dummy model"
    return rule("dummy", against.low > 0, sentence, blocking=sides.size().enough)


def budget_rules(params: Params, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The model's size, and the CPU time of one row through the model as it is."""
    from threadpoolctl import threadpool_limits

    found = []
    if params.gate.megabytes is not None:
        size = MODEL.stat().st_size / 1e6
        found.append(rule("size", size <= params.gate.megabytes, f"{size:.2f} MB of {params.gate.megabytes:g}"))
    if params.gate.milliseconds is not None:
        pipeline, one, spent = load(MODEL), inputs(params, rows.head(1)), []
        with threadpool_limits(1):
            for _ in range(9):
                start = time.process_time()
                predict(pipeline, one)
                spent.append(1000 * (time.process_time() - start))
        took = min(spent)  # what the model costs, not what else the machine was doing
        budget = params.gate.milliseconds
        found.append(rule("latency", took <= budget, f"{took:.1f} ms a row of {budget:g}"))
    return [*found, *training_rules(params)]


def training_rules(params: Params) -> list[dict[str, Any]]:
    """The CPU seconds and the memory of learning, where this model was learned here."""
    took = read_json(TRAINING) if TRAINING.exists() else {}
    if took.get("model") != sha256(MODEL):
        return []
    limits = [
        ("training time", took["seconds"], params.gate.seconds, "CPU s"),
        ("training memory", took["megabytes"], params.gate.peak, "MB"),
    ]
    return [
        rule(name, spent <= budget, f"{spent:,.4g} {unit} of {budget:,.6g}")
        for name, spent, budget, unit in limits
        if budget is not None
    ]


def labels(rows: pd.DataFrame, names: list[str]) -> dict[str, np.ndarray]:
    """The slice of each row for each named column: its value, or its quarter where it is a number."""
    found, hidden = {}, personal()
    for name in names:
        if name not in rows:
            raise UserError(f"gate.slices names {name}, which the data does not have")
        values = rows[name]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 10:
            values = pd.qcut(values, 4, duplicates="drop")
        elif pd.api.types.is_datetime64_any_dtype(values):
            values = values.dt.to_period("M")
        text = values.astype(str)
        if name in hidden:
            text = "group " + text.rank(method="dense", na_option="bottom").astype(int).astype(str)
        found[name] = text.to_numpy()
    return found


def slice_rows(sides: Sides) -> Parts:
    """The same paired test in every slice that has enough rows, corrected for their number."""
    gate = sides.params.gate
    columns = list(dict.fromkeys([*gate.slices, *sides.params.data.sensitive]))
    found = sides.by(slices, sides.params.evaluate.metric, labels(sides.rows, columns), gate.margin)
    return [asdict(item) for item in found]


def gap(values: np.ndarray, groups: np.ndarray) -> float:
    """The largest difference between the means of groups with at least 50 rows; 0 where there are not two."""
    means = pd.Series(np.asarray(values, float)).groupby(groups).agg(["mean", "size"]).query("size >= 50")["mean"]
    return float(means.max() - means.min()) if len(means) else 0.0


def fairness_rules(sides: Sides) -> list[dict[str, Any]]:
    """The gaps between the groups of each sensitive column.

    Of a classifier how often it says the last class: to all (demographic parity), and to those that
    are of it (equal opportunity); of a regressor the mean prediction and the mean error.
    """
    last, found = sides.candidate.shape[-1] - 1, []
    for name, groups in labels(sides.rows, sides.params.data.sensitive).items():
        if sides.candidate.ndim == 2:
            said, true = sides.candidate.argmax(1) == last, sides.truth == last
            gaps = {"demographic parity": gap(said, groups), "equal opportunity": gap(said[true], groups[true])}
        else:
            errors = sides.candidate - sides.truth
            gaps = {"mean prediction": gap(sides.candidate, groups), "mean error": gap(errors, groups)}
        limit = sides.params.gate.fairness
        holds = limit is None or max(gaps.values()) <= limit
        text = f"{name}: {', '.join(f'{kind} differs by {value:.3g}' for kind, value in gaps.items())}"
        found.append(rule("fairness", holds, f"{text} between its groups", blocking=limit is not None))
    return found


def drop_rule(sides: Sides, source: str, primary: Difference, margin: float) -> list[dict[str, Any]]:
    """Small losses must not add up: the loss since the last promotion stays within a few margins."""
    if source not in ("deployed", "rebuilt"):
        return []
    limit = -sides.params.gate.drop * margin
    text = f"{primary.difference:+.4g} since the last promotion; {limit:.4g} blocks"
    return [rule("drop", not (primary.difference <= limit and primary.high < 0), text)]


def changes(base: str) -> dict[str, dict[str, list[Any]]]:
    """What differs from the base in parameters, schema and data: name to [before, now]."""
    found = {}
    for title, path in (("parameters", "params.yaml"), ("schema", "schema.yaml"), ("data", "reports/data.json")):
        old = flat(champions.at(base, path) or {})
        new = flat(msgspec.yaml.decode(Path(path).read_bytes()))
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)] if old else []
        found[title] = {name: [old.get(name), new.get(name)] for name in names}
    return found


def further_rules(
    sides: Sides, mine: pd.DataFrame, source: str, primary: Difference, margin: float, parts: Parts
) -> list[dict[str, Any]]:
    """Every rule beside the verdict's word, a line each."""
    params = sides.params
    worse = ", ".join(f"{part['column']} = {part['value']}" for part in parts if part["blocks"])
    sliced = rule("slices", not worse, f"worse in {worse}" if worse else f"none of {len(parts)} slices became worse")
    return [
        *absolute_rules(params, sides.metrics(sides.candidate)),
        dummy_rule(sides, mine),
        *drop_rule(sides, source, primary, margin),
        *([sliced] if parts else []),
        *fairness_rules(sides),
        *budget_rules(params, sides.rows),
    ]


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


def finite(value: Any) -> Any:
    """The same value with null for every number that JSON cannot say."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=np.generic.item))


def base_judges(base: str) -> int | None:
    """Let the base's own gate judge where this branch changed the gate's code; None where it did not."""
    package = Path(__file__).parent
    files = [str(package / f"{name}.py") for name in CODE]
    if os.environ.get(JUDGED_BY) or not git("diff", "--name-only", base, "--", *files):
        return None
    with champions.checkout(base) as project:
        if not (project / "src" / package.name / "gate.py").exists():
            return None
        env = os.environ | {"PYTHONPATH": str(project / "src"), JUDGED_BY: base}
        command = [sys.executable, "-m", package.name, "gate", "--base", base]
        return subprocess.run(command, env=env, check=False).returncode


def main(base: str | None = None) -> int:
    """Judge the model in this folder against BASE; exit 0 pass, 1 block, 2 could not judge."""
    try:
        for path in (MODEL, TRAIN, HOLDOUT, PREDICTIONS):
            if not path.exists():
                raise UserError(f"{path} is missing; `make pipeline` makes it")
        champions.own_model()
        revision = champions.resolve(base)
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
