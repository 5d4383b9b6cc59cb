"""The whole rule of the gate under simulation: the word and every rule that vetoes, together.

`python -m benchmarks.gate_rules --quick` takes about two CPU minutes, without `--quick` about eight, on one core.
It prints the tables of "The whole rule" in docs/gate-measured.md. The rules under test are the library's own.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from threadpoolctl import threadpool_limits

from benchmarks.gate import NUMBERS, labels_of, marked, table
from benchmarks.populations import (
    COST,
    COST3,
    Array,
    Binary,
    Generator,
    Groups,
    Layout,
    Model,
    Multi,
    Panel,
    Regression,
    Skewed,
)
from modelyard.core.params import DataParams, EvaluateParams, GateParams, Params, TrainParams
from modelyard.gate.erosion import build_drop_result
from modelyard.gate.fairness import FairnessGap, compute_fairness_gaps
from modelyard.gate.pairs import PairedPredictions
from modelyard.gate.rules import (
    RuleResult,
    check_ceiling,
    check_difference_to_dummy,
    check_floor,
    check_gap,
    check_slices,
)
from modelyard.statistics.clusters import Clusters
from modelyard.statistics.comparison import compute_interval, decide_verdict

KINDS = ("group", "block")  # of clusters, in columns of these names
SHOWN = ["roc_auc", "average_precision", "log_loss", "accuracy", "f1"]
LIMIT = 0.1  # of gate.fairness; in regression, of a target whose standard deviation is 1.8
LIMIT_OF_NUMBERS = 0.5


class Balanced(Binary):
    """A model with balanced class weights: its probabilities are those of a world with as many of either class."""

    def curve(self, score: Array) -> Array:
        """Return the probability that the model gives."""
        return np.asarray(expit(self.lift * score - self.lift**2 / 2))


def lift_of(auc: float) -> float:
    """Return the distance between the classes at which a model has this area under the ROC curve."""
    return float(np.sqrt(2) * NormalDist().inv_cdf(auc))


@dataclass(frozen=True)
class World:
    """Two equal models of one kind, and the sizes at which holdouts are drawn."""

    name: str
    model: Model
    sizes: tuple[int, ...] = (300, 1000, 5000, 20000)
    groups: Layout = None

    @property
    def names(self) -> list[str]:
        """The metrics of its task."""
        if isinstance(self.model, Balanced):  # its probabilities and labels are made for another loss than these
            return [name for name in SHOWN if name not in ("log_loss", "accuracy")]
        return NUMBERS if isinstance(self.model, Regression) else SHOWN

    @property
    def limit(self) -> float:
        """The limit of the gap between groups."""
        return LIMIT_OF_NUMBERS if isinstance(self.model, Regression) else LIMIT

    def guess(self, rows: int) -> Array:
        """Return what a model without features predicts."""
        if isinstance(self.model, Regression):
            return np.full(rows, np.exp(0.625) if isinstance(self.model, Skewed) else 0.0)
        shares = self.model.shares if isinstance(self.model, Multi) else (1 - self.model.share, self.model.share)
        return np.tile(np.asarray(shares), (rows, 1))


WORLDS = (
    World("AUC 0.86", Binary(0.2)),
    World("AUC 0.62", Binary(0.2, lift_of(0.62))),
    World("5 % positive", Binary(0.05)),
    World("5 % positive, AUC 0.62", Binary(0.05, lift_of(0.62)), (1000, 5000, 20000)),
    World("1 % positive", Binary(0.01, 2.0), (1000, 5000, 20000)),
    World("balanced weights", Balanced(0.2)),
    World("balanced weights, 5 %, AUC 0.62", Balanced(0.05, lift_of(0.62)), (1000, 5000, 20000)),
    World("overconfident", Binary(0.2, tilt=1.5)),
    World("3 classes", Multi(), (300, 5000)),
    World("groups of 20 rows", Binary(0.2), (1000, 5000, 20000), Groups()),
    World("panel of 20 periods", Binary(0.2), (1000, 5000), Panel(20)),
    World("regression", Regression()),
    World("regression, R² 0.05", Regression(lift=1.592, signal=1.65)),
    World("regression, groups of 20 rows", Regression(), (1000, 5000, 20000), Groups()),
)


def make_params(metric: str, task: str, kinds: Sequence[str] = (), cost: Array | None = None, **gate: float) -> Params:
    """Return the parameters that the rules read."""
    columns: dict[str, Any] = dict(zip(KINDS, kinds, strict=False))
    return Params(
        data=DataParams(path="t.parquet", target="y", task=task, features=["x"], **columns),
        train=TrainParams("sklearn.linear_model.LogisticRegression"),
        evaluate=EvaluateParams(metric, None if cost is None else cost.tolist()),
        gate=GateParams(**gate),  # type: ignore[arg-type]
    )


def params_of(world: World, metric: str) -> Params:
    """Return the parameters of a world."""
    task = "regression" if isinstance(world.model, Regression) else "classification"
    costs = COST3 if isinstance(world.model, Multi) else COST
    count = 2 if isinstance(world.groups, Panel) else 1 if world.groups else 0
    return make_params(metric, task, KINDS[:count], costs if metric == "cost" else None)


def is_blocking(results: Sequence[RuleResult]) -> bool:
    """Whether a rule blocks."""
    return any(rule["blocking"] and not rule["passed"] for rule in results)


def judge(pairs: PairedPredictions, guess: Array, labels: dict[str, Array]) -> list[bool]:
    """Return whether the word, the dummy rule, the slices and the drop rule block."""
    metric = pairs.params.evaluate.metric
    primary = pairs.compare_metric(metric)
    parts = [{"column": p.column, "value": p.value, "blocks": p.blocks} for p in pairs.compare_slices(labels)]
    return [
        decide_verdict(primary, pairs.count_rows()) == "worse",
        is_blocking([check_difference_to_dummy(replace(pairs, champion=guess))]),
        is_blocking(check_slices(parts)),
        is_blocking([build_drop_result(primary, -pairs.params.gate.drop * primary.margin, "")]),
    ]


def find_gaps(truth: Array, scores: Array, columns: dict[str, Array], clusters: Clusters | None) -> list[FairnessGap]:
    """Return the gaps of every sensitive column in every measure."""
    parts = [compute_fairness_gaps(truth, scores, c, clusters, columns=len(columns)) for c in columns.values()]
    return [gap for part in parts for gap in part]


def judge_gaps(gaps: Sequence[FairnessGap], limit: float) -> list[bool]:
    """Return whether the fairness rule blocks, and whether the largest gap itself is beyond the limit."""
    return [is_blocking([check_gap("team", gap, limit) for gap in gaps]), max(gap.gap for gap in gaps) > limit]


def repeats(rows: int, most: int) -> int:
    """Return the number of holdouts: fewer where each is large."""
    return most if rows <= 5000 else most // 4


def run_world(world: World, rows: int, count: int) -> dict[str, Array]:
    """Judge equal models; return for each metric what blocked, shape (holdouts, 6)."""
    rng = np.random.default_rng([rows, len(world.name)])
    outcomes: dict[str, list[list[bool]]] = {name: [] for name in world.names}
    for _ in range(count):
        sample = world.model.draw(world.model, rng, rows, world.groups, 0.9)
        columns = {"sex": rng.integers(5, size=rows), "state": rng.integers(20, size=rows)}
        fairness = judge_gaps(find_gaps(sample.truth, sample.candidate, columns, sample.groups), world.limit)
        labels = labels_of(rng, rows)
        kinds = () if sample.groups is None else sample.groups.codes
        frame = pd.DataFrame(dict(zip(KINDS, kinds, strict=False)), index=range(rows))
        for name in world.names:
            pairs = PairedPredictions(params_of(world, name), frame, sample.truth, sample.champion, sample.candidate)
            outcomes[name].append([*judge(pairs, world.guess(rows), labels), *fairness])
    return {name: np.array(found) for name, found in outcomes.items()}


def show_equal(most: int) -> Iterator[str]:
    """Equal models: how often the whole rule blocks, by metric, and which rule it was in the worst metric."""
    whole: dict[tuple[str, ...], list[list[str]]] = {tuple(SHOWN): [], tuple(NUMBERS): []}
    parts = []
    for world in WORLDS:
        for rows in world.sizes:
            count = repeats(rows, most)
            found = run_world(world, rows, count)
            place = [world.name, f"{rows:,}"]
            blocked = {name: 100 * seen[:, :5].any(axis=1).mean() for name, seen in found.items()}
            names = next(names for names in whole if world.names[0] in names)
            whole[names].append([*place, *(marked(blocked[n], 0, 5, count) if n in blocked else "-" for n in names)])
            shares = 100 * np.array([seen.mean(axis=0) for seen in found.values()])
            parts.append([*place, *(f"{share:.1f}" for share in shares.max(axis=0))])
    for names, body in whole.items():
        yield "### Equal models: percent blocked by the whole rule\n"
        yield table(["models", "rows", *names], body)
    yield "### Equal models: percent blocked by each rule, in the metric where it is most\n"
    head = ["models", "rows", "word", "dummy", "slices", "drop", "fairness", "a gap itself is beyond the limit"]
    yield table(head, parts)


def draw_labels(rng: Generator, rows: int, k: int, gap: float, shape: str) -> tuple[Array, Array, Array, Array | None]:
    """Return truth, scores, groups and clusters where every measure differs by `gap` between groups.

    `one` group is told yes more often than all others, or `half` of them are; `clusters` are 20 rows of one group with
    a rate of their own.
    """
    clusters = np.arange(rows) // 20 if shape == "clusters" else None
    groups = rng.integers(k, size=rows) if clusters is None else rng.integers(k, size=rows // 20)[clusters]
    favoured = groups < (k // 2 if shape == "half" else 1)
    truth = (rng.random(rows) < 0.3).astype(int)
    rate = np.where(truth == 1, 0.5, 0.2) + gap * favoured
    if clusters is not None:
        rate = rate + rng.uniform(-0.15, 0.15, size=rows // 20)[clusters]
    return truth, np.eye(2)[(rng.random(rows) < rate).astype(int)], groups, clusters


def run_gap(rows: int, k: int, gap: float, shape: str, count: int) -> list[str]:
    """Return the percent of holdouts that fairness blocks, that the gap itself is beyond the limit, and coverage."""
    rng = np.random.default_rng([rows, k, int(100 * gap)])
    seen = []
    for _ in range(count):
        truth, scores, groups, clusters = draw_labels(rng, rows, k, gap, shape)
        rows_of = None if clusters is None else Clusters.of({"cluster": clusters})
        gaps = find_gaps(truth, scores, {"team": groups}, rows_of)
        covered = all(found.low <= gap + 1e-12 and gap <= found.high + 1e-12 for found in gaps if found.groups)
        seen.append([*judge_gaps(gaps, LIMIT), covered])
    return [f"{100 * share:.1f}" for share in np.mean(seen, axis=0)]


def show_gaps(most: int) -> Iterator[str]:
    """Fair and unfair models."""
    body = []
    for shape in ("one", "half", "clusters"):
        for k, rows in ((2, 1000), (5, 1000), (5, 5000), (20, 5000), (20, 20000)):
            cells = [run_gap(rows, k, gap, shape, repeats(rows, most)) for gap in (0.0, LIMIT, 2 * LIMIT)]
            blocked = [cell[0] for cell in cells]
            covered = min(float(cell[2]) for cell in cells)
            body.append([shape, str(k), f"{rows:,}", *blocked, cells[0][1], cells[1][1], f"{covered:.1f}"])
    yield f"### Fairness: percent blocked with a limit of {LIMIT:g}\n"
    head = ["favoured", "groups", "rows", "no gap", "gap = limit", "gap = limit + 0.1"]
    yield table([*head, "no gap, point rule", "gap = limit, point rule", "all intervals cover"], body)


def draw_noise(model: Binary, rng: Generator, rows: int) -> Array:
    """Return the probabilities of a model that knows nothing, spread as widely as those of one that does."""
    return model.predict((rng.random(rows) < model.share).astype(int), rng.normal(size=rows))


def draw_useless(kind: str, model: Binary, rng: Generator, truth: Array) -> Array:
    """Return the probabilities of a useless model."""
    rows = len(truth)
    if kind == "noise":
        return draw_noise(model, rng, rows)
    if kind == "the wrong way round":
        return model.predict(1 - truth, rng.normal(size=rows))
    return np.tile([1 - model.share, model.share], (rows, 1))


def show_useless(most: int) -> Iterator[str]:
    """Useless models, against a champion that knows something and as a first model."""
    model = Binary(0.2, lift_of(0.75))
    world = World("useless", model)
    body = []
    for kind in ("noise", "the wrong way round", "constant"):
        for name in ("roc_auc", "average_precision", "log_loss", "accuracy", "f1"):
            for rows in (1000, 5000, 20000):
                rng = np.random.default_rng(rows)
                seen = []
                for _ in range(repeats(rows, most)):
                    sample = model.draw(model, rng, rows, None, 0.9)
                    candidate = draw_useless(kind, model, rng, sample.truth)
                    guess = world.guess(rows)
                    frame = pd.DataFrame(index=range(rows))
                    pairs = PairedPredictions(params_of(world, name), frame, sample.truth, sample.champion, candidate)
                    seen.append([*judge(pairs, guess, {})[:2], *judge(replace(pairs, champion=guess), guess, {})[:2]])
                found = np.array(seen)
                both = [found[:, [0, 1]].any(axis=1), found[:, 1], found[:, [2, 3]].any(axis=1)]
                body.append([kind, name, f"{rows:,}", *(f"{100 * share.mean():.0f}" for share in both)])
    yield "### Useless models: percent blocked\n"
    yield table(
        ["model", "metric", "rows", "champion of AUC 0.75", "by the dummy rule alone", "as a first model"], body
    )


def limits_at(rows: int, count: int, auc: float, floor: float) -> list[str]:
    """Return the percent of holdouts where a floor blocks, warns, and would block by the value alone."""
    model = Binary(0.2, lift_of(auc))
    rng = np.random.default_rng(rows)
    seen = []
    for _ in range(count):
        sample = model.draw(model, rng, rows, None, 0.9)
        rule = check_floor(compute_interval("roc_auc", sample.truth, sample.candidate), floor)
        seen.append([not rule["passed"] and rule["blocking"], not rule["passed"]])
    blocked, missed = 100 * np.mean(seen, axis=0)
    return [f"{blocked:.1f}", f"{missed - blocked:.1f}", f"{missed:.1f}"]


def show_floors(most: int) -> Iterator[str]:
    """A floor of AUC 0.75, and models around it."""
    body = []
    for rows in (300, 1000, 5000, 20000):
        for auc in (0.76, 0.75, 0.73, 0.70, 0.65):
            body.append([f"{rows:,}", f"{auc:g}", *limits_at(rows, repeats(rows, most), auc, 0.75)])
    yield "### A floor of AUC 0.75: percent blocked\n"
    yield table(["rows", "true AUC", "blocked", "warned", "below it by the value alone"], body)


def ceiling_at(rows: int, count: int, before: float, now: float) -> list[str]:
    """Return the percent of holdouts where a ceiling of AUC 0.98 blocks, and is passed by the value alone."""
    old, new = Binary(0.2, lift_of(before)), Binary(0.2, lift_of(now))
    params = make_params("roc_auc", "classification", ceiling=0.98)
    rng = np.random.default_rng(rows)
    seen = []
    for _ in range(count):
        sample = old.draw(new, rng, rows, None, 0.9)
        frame = pd.DataFrame(index=range(rows))
        pairs = PairedPredictions(params, frame, sample.truth, sample.champion, sample.candidate)
        (rule,) = check_ceiling(pairs, pairs.compare_metric("roc_auc"))
        seen.append([is_blocking([rule]), not rule["passed"]])
    return [f"{100 * share:.1f}" for share in np.mean(seen, axis=0)]


def show_ceilings(most: int) -> Iterator[str]:
    """A ceiling of AUC 0.98: equal models near it, and leaks."""
    body = []
    for rows in (300, 1000, 5000):
        for before, now in ((0.97, 0.97), (0.978, 0.978), (0.985, 0.985), (0.75, 0.99), (0.75, 0.999)):
            body.append([f"{rows:,}", f"{before:g}", f"{now:g}", *ceiling_at(rows, repeats(rows, most), before, now)])
    yield "### A ceiling of AUC 0.98: percent blocked\n"
    yield table(["rows", "champion's true AUC", "candidate's", "blocked", "beyond it by the value alone"], body)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer holdouts")
    parser.add_argument("--only", default="", help="equal, gaps, useless, floors or ceilings")
    chosen = parser.parse_args()
    most = 60 if chosen.quick else 240
    threadpool_limits(1)
    for part in (show_equal, show_gaps, show_useless, show_floors, show_ceilings):
        if chosen.only in ("", part.__name__.removeprefix("show_")):
            for text in part(most):
                print(text, flush=True)
    print(f"{most} holdouts up to 5,000 rows, a quarter above: {time.process_time():.0f} CPU s")


if __name__ == "__main__":
    main()
