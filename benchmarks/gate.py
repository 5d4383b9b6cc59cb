"""The gate under simulation: what it blocks, what it lets pass, how often its interval is right.

`python -m benchmarks.gate --most 400` takes about ten CPU minutes; the default has five times as many holdouts.
It prints the tables of docs/gate-measured.md; `--only days,panels` prints some of them. The statistics under test are
the library's own.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

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
    Sample,
    Skewed,
    partner,
)
from modelyard.statistics import comparison
from modelyard.statistics.chance import compute_chance_level
from modelyard.statistics.clusters import Clusters
from modelyard.statistics.metrics import METRICS, get_metric
from modelyard.statistics.paired_scores import UndefinedMetricError

CLASSES = [name for name, metric in METRICS.items() if metric.task == "classification"]
NUMBERS = [name for name, metric in METRICS.items() if metric.task == "regression"]
RANGE = (93.0, 97.0)  # where the coverage of a 95 % interval should lie
LARGEST = 25_000  # rows; where a margin needs more, only their number is printed
PLAIN = 200  # resamples of the bootstraps that the gate is compared with


@dataclass(frozen=True)
class Scene:
    """Two models and how holdouts are drawn; without a `rival` both are of one kind."""

    name: str
    champion: Model
    rival: Model | None = None
    groups: Layout = None
    sizes: tuple[int, ...] = (300, 1000, 5000, 20000)
    alike: float = 0.9

    @property
    def names(self) -> list[str]:
        """The metrics of its task."""
        return NUMBERS if isinstance(self.champion, Regression) else CLASSES

    def cost(self, name: str) -> Array | None:
        """The cost matrix, for the metric that has one."""
        if name != "cost":
            return None
        return COST3 if isinstance(self.champion, Multi) else COST

    def draw(self, rng: Generator, candidate: Model, rows: int) -> Sample:
        """One holdout, scored by both."""
        drawn = self.champion.draw(candidate, rng, rows, self.groups, self.alike)
        assert isinstance(drawn, Sample)
        return drawn


OTHER = Binary(0.2, width=1.25, tilt=0.9)
DAYS = Groups(68, 0.36, firm=0.0)  # of 5,000 rows 73 days, which make the error about twice that by row
SCENES = (
    Scene("alike", Binary(0.2)),
    Scene("other shape", Binary(0.2), OTHER, sizes=(300, 1000, 5000)),
    Scene("shape reversed", OTHER, Binary(0.2), sizes=(300, 1000, 5000)),
    Scene("ties", Binary(0.2, step=0.1), sizes=(300, 5000)),
    Scene("1 % positive", Binary(0.01, 2.0), sizes=(6000, 20000)),
    Scene("near perfect", Binary(0.2, 3.0), sizes=(300, 5000)),
    Scene("groups", Binary(0.2), groups=Groups(), sizes=(1000, 5000, 20000)),
    Scene("3 classes", Multi(), sizes=(300, 5000)),
    Scene("hard zeros", Binary(0.2, 2.0, step=0.02, hard=True), sizes=(300, 5000)),
    Scene("overconfident", Binary(0.2, tilt=2.5), sizes=(300, 5000)),
    Scene("groups of one class", Binary(0.2), groups=Groups(firm=1e-3), sizes=(1000, 5000)),
    Scene("days", Binary(0.2), groups=DAYS, sizes=(5000,)),
    Scene("panel", Binary(0.2), groups=Panel(52), sizes=(2600, 10400)),
    Scene("alike", Regression()),
    Scene("other shape", Regression(), Regression(bias=0.3), sizes=(60, 300, 1000, 5000)),
    Scene("groups", Regression(), groups=Groups(), sizes=(1000, 5000, 20000)),
    Scene("days", Regression(), groups=DAYS, sizes=(5000,)),
    Scene("panel", Regression(), groups=Panel(52), sizes=(2600, 10400)),
    Scene("skewed target", Skewed(), sizes=(300, 5000)),
)
NAMED = {(isinstance(scene.champion, Regression), scene.name): scene for scene in SCENES}
ALIKE, GROUPS = NAMED[False, "alike"], NAMED[False, "groups"]
NUMBER, NUMBER_GROUPS = NAMED[True, "alike"], NAMED[True, "groups"]
# Where a candidate that is worse by a given amount can be found.
UNTUNED = ("near perfect", "overconfident", "hard zeros", "skewed target")
EDGES = [scene for scene in SCENES if scene.name not in UNTUNED]


@dataclass
class Tally:
    """What happened to one metric over many holdouts."""

    scene: Scene
    metric: str
    rows: int
    outcomes: list[tuple[float, ...]] = field(default_factory=list)

    COLUMNS = (
        "blocked",
        "sliced",
        "below",
        "above",
        "less",
        "threshold",
        "plain",
        "power",
        "enough",
    )

    def column(self, name: str) -> Array:
        """What happened, holdout by holdout."""
        return np.array([outcome[self.COLUMNS.index(name)] for outcome in self.outcomes])

    def share(self, *columns: str) -> float:
        """Percent of the holdouts where any of these happened."""
        return 100 * float(np.mean(sum(self.column(c) for c in columns) > 0))

    @property
    def covered(self) -> float:
        """Percent of the intervals that held the true difference."""
        return 100 - self.share("below", "above")


@cache
def crowd(shares: tuple[float, ...]) -> tuple[Array, Array]:
    """A crowd that stands for the population of three classes."""
    rng = np.random.default_rng(99)
    truth = rng.choice(len(shares), 300_000, p=shares)
    return truth, rng.normal(size=(len(truth), len(shares)))


def population(scene: Scene, model: Model, name: str) -> float:
    """The metric on the population: an integral, or for three classes a crowd of 300,000."""
    if not isinstance(model, Multi):
        return float(model.metric(name))
    truth, noise = crowd(model.shares)
    scores = model.predict(truth, noise)
    return float(get_metric(name).compute_value(truth, scores, scene.cost(name)))


@cache
def margin_of(scene: Scene, name: str) -> float:
    """The margin on the population."""
    if isinstance(scene.champion, Multi):
        truth = crowd(scene.champion.shares)[0]
    elif isinstance(scene.champion, Regression):
        truth = scene.draw(np.random.default_rng(98), scene.champion, 300_000).truth
    else:
        positive = round(100_000 * scene.champion.share)
        truth = np.repeat([0, 1], [100_000 - positive, positive])
    chance = compute_chance_level(name, truth, scene.cost(name))
    return comparison.compute_margin(name, population(scene, scene.champion, name), chance=chance)


def rival_of(scene: Scene, name: str, loss: float) -> tuple[Model, float]:
    """A candidate that is worse by `loss` margins on the population, and the true difference."""
    if not loss and scene.rival is None:
        return scene.champion, 0.0
    sign = 1 if get_metric(name).higher_is_better else -1
    value = population(scene, scene.champion, name)
    target = value - sign * loss * margin_of(scene, name)
    kind = scene.rival or scene.champion
    model = partner(kind, target, lambda m: population(scene, m, name))
    return model, sign * (population(scene, model, name) - value)


def labels_of(rng: Generator, rows: int) -> dict[str, Array]:
    """Two columns to slice by, of 4 even and 12 uneven values: in each both models are equal."""
    weight = 1 / np.arange(1, 13)
    return {
        "region": rng.integers(4, size=rows),
        "carrier": rng.choice(12, rows, p=weight / weight.sum()),
    }


@dataclass(frozen=True)
class Job:
    """One scene at one size, for metrics that share their draws."""

    scene: Scene
    names: tuple[str, ...]
    rows: int
    repeats: int
    loss: float = 0.0
    sliced: bool = False
    plain: bool = False
    blind: bool = False  # to the groups


def run(job: Job) -> list[Tally]:
    """Draw holdouts and judge them."""
    rng = np.random.default_rng([job.rows, len(job.scene.names), int(10 * job.loss)])
    model, truth = rival_of(job.scene, job.names[0], job.loss)
    tallies = [Tally(job.scene, name, job.rows) for name in job.names]
    for _ in range(job.repeats):
        sample = job.scene.draw(rng, model, job.rows)
        labels = labels_of(rng, job.rows) if job.sliced else {}
        for tally in tallies:
            outcome = judged(job, tally.metric, sample, truth, labels)
            if outcome:
                tally.outcomes.append(outcome)
    return tallies


def judged(job: Job, name: str, sample: Sample, truth: float, labels: dict[str, Array]) -> tuple[float, ...] | None:
    """What the gate and simpler rules say about one holdout; None if it is too small."""
    groups, cost = None if job.blind else sample.groups, job.scene.cost(name)
    scored = (name, sample.truth, sample.champion, sample.candidate)
    counts = comparison.compute_row_counts(name, sample.truth, sample.champion, sample.groups)
    if not counts.is_sufficient:
        return None
    found = comparison.compute_difference(*scored, groups=groups, cost=cost)
    margin = found.margin
    verdict = comparison.decide_verdict(found, counts)
    parts = comparison.compare_slices(*scored, labels, groups=groups, cost=cost) if labels else []
    rows = comparison.compute_difference(*scored, cost=cost, resamples=PLAIN) if job.plain else found
    return (
        verdict == "worse",
        any(part.blocks for part in parts),
        found.high < truth - 1e-9,
        found.low > truth + 1e-9,
        found.difference < 0,
        found.difference < -margin,
        rows.high < 0,
        margin / found.error if found.error else np.inf,
        comparison.is_margin_resolved(found.error, margin),
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all but the first column are numbers."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *rows)) + "\n"


def grid(tallies: Sequence[Tally], show: Callable[[Tally], str]) -> Iterator[str]:
    """One table for each task: a line for each scene and size, a column for each metric."""
    for names in (CLASSES, NUMBERS):
        lines: dict[tuple[str, str], dict[str, str]] = {}
        for tally in tallies:
            if tally.scene.names == names:
                place = (tally.scene.name, f"{tally.rows:,}")
                lines.setdefault(place, {})[tally.metric] = show(tally) if tally.outcomes else "-"
        body = [[*place, *(cells.get(n, "-") for n in names)] for place, cells in lines.items()]
        yield table(["models", "rows", *names], body)


def marked(value: float, low: float, high: float, count: int) -> str:
    """A percentage of so many holdouts, bold if out of the limits by twice what chance may do."""
    below, above = (200 * (p / 100 * (1 - p / 100) / max(count, 1)) ** 0.5 for p in (low, high))
    return f"{value:.1f}" if low - below <= value <= high + above else f"**{value:.1f}**"


def alone(job: Job) -> list[Tally]:
    """Intervals of one model's metrics: only whether they cover."""
    rng, cost = np.random.default_rng(job.rows + 1), job.scene.cost
    tallies = [Tally(job.scene, name, job.rows) for name in job.names]
    truths = {n: population(job.scene, job.scene.champion, n) for n in job.names}
    for _ in range(job.repeats):
        one = job.scene.draw(rng, job.scene.champion, job.rows)
        for tally in tallies:
            name = tally.metric
            if comparison.compute_row_counts(name, one.truth, one.champion, one.groups).is_sufficient:
                scored = (name, one.truth, one.champion)
                found = comparison.compute_interval(*scored, groups=one.groups, cost=cost(name))
                low, high = found.high < truths[name], found.low > truths[name]
                tally.outcomes.append((0, 0, low, high, 0, 0, 0, 0, 0))
    return tallies


def single(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """One model's interval."""
    jobs = [
        Job(scene, tuple(scene.names), rows, repeats(rows, most // 2))
        for scene in SCENES
        for rows in scene.sizes
        if scene.rival is None and rows <= 6000 and not isinstance(scene.champion, Skewed)
    ]
    tallies = [tally for found in pool.map(alone, jobs) for tally in found]
    yield "### One model: percent of the intervals that cover its metric\n"
    yield from grid(tallies, lambda t: marked(t.covered, *RANGE, len(t.outcomes)))


def repeats(rows: int, most: int) -> int:
    """Fewer holdouts where each is large."""
    return most if rows <= 1000 else most // 2 if rows <= 6000 else most // 4


def equal(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """Equal models: blocked at most 5 %, and intervals that cover 93 to 97 %."""
    jobs = []
    for scene in SCENES:
        for rows in [n for n in scene.sizes if n <= 6000 or most >= 1000]:
            together = [tuple(scene.names)] if scene.rival is None else [(n,) for n in scene.names]
            jobs += [Job(scene, n, rows, repeats(rows, most), sliced=True) for n in together]
    tallies = [tally for found in pool.map(run, jobs) for tally in found]
    yield "### Equal models: percent blocked, by primary metric and slices together\n"
    yield from grid(tallies, lambda t: marked(t.share("blocked", "sliced"), 0, 5, len(t.outcomes)))
    yield "### Equal models: percent of the intervals that cover the true difference\n"
    yield from grid(tallies, lambda t: marked(t.covered, *RANGE, len(t.outcomes)))
    yield "### Equal models: percent blocked by `>=`, and by a threshold of one margin\n"
    yield from grid(tallies, lambda t: f"{t.share('less'):.0f}, {t.share('threshold'):.0f}")


def error_at(scene: Scene, name: str, rows: int, draws: int) -> float:
    """The error that the gate reports for a candidate worse by two margins, in margins."""
    model, _ = rival_of(scene, name, 2.0)
    rng, squares = np.random.default_rng(rows), []
    for _ in range(draws):
        sample = scene.draw(rng, model, rows)
        scored = (sample.truth, sample.champion, sample.candidate)
        found = comparison.compute_difference(name, *scored, groups=sample.groups, cost=scene.cost(name))
        squares.append((found.error / margin_of(scene, name)) ** 2)
    return float(np.sqrt(np.mean(squares)))


def smallest(scene: Scene) -> int:
    """The fewest rows that are tried: those with enough clusters."""
    if isinstance(scene.groups, Groups):
        return 50 * scene.groups.size
    return 20 * scene.groups.periods if scene.groups else 300


def edge(task: tuple[Scene, str, float, int]) -> tuple[Scene, str, Tally | None, int]:
    """A candidate worse by two margins, at the size where the margin is so many errors."""
    scene, name, ratio, most = task
    least = smallest(scene)
    try:
        rows = max(least, int(6000 * (ratio * error_at(scene, name, 6000, 20)) ** 2))
    except ValueError:  # with 1 % positive rows no sane model loses two points of accuracy
        return scene, name, None, 0
    if rows <= LARGEST:
        rows = max(least, int(rows * (ratio * error_at(scene, name, rows, 60)) ** 2) + 1)
    if rows > LARGEST:
        return scene, name, None, rows
    count = most if ratio == comparison.MIN_MARGIN_IN_ERRORS else repeats(rows, most)
    return scene, name, run(Job(scene, (name,), rows, count, loss=2.0))[0], rows


def worse(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """Worse by two margins: blocked at least 95 % wherever the margin is 1.81 errors or more."""
    for ratio in (comparison.MIN_MARGIN_IN_ERRORS, 2.5)[: 1 if most < 1000 else 2]:
        tasks = [
            (scene, name, ratio, most)
            for scene in EDGES
            for name in scene.names
            if not isinstance(scene.champion, Multi) or name in ("roc_auc", "log_loss", "f1")
        ]
        found = list(pool.map(edge, tasks))
        yield f"### Worse by two margins, margin = {ratio} errors: rows, percent blocked\n"
        for names in (CLASSES, NUMBERS):
            lines: dict[str, dict[str, str]] = {}
            for scene, name, tally, rows in found:
                if scene.names == names:
                    lines.setdefault(scene.name, {})[name] = at_edge(tally, rows)
            body = [[s, *(cells.get(n, "-") for n in names)] for s, cells in lines.items()]
            yield table(["models", *names], body)


def at_edge(tally: Tally | None, rows: int) -> str:
    """Rows and the share that blocks."""
    if tally is None or not tally.outcomes:
        return f"{rows:,} needed" if rows else "-"
    return f"{tally.rows:,}: {marked(tally.share('blocked'), 95, 100, len(tally.outcomes))}"


def by_group(task: tuple[Scene, str, int, int]) -> list[str]:
    """Equal models on grouped rows, judged with the groups and without looking at them."""
    scene, name, rows, most = task
    job = Job(scene, (name,), rows, repeats(rows, most))
    blind = replace(job, blind=True)
    shares = [tally for each in (job, blind) for tally in run(each)]
    cells = [f"{t.covered:.1f}" for t in shares] + [f"{t.share('blocked'):.1f}" for t in shares]
    naive = "-"
    if rows == 1000 and name in ("roc_auc", "mae"):
        drawn = run(replace(blind, repeats=most // 8, plain=True))[0]
        naive = f"{drawn.share('plain'):.1f}"
    return [name, f"{rows:,}", *cells, naive]


def grouped(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """Rows that come in groups: what happens to a method that does not look."""
    tasks = [
        (scene, name, rows, most)
        for scene in (GROUPS, NUMBER_GROUPS)
        for name in ("roc_auc", "log_loss", "accuracy", "rmse", "mae")
        for rows in (1000, 5000)
        if name in scene.names
    ]
    yield "### Groups of 20 rows: what looking at the groups does to equal models\n"
    head = ["metric", "rows", "covers, by group", "covers, by row", "blocked, by group"]
    head += ["blocked, by row", "below 0, bootstrap of rows"]
    yield table(head, list(pool.map(by_group, tasks)))


def rules(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """The gate beside the rules that are common: percent blocked."""
    jobs = [
        Job(scene, (name,), rows, most // 8, loss=loss, plain=True)
        for scene, name, rows in ((ALIKE, "roc_auc", 1000), (NUMBER, "mae", 20000))
        for loss in (0.0, 0.5, 2.0)
    ]
    body = []
    for job, tallies in zip(jobs, pool.map(run, jobs), strict=True):
        names = ("less", "threshold", "plain", "blocked")
        shares = [f"{tallies[0].share(n):.0f}" for n in names]
        power = f"{np.median(tallies[0].column('power')):.1f}"
        loss = f"worse by {job.loss:g} margins" if job.loss else "equal"
        body.append([f"{job.names[0]}, {job.rows:,} rows", loss, power, *shares])
    yield "### The gate beside simpler rules: percent blocked\n"
    head = ["metric", "candidate", "margin / error", "`>=`", "threshold", "bootstrap bound", "gate"]
    yield table(head, body)


def hidden(task: tuple[str, int, float, int]) -> list[str]:
    """A candidate equal everywhere but in one slice of a fifth of the rows: who notices?"""
    name, rows, loss, count = task
    scene = NUMBER if name in NUMBERS else Scene("alike", Binary(0.4))
    bad, _ = rival_of(scene, name, loss)
    rng, seen = np.random.default_rng(rows), []
    for _ in range(count):
        good, poor = (
            scene.draw(rng, model, size) for model, size in ((scene.champion, rows - rows // 5), (bad, rows // 5))
        )
        both = [
            np.concatenate([getattr(part, key) for part in (good, poor)]) for key in ("truth", "champion", "candidate")
        ]
        labels = labels_of(rng, rows) | {"bad": np.arange(rows) >= len(good.truth)}
        found = comparison.compute_difference(name, *both)
        verdict = comparison.decide_verdict(found, comparison.compute_row_counts(name, *both[:2]))
        parts = comparison.compare_slices(name, *both, labels)
        caught = any(p.blocks for p in parts if (p.column, p.value) == ("bad", "True"))
        seen.append((verdict == "worse", caught))
    shares = [f"{100 * share:.0f}" for share in np.mean(seen, axis=0)]
    return [name, f"{rows:,}", f"{loss:g}", *shares]


def sliced(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """A worse slice only."""
    tasks = [
        (name, rows, loss, most // 8)
        for name in ("roc_auc", "log_loss", "accuracy", "mae")
        for rows in (5000, 20000)
        for loss in (3.0, 6.0)
    ]
    yield "### Worse in one slice of a fifth of the rows only: percent blocked\n"
    head = ["metric", "rows", "margins worse there", "primary", "that slice"]
    yield table(head, list(pool.map(hidden, tasks)))


@dataclass(frozen=True)
class Look:
    """Holdouts of one scene, judged in several ways: by both kinds of cluster, by one of them, by row."""

    scene: Scene
    name: str
    rows: int
    repeats: int
    ways: tuple[str, ...] = ("all", "row")
    loss: float = 0.0


def clusters_of(sample: Sample, way: str) -> Clusters | None:
    """What a judge knows of the clusters: `all`, `row`, the number of a kind, or blocks such as `4 periods`."""
    if way == "row" or sample.groups is None:
        return None
    if way == "all":
        return sample.groups
    if way.isdigit():
        place = int(way)
        return Clusters((sample.groups.names[place],), (sample.groups.codes[place],))
    series, period = sample.groups.codes
    return Clusters.of({"series": series, "block": period // int(way.split()[0])})


def look(task: Look) -> list[list[float]]:
    """For each way: percent covered, worse, better, "not worse" at the margin, and the error against that by row."""
    rng = np.random.default_rng([task.rows, int(10 * task.loss), len(task.name)])
    model, truth = rival_of(task.scene, task.name, task.loss)
    seen: dict[str, list[tuple[float, ...]]] = {way: [] for way in task.ways}
    cost = task.scene.cost(task.name)
    for _ in range(task.repeats):
        sample = task.scene.draw(rng, model, task.rows)
        scored = (task.name, sample.truth, sample.champion, sample.candidate)
        by_row = comparison.compute_difference(*scored, cost=cost).error
        for way in task.ways:
            groups = clusters_of(sample, way)
            found = comparison.compute_difference(*scored, groups=groups, cost=cost)
            word = comparison.decide_verdict(found, comparison.compute_row_counts(*scored[:3], groups))
            covered = found.low <= truth + 1e-9 and found.high >= truth - 1e-9
            below_margin = found.low > -found.margin
            seen[way].append(
                (
                    covered,
                    word == "worse",
                    word == "better",
                    found.low_with_margin > 0,
                    below_margin,
                    found.error / by_row,
                )
            )
    shares = [np.mean(outcomes, axis=0) for outcomes in seen.values()]
    return [[*(100 * part[:5]), part[5]] for part in shares]


def days(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """Rows of 73 days, whose effects widen the interval by nothing, by a fifth and to twice."""
    tasks = [
        Look(Scene(f"{alike:g}", model, groups=Groups(68, alike, firm=0)), name, 5000, repeats(5000, most))
        for name, model in (
            ("roc_auc", Binary(0.2)),
            ("log_loss", Binary(0.2)),
            ("accuracy", Binary(0.2)),
            ("mae", Regression()),
            ("rmse", Regression()),
        )
        for alike in (0.0, 0.13, 0.36)
    ]
    yield "### Rows of 73 days, equal models: percent\n"
    head = ["metric", "noise in common", "wider", "covers, by day", "covers, by row", "worse, by day", "worse, by row"]
    body = []
    for task, (by_day, by_row) in zip(tasks, pool.map(look, tasks), strict=True):
        cells = [marked(by_day[0], *RANGE, task.repeats), f"{by_row[0]:.1f}"]
        cells += [marked(by_day[1], 0, 5, task.repeats), f"{by_row[1]:.1f}"]
        cells += [marked(by_day[2], 0, 3, task.repeats), f"{by_row[2]:.1f}"]
        body.append([task.name, f"{float(task.scene.name):.0%}", f"{by_day[5]:.2f}", *cells])
    yield table([*head, "better, by day", "better, by row"], body)


def sizes(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """Clusters of 1 to 200 rows: of one size, and of all sizes at once."""
    layouts = [
        *((f"{size} each", Groups(size, 0.3, 6.0), 100 * size) for size in (5, 50, 200)),
        *(("1 to 200", Groups(38, 0.3, 6.0, uneven=True), rows) for rows in (2500, 5000, 20000)),
    ]
    tasks = [
        Look(Scene(title, model, groups=groups), name, rows, repeats(rows, most))
        for title, groups, rows in layouts
        for name, model in (("roc_auc", Binary(0.2)), ("log_loss", Binary(0.2)), ("mae", Regression()))
    ]
    yield "### Clusters of 1 to 200 rows, equal models: percent\n"
    body = []
    for task, (by_cluster, by_row) in zip(tasks, pool.map(look, tasks), strict=True):
        cells = [marked(by_cluster[0], *RANGE, task.repeats), f"{by_row[0]:.1f}"]
        cells += [marked(by_cluster[1], 0, 5, task.repeats), marked(by_cluster[2], 0, 3, task.repeats)]
        body.append([task.scene.name, task.name, f"{task.rows:,}", f"{by_cluster[5]:.2f}", *cells])
    yield table(["rows a cluster", "metric", "rows", "wider", "covers", "covers, by row", "worse", "better"], body)


def panels(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """Series that are observed in the same periods: clusters of two kinds."""
    shapes = ((10, 8), (10, 15), (10, 52), (50, 8), (50, 15), (50, 52), (200, 8), (200, 52))
    tasks = [
        Look(
            Scene(f"{series} × {periods}", model, groups=Panel(periods)),
            name,
            series * periods,
            most // 2,
            WAYS,
        )
        for series, periods in shapes
        for name, model in (("log_loss", Binary(0.3)), ("accuracy", Binary(0.3)), ("mae", Regression()))
    ]
    yield "### Panels, equal models: percent of the intervals that cover\n"
    body = []
    for task, found in zip(tasks, pool.map(look, tasks), strict=True):
        both = [marked(found[0][0], *RANGE, task.repeats)]
        verdicts = [marked(found[0][1], 0, 5, task.repeats), marked(found[0][2], 0, 3, task.repeats)]
        body.append([task.scene.name, task.name, *both, *(f"{way[0]:.1f}" for way in found[1:]), *verdicts])
    head = ["series × periods", "metric", "both ways", "by series", "by period", "by row", "worse", "better"]
    yield table(head, body)
    yield from ordered_panels(pool, most)


WAYS = ("all", "0", "1", "row")


def ordered_panels(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """Panels in which a period resembles the next one: longer blocks are needed."""
    ways = ("all", "4 periods", "row")
    tasks = [
        Look(Scene(f"50 × {periods}", model, groups=groups), name, 50 * periods, most // 4, ways)
        for periods in (52, 104)
        for groups in (Panel(periods, order=0.5),)
        for name, model in (("log_loss", Binary(0.3)), ("mae", Regression()))
    ]
    yield "### Panels in which each period resembles the next (correlation 0.5): percent of the intervals that cover\n"
    body = []
    for task, found in zip(tasks, pool.map(look, tasks), strict=True):
        body.append([task.scene.name, task.name, *(f"{way[0]:.1f}" for way in found)])
    yield table(["series × periods", "metric", "single periods", "blocks of 4 periods", "by row"], body)


def guarded(task: tuple[str, str, Scene, Binary, int, int]) -> list[str]:
    """How often too small a holdout lets an equal model pass, and a far worse one."""
    title, name, scene, poor, rows, count = task
    words = []
    for model in (scene.champion, poor):
        rng = np.random.default_rng([rows, len(name)])
        for _ in range(count):
            sample = scene.draw(rng, model, rows)
            scored = (name, sample.truth, sample.champion, sample.candidate)
            options = {"groups": sample.groups, "cost": scene.cost(name)}
            try:
                found = comparison.compute_difference(*scored, **options)
            except UndefinedMetricError:
                continue
            counts = comparison.compute_row_counts(*scored[:3], sample.groups)
            words.append((model is poor, comparison.decide_verdict(found, counts)))
    cells = [
        f"{100 * np.mean([word == wanted for is_poor, word in words if is_poor == poorly]):.1f}"
        for poorly, wanted in ((False, "worse"), (False, "better"), (True, "worse"), (True, "better"))
    ]
    return [title, name, *cells]


def guards(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """Holdouts with too few rows of the rarest class, or too few groups."""
    poor = Binary(0.5, 1.0, tilt=-3.0)  # prefers the wrong class, and is certain of it
    few = [("15 of 300 positive", Scene("few", Binary(0.05, 2.0)), 300)]
    few += [("20 of 2,000 positive", Scene("few", Binary(0.01, 2.0)), 2000)]
    few += [("20 groups of 100", Scene("groups", Binary(0.2), groups=Groups(100)), 2000)]
    few += [("5 groups of 100", Scene("groups", Binary(0.2), groups=Groups(100)), 500)]
    tasks = [(title, name, scene, poor, rows, most // 2) for title, scene, rows in few for name in CLASSES]
    yield "### Too small for an interval: percent of the verdicts on an equal and on a useless candidate\n"
    head = ["holdout", "metric", "equal: worse", "equal: better", "useless: worse", "useless: better"]
    yield table(head, list(pool.map(guarded, tasks)))


def margins(pool: ProcessPoolExecutor, most: int) -> Iterator[str]:
    """A candidate that is worse by exactly one margin is "not worse" 2.5 % of the time."""
    scenes = (ALIKE, NAMED[False, "near perfect"], GROUPS, NUMBER, NUMBER_GROUPS)
    tasks = [
        Look(scene, name, rows, repeats(rows, most), ("all",), loss=1.0)
        for scene in scenes
        for rows in (1000, 5000)
        for name in scene.names
        if (scene.name, name) != ("near perfect", "cost")
    ]
    yield '### Worse by one margin: percent "not worse" (goal 2.5), and with the margin taken for known\n'
    tallies: dict[tuple[str, str, bool], dict[str, str]] = {}
    for task, (found,) in zip(tasks, pool.map(look, tasks), strict=True):
        place = (task.scene.name, f"{task.rows:,}", task.scene.names == CLASSES)
        tallies.setdefault(place, {})[task.name] = f"{marked(found[3], 0, 3, task.repeats)}, {found[4]:.1f}"
    for names in (CLASSES, NUMBERS):
        rows = [
            [*place[:2], *(cells.get(n, "-") for n in names)]
            for place, cells in tallies.items()
            if place[2] == (names == CLASSES)
        ]
        yield table(["models", "rows", *names], rows)


def seconds(action: Callable[[], Any], times: int = 3) -> float:
    """CPU seconds, the least of a few runs."""
    spent = []
    for _ in range(times):
        start = time.process_time()
        action()
        spent.append(time.process_time() - start)
    return min(spent)


def cpu() -> Iterator[str]:
    """CPU seconds at 100,000 rows."""
    rows, body, rng = 100_000, [], np.random.default_rng(0)
    three = NAMED[False, "3 classes"]
    for kind, scene in (("2 classes", GROUPS), ("3 classes", three), ("regression", NUMBER_GROUPS)):
        one = scene.draw(rng, scene.champion, rows)
        labels = labels_of(rng, rows)
        for name in scene.names:
            scored: tuple[Any, ...] = (name, one.truth, one.champion, one.candidate)
            more: dict[str, Any] = {"cost": scene.cost(name)}
            alone = seconds(partial(comparison.compute_difference, *scored, **more))
            team = []
            if one.groups is not None:
                crossed = Clusters((*one.groups.names, "day"), (*one.groups.codes, rng.integers(2000, size=rows)))
                ways = [one.groups, Clusters(("day",), crossed.codes[1:]), crossed]
                team = [seconds(partial(comparison.compute_difference, *scored, **more, groups=way)) for way in ways]
                more["groups"] = one.groups
            cut = seconds(partial(comparison.compare_slices, *scored, labels, **more), 1)
            naive = seconds(partial(comparison.compute_difference, *scored, **more, resamples=10), 1)
            by = [f"{spent:.3f}" for spent in team] or ["-"] * 3
            body.append([kind, name, f"{alone:.3f}", *by, f"{cut:.2f}", f"{naive * 100:.0f}"])
    yield "### CPU seconds at 100,000 rows\n"
    head = ["task", "metric", "by row", "5,000 groups", "2,000 blocks", "both ways", "16 slices"]
    yield table([*head, "bootstrap of 1,000 (from 10)"], body)


PARTS = (equal, worse, grouped, days, sizes, panels, guards, margins, rules, sliced, single)


def main() -> None:
    """Print the tables."""
    names = [part.__name__ for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer holdouts, about a minute")
    parser.add_argument("--only", default="", help=f"some of {', '.join(names)}, cpu, with commas")
    parser.add_argument("--most", type=int, default=2000, help="holdouts up to 1,000 rows; fewer of larger ones")
    chosen = parser.parse_args()
    most = 200 if chosen.quick else chosen.most
    threadpool_limits(1)
    with ProcessPoolExecutor(2, initializer=threadpool_limits, initargs=(1,)) as pool:
        for part in PARTS:
            if not chosen.only or part.__name__ in chosen.only.split(","):
                for text in part(pool, most):
                    print(text, flush=True)
    if not chosen.only or "cpu" in chosen.only.split(","):
        print("\n".join(cpu()), flush=True)
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{most} holdouts up to 1,000 rows, half to 6,000, a quarter above: {spent:.0f} CPU s")


if __name__ == "__main__":
    main()
