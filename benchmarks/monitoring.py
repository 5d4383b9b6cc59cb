"""Monitoring under simulation: how often it cries wolf in a year, and how soon it finds what happened.

`python -m benchmarks.monitoring --quick` takes about a minute, without `--quick` about fifteen on two cores.
It prints the tables of docs/monitoring.md. The statistics under test are the template's own; the rows
are drawn from all flights of 2013.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.sample import landed, tables
from benchmarks.template import load

drift, config, metrics = load("drift"), load("config"), load("metrics")
Array = npt.NDArray[Any]
RULES = config.Monitor()
WINDOWS, SAMPLE, REFERENCE = 52, RULES.sample, 20_000
SIZES = (1_000, 50_000, 500_000)
CARRIER = "carrier"


@cache
def population() -> pd.DataFrame:
    """Every flight as the model sees it, with a score that has the model's own power (AUC 0.71)."""
    table = landed(*tables())
    moment = table.pop("scheduled").dt
    table["scheduled_hour"] = moment.hour + moment.minute / 60
    table["scheduled_weekday"] = moment.day_of_week.astype(float)
    late, rng = table.pop("late").to_numpy(), np.random.default_rng(0)
    noise = rng.normal(0.78 * late, 1.0)
    return table.drop(columns="flight").assign(score=1 / (1 + np.exp(1.8 - noise)), truth=late)


def columns() -> list[str]:
    """What is watched for drift."""
    return [name for name in population() if name != "truth"]


@dataclass
class Watch:
    """One model's reference, its limits for windows of some rows, and what its windows showed."""

    rows: int
    rng: np.random.Generator
    floor: float = RULES.floor
    reference: int = 300_000
    yards: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    codes: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = population()
        drawn = self.rng.integers(len(whole), size=min(self.reference, REFERENCE))
        size = min(self.rows, SAMPLE, len(drawn) // 2)
        chance = drift.chance(RULES.false_alarms / 2, len(columns()), WINDOWS, *RULES.persist)
        for name in columns():
            yard = drift.Yardstick(whole[name].iloc[drawn], RULES.measure)
            self.yards[name] = yard
            self.limits[name] = yard.limit(size, chance, self.floor)
            self.codes[name] = yard.cells.codes(whole[name])
        self.size = size

    def values(self, rows: Array) -> dict[str, float]:
        """Each column's change in a window of these rows of the population."""
        found = {}
        for name, yard in self.yards.items():
            counts = yard.count(self.codes[name][rows])
            found[name] = float(yard.measure(yard.count(yard.codes), counts))
        return found

    def flags(self, rows: Array) -> dict[str, bool]:
        """Which columns are beyond their limits."""
        return {name: value > self.limits[name] for name, value in self.values(rows).items()}

    def draw(self) -> Array:
        """A window in which nothing happened: the sample of fixed size that monitoring takes of it."""
        return self.rng.integers(len(population()), size=self.size)


def alarms(flags: Sequence[bool], k: int, of: int) -> bool:
    """Whether at any time k of n windows were flagged."""
    return any(drift.persists(flags[: i + 1], k, of) for i in range(len(flags)))


def quiet_year(seed: int, rows: int, floor: float, reference: int) -> bool:
    """Whether any column cried wolf in a year without change."""
    watch = Watch(rows, np.random.default_rng(seed), floor, reference)
    year = [watch.flags(watch.draw()) for _ in range(WINDOWS)]
    return any(alarms([week[name] for week in year], *RULES.persist) for name in columns())


def tilted(name: str, size: float) -> Array:
    """A weight for each row of the population with which the column has that PSI against it."""
    cells = drift.cells(population()[name])
    codes = cells.codes(population()[name])
    counts = np.bincount(codes, minlength=len(cells.names))
    low, high = 0.0, 5.0
    for _ in range(40):
        middle = (low + high) / 2
        factor = np.exp(middle * np.arange(len(counts)) / len(counts))
        weight = factor[codes]
        moved = np.bincount(codes, weight / weight.mean(), minlength=len(counts))
        low, high = (middle, high) if drift.psi(counts, moved) < size else (low, middle)
    return np.asarray(weight / weight.sum())


def shifted(seed: int, rows: int, weight: Array, name: str) -> bool:
    """Whether a shift of one column is found in its first two windows."""
    watch = Watch(rows, np.random.default_rng(seed))
    found = [
        watch.flags(watch.rng.choice(len(weight), watch.size, p=weight))[name] for _ in range(2)
    ]
    return bool(drift.persists(found, *RULES.persist))


def newcomer(seed: int, rows: int, share: float = 0.05) -> bool:
    """Whether a value never seen, in some rows of a category, is found in its first two windows."""
    watch = Watch(rows, np.random.default_rng(seed))
    yard, found = watch.yards[CARRIER], []
    for _ in range(2):
        values = population()[CARRIER].iloc[watch.draw()].astype(object)
        values[watch.rng.random(len(values)) < share] = "ZZ"
        found.append(yard.value(values) > watch.limits[CARRIER])
    return bool(drift.persists(found, *RULES.persist))


def auc(rows: Array, rng: np.random.Generator, lost: float = 0.0) -> tuple[float, float]:
    """The area under the curve on rows, and its standard error; a part is lost by shuffling labels."""
    scores, truth = (population()[name].to_numpy()[rows] for name in ("score", "truth"))
    if lost:
        whole = metrics.find("roc_auc").function(
            population()["truth"].to_numpy(), population()["score"].to_numpy()
        )
        some = rng.random(len(rows)) < lost / (whole - 0.5)
        truth = truth.copy()
        truth[some] = rng.permutation(truth[some])
    found = metrics.find("roc_auc").influence(truth, scores)
    return found.value, float(found.pull.std() / np.sqrt(len(rows)))


def performance(seed: int, rows: int, holdout: int, lost: float, windows: int) -> bool:
    """Whether a loss (maybe none) is reported within so many windows of labelled rows."""
    rng, whole = np.random.default_rng(seed), len(population())
    base, error = auc(rng.integers(whole, size=holdout), rng)
    flags = []
    for _ in range(windows):
        value, one = auc(rng.integers(whole, size=rows), rng, lost)
        limit = drift.loss_limit(error, one, WINDOWS, *RULES.persist, RULES.false_alarms / 2)
        flags.append(base - value > max(limit, metrics.find("roc_auc").margin))
    return alarms(flags, *RULES.persist)


def kolmogorov(seed: int, rows: int, reference: int = 300_000) -> bool:
    """Whether KS tests at 5 % (Bonferroni over columns) alarm in a single window that moved by 0.02 deviations."""
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(seed)
    return bool(ks_2samp(rng.normal(0, 1, reference), rng.normal(0.02, 1, rows)).pvalue < 0.05)


def share(trial: Callable[[int], bool], runs: int, pool: ProcessPoolExecutor) -> str:
    """How often a trial says yes, in percent, with its standard error."""
    found = np.array(list(pool.map(trial, range(runs), chunksize=max(1, runs // 16))))
    return f"{100 * found.mean():.1f} ± {100 * found.std() / np.sqrt(runs):.1f}"


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def wolf(runs: int, pool: ProcessPoolExecutor) -> str:
    """False alarms a year."""
    rows = []
    for size in SIZES:
        trials = [
            partial(quiet_year, rows=size, floor=floor, reference=reference)
            for floor, reference in ((RULES.floor, 300_000), (0.0, 300_000), (0.0, 15_000))
        ]
        tests = partial(kolmogorov, rows=size)
        rows.append([f"{size:,}", *(share(t, runs, pool) for t in trials), share(tests, 200, pool)])
    head = ["rows a window", "as shipped", "without the floor", "… and a reference of 15,000 rows"]
    return table([*head, "one KS test, a window moved by 0.02 σ"], rows)


def found(runs: int, pool: ProcessPoolExecutor) -> str:
    """Changes found within two windows."""
    hour, carrier = tilted("scheduled_hour", 0.2), tilted(CARRIER, 0.2)
    rows = []
    for size in (300, *SIZES):
        trials = [
            partial(shifted, rows=size, weight=hour, name="scheduled_hour"),
            partial(shifted, rows=size, weight=carrier, name=CARRIER),
            partial(newcomer, rows=size),
        ]
        rows.append([f"{size:,}", *(share(trial, runs, pool) for trial in trials)])
    return table(
        ["rows a window", "PSI 0.2 in the hour", "PSI 0.2 in the carrier", "5 % new carrier"], rows
    )


def losses(runs: int, pool: ProcessPoolExecutor) -> str:
    """Losses of AUC found, and imagined."""
    rows = []
    for holdout in (4_000, 16_000, 60_000):
        for size in (1_000, 2_000, 5_000, 10_000, 50_000):
            rows.append(
                [
                    f"{holdout:,}",
                    f"{size:,}",
                    share(
                        partial(performance, rows=size, holdout=holdout, lost=0.0, windows=WINDOWS),
                        runs,
                        pool,
                    ),
                    share(
                        partial(performance, rows=size, holdout=holdout, lost=0.05, windows=2),
                        runs,
                        pool,
                    ),
                    share(
                        partial(performance, rows=size, holdout=holdout, lost=0.05, windows=4),
                        runs,
                        pool,
                    ),
                ]
            )
    head = [
        "holdout",
        "labelled rows a window",
        "alarms in a quiet year",
        "loss of 0.05 in two windows",
    ]
    return table([*head, "in four"], rows)


def main() -> None:
    """Print the tables."""
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--quick", action="store_true")
    command.add_argument("--part", choices=["wolf", "found", "losses"])
    choice = command.parse_args()
    runs, start = (40 if choice.quick else 400), time.time()
    population()
    with ProcessPoolExecutor(2) as pool:
        for name, part in {"wolf": wolf, "found": found, "losses": losses}.items():
            if choice.part in (None, name):
                print(f"\n{name} ({runs} runs, percent)\n\n{part(runs, pool)}", flush=True)
    print(f"\n{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
