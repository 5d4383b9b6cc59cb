"""Monitoring under simulation: how often it cries wolf in a year, and how soon it finds what happened.

`python -m benchmarks.monitoring` prints the tables of docs/monitoring.md, or those that are named: wolf, found, losses,
season, short, spread, labels, clock, race, bulk. Each takes some minutes on two cores. The statistics under test are
the library's own, the rows are drawn from all flights of 2013, and the streams of season to clock by
`benchmarks.streams`. `race` makes an environment for Evidently and compares CPU seconds; `bulk` reads up to 100 million
logged rows, which takes 5 GB of the disk under build/.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelyard.core import paths
from modelyard.core.files import sha256
from modelyard.core.params import MonitorParams, RetrainParams, load_params
from modelyard.monitoring import evidently
from modelyard.statistics import drift
from modelyard.statistics.metrics import get_metric

from . import streams
from .sample import landed, tables
from .support import ROOT, clean_environment, measure_cost, settle

Array = npt.NDArray[Any]
RULES = MonitorParams()
WINDOWS, SAMPLE, REFERENCE = 52, RULES.sample, 20_000
SIZES = (1_000, 50_000, 500_000)
RUNS = int(os.environ.get("RUNS", "400"))
MILLIONS = tuple(map(int, os.environ.get("MILLIONS", "1,10,100").split(",")))  # of logged rows, for `bulk`
CARRIER, HOUR = "carrier", "scheduled_hour"
RACE = ROOT / "build/race"
EVIDENTLY = RACE / "evidently/bin/python"
MONITOR = (sys.executable, "-m", "modelyard", "monitor", "--until", "2024-06-03")


@cache
def population() -> pd.DataFrame:
    """Every flight as the model sees it, with a score that has the model's own power (AUC 0.71)."""
    table = landed(*tables())
    moment = table.pop("scheduled").dt
    table[HOUR] = moment.hour + moment.minute / 60
    table["scheduled_weekday"] = moment.day_of_week.astype(float)
    late, rng = table.pop("late").to_numpy(), np.random.default_rng(0)
    noise = rng.normal(0.78 * late, 1.0)
    return table.drop(columns="flight").assign(score=1 / (1 + np.exp(1.8 - noise)), truth=late)


def columns() -> list[str]:
    """What is watched for drift."""
    return [name for name in population() if name != "truth"]


@dataclass
class Watch:
    """One model's reference, and its columns' limits for windows of some rows, without any floor."""

    rows: int
    rng: np.random.Generator
    yards: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    codes: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = population()
        drawn = self.rng.integers(len(whole), size=REFERENCE)
        self.size = min(self.rows, SAMPLE)
        chance = drift.compute_alarm_chance(RULES.false_alarms / 2, len(columns()), WINDOWS, *RULES.persist)
        for name in columns():
            yard = drift.ReferenceDistribution(whole[name].iloc[drawn], RULES.measure)
            self.yards[name], self.limits[name] = yard, yard.compute_limit(self.size, chance, 0.0)
            self.codes[name] = yard.assign_bins(whole[name])

    def values(self, rows: Array) -> dict[str, float]:
        """Each column's change in a window of these rows of the population."""
        counts = {name: yard.count_bins(self.codes[name][rows]) for name, yard in self.yards.items()}
        measure = drift.BINNED_MEASURES[RULES.measure]
        return {name: float(measure(self.yards[name].bin_counts, counts[name])) for name in counts}

    def draw(self) -> Array:
        """A window in which nothing happened: the sample of fixed size that monitoring takes of it."""
        return self.rng.integers(len(population()), size=self.size)

    def hits(self, name: str, values: Sequence[float], floor: float = RULES.floor) -> bool:
        """Whether at any time so many windows of a column were beyond its limit."""
        return alarms([value > max(self.limits[name], floor) for value in values])


def alarms(flags: Sequence[bool]) -> bool:
    """Whether at any time k of n windows were flagged."""
    return any(drift.k_of_n(flags[: i + 1], *RULES.persist) for i in range(len(flags)))


def quiet_year(seed: int, rows: int) -> list[bool]:
    """Whether any column cried wolf in a year without change: as shipped, and without the floor."""
    watch = Watch(rows, np.random.default_rng([seed, rows]))
    year = [watch.values(watch.draw()) for _ in range(WINDOWS)]
    series = {name: [week[name] for week in year] for name in columns()}
    return [any(watch.hits(n, series[n], floor) for n in series) for floor in (RULES.floor, 0.0)]


def kolmogorov(seed: int, rows: int, reference: int = 300_000) -> bool:
    """Whether a KS test at 5 % alarms in a single window that moved by 0.02 deviations."""
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(seed)
    return bool(ks_2samp(rng.normal(0, 1, reference), rng.normal(0.02, 1, rows)).pvalue < 0.05)


@cache
def tilted(name: str, size: float) -> Array:
    """A weight for each row of the population with which the column has that PSI against it."""
    yard = drift.ReferenceDistribution(population()[name], "psi")
    codes, counts = yard.bin_codes, yard.bin_counts
    low, high = 0.0, 5.0
    for _ in range(40):
        middle = (low + high) / 2
        weight = np.exp(middle * np.arange(len(counts)) / len(counts))[codes]
        moved = np.bincount(codes, weight / weight.mean(), minlength=len(counts))
        low, high = (middle, high) if drift.compute_psi(counts, moved) < size else (low, middle)
    return np.cumsum(weight / weight.sum())


def changed(seed: int, rows: int) -> list[bool]:
    """Whether two windows are enough to find PSI 0.2 in the hour, in the carrier, and 5 % of a new carrier."""
    watch, found = Watch(rows, np.random.default_rng([seed, rows])), []
    for name in (HOUR, CARRIER):
        drawn = [np.searchsorted(tilted(name, 0.2), watch.rng.random(watch.size)) for _ in range(2)]
        found.append(watch.hits(name, [watch.values(rows)[name] for rows in drawn]))
    yard, values = watch.yards[CARRIER], []
    for _ in range(2):
        window = population()[CARRIER].iloc[watch.draw()].astype(object)
        window[watch.rng.random(len(window)) < 0.05] = "ZZ"
        values.append(yard.compute_distance(window))
    return [*found, watch.hits(CARRIER, values)]


def auc(rows: Array, rng: np.random.Generator, lost: float = 0.0) -> tuple[float, float]:
    """The area under the curve on rows, and its standard error; a part is lost by shuffling labels."""
    scores, truth = (population()[name].to_numpy()[rows] for name in ("score", "truth"))
    if lost:
        some = rng.random(len(rows)) < lost / (whole_auc() - 0.5)
        truth = truth.copy()
        truth[some] = rng.permutation(truth[some])
    found = get_metric("roc_auc").compute_influence(truth, scores)
    return found.value, float(found.influence.std() / np.sqrt(len(rows)))


@cache
def whole_auc() -> float:
    """The score's area under the curve on every row."""
    return float(get_metric("roc_auc").compute_value(*(population()[n].to_numpy() for n in ("truth", "score"))))


def performance(seed: int, rows: int, holdout: int) -> list[bool]:
    """Whether a quiet year has an alarm, and whether a loss of 0.05 is found in two windows, in four."""
    rng, whole = np.random.default_rng([seed, rows, holdout]), len(population())
    base, error = auc(rng.integers(whole, size=holdout), rng)

    def flags(windows: int, lost: float) -> list[bool]:
        found = [auc(rng.integers(whole, size=rows), rng, lost) for _ in range(windows)]
        rules = (WINDOWS, *RULES.persist, RULES.false_alarms / 2)
        margin = get_metric("roc_auc").margin
        return [base - v > max(drift.compute_loss_limit(error, e, *rules), margin) for v, e in found]

    worse = flags(4, 0.05)
    return [alarms(flags(WINDOWS, 0.0)), alarms(worse[:2]), alarms(worse)]


def shares(trial: Callable[[int], Any], pool: ProcessPoolExecutor, runs: int = RUNS) -> list[str]:
    """How often each answer of a trial is yes, in percent, with its standard error."""
    found = np.array(list(pool.map(trial, range(runs), chunksize=8))).reshape(runs, -1)
    errors = found.std(axis=0) / np.sqrt(runs)
    return [f"{100 * m:.1f} ± {100 * e:.1f}" for m, e in zip(found.mean(axis=0), errors, strict=True)]


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def wolf(pool: ProcessPoolExecutor) -> str:
    """False alarms a year."""
    head = ["rows a window", "as shipped", "without the floor", "one KS test, moved by 0.02 σ"]
    trials = [(partial(quiet_year, rows=n), partial(kolmogorov, rows=n)) for n in SIZES]
    return table(
        head,
        [[f"{n:,}", *shares(a, pool), *shares(b, pool, 100)] for n, (a, b) in zip(SIZES, trials, strict=True)],
    )


def found(pool: ProcessPoolExecutor) -> str:
    """Changes found within two windows."""
    head = ["rows a window", "PSI 0.2 in the hour", "PSI 0.2 in the carrier", "5 % new carrier"]
    return table(head, [[f"{n:,}", *shares(partial(changed, rows=n), pool)] for n in (300, *SIZES)])


def losses(pool: ProcessPoolExecutor) -> str:
    """Losses of AUC found, and imagined."""
    head = [
        "holdout",
        "labelled rows a window",
        "alarms in a quiet year",
        "0.05 lost, found in two windows",
        "in four",
    ]
    pairs = [(h, n) for h in (4_000, 16_000, 60_000) for n in (1_000, 2_000, 5_000, 10_000)]
    return table(
        head,
        [[f"{h:,}", f"{n:,}", *shares(partial(performance, rows=n, holdout=h), pool)] for h, n in pairs],
    )


def season(pool: ProcessPoolExecutor) -> str:
    """Weeks with an alarm in a year that is like the history."""
    head = ["weeks of history", "before", "now", "now, moved by 4"]
    rows = []
    for weeks in (26, 52, 125, 260):
        trial = partial(streams.watch_season, weeks=weeks)
        found = np.array(list(pool.map(trial, range(RUNS // 10))))
        rows.append([weeks, *(f"{number:.1f}" for number in found.mean(axis=0))])
    return table(head, rows)


def short(pool: ProcessPoolExecutor) -> str:
    """Alarms of the scores in a year that is like a short holdout."""
    head = ["weeks of the holdout", "quiet years with an alarm, before", "now"]
    head += ["moved by 1 deviation, found in two windows, before", "now"]
    trials = {weeks: partial(streams.watch_short_holdout, weeks=weeks) for weeks in (2, 4, 6, 8, 12)}
    return table(head, [[weeks, *shares(trial, pool)] for weeks, trial in trials.items()])


def spread(pool: ProcessPoolExecutor) -> str:
    """Alarms where the true AUC varies from week to week."""
    head = ["weekly sd of the AUC", "weeks of the holdout", "quiet years with an alarm, before", "now"]
    head += ["0.05 lost, found in two windows", "in four"]
    pairs = [(sd, weeks) for sd in (0.0, 0.01, 0.02) for weeks in (8, 12, 26)]
    trials = [partial(streams.watch_spread, weeks=weeks, spread=sd) for sd, weeks in pairs]
    return table(head, [[*pair, *shares(trial, pool)] for pair, trial in zip(pairs, trials, strict=True)])


def labels(pool: ProcessPoolExecutor) -> str:
    """Alarms where labels come late, in any order or the positive ones first."""
    head = ["metric", "rows a window", "labels", "quiet years with an alarm, before", "now"]
    head += ["guesses, found in two windows, before", "now"]
    rows = []
    for metric in ("log_loss", "roc_auc"):
        for size in (1_000, 5_000):
            for order in ("at random", "positives first"):
                trial = partial(streams.watch_labels, metric=metric, rows=size, positives_first=order != "at random")
                rows.append([metric, f"{size:,}", order, *shares(trial, pool, RUNS // 4)])
    return table(head, rows)


def clock(_: ProcessPoolExecutor) -> str:
    """Trainings in 52 weeks that all have a reason."""
    rows = []
    for cooldown in ("7d", "6d"):
        found = [
            np.mean([streams.count_weekly_trainings(seed, cooldown, budget) for seed in range(100)])
            for budget in (RetrainParams().budget, 99)
        ]
        rows.append([cooldown, *(f"{number:.0f}" for number in found)])
    return table(["cool-down", "trainings", "with any budget"], rows)


def measure_seconds(*command: str | Path, folder: Path) -> float:
    """Return the CPU seconds of a command, the best of three."""
    words = [*map(str, command)]
    return min(measure_cost(words, folder, clean_environment()).cpu for _ in range(3))


def write_project(folder: Path) -> None:
    """A project folder with a model of 300,000 rows, and a week's log of 50,000 predictions."""
    from .year import flights  # with their raw columns

    shutil.rmtree(folder, ignore_errors=True)
    for name in ("data", "models", "reports", "logs"):
        (folder / name).mkdir(parents=True)
    rows = flights().dropna(subset="late").sample(350_000, replace=True, random_state=0)
    score = np.random.default_rng(0).beta(2, 8, len(rows))
    said = pd.DataFrame({"prediction": 0, "p_0": 1 - score, "p_1": score})
    features = load_params(settle(folder) / "params.yaml").data.features
    past, current = rows.iloc[:300_000], rows[features].iloc[300_000:].reset_index(drop=True)
    (folder / "models/model.skops").write_bytes(b"a model")
    past.to_parquet(folder / paths.TRAIN_PARQUET)
    past.tail(60_000).to_parquet(folder / paths.HOLDOUT_PARQUET)
    said.head(60_000).assign(truth=past["late"].tail(60_000).to_numpy()).to_parquet(folder / paths.PREDICTIONS_PARQUET)
    past[features].to_parquet(folder / "reference.parquet")
    current.to_parquet(folder / "current.parquet")
    about = pd.DataFrame({"id": np.arange(50_000).astype(str), "time": "2024-05-30T12:00:00Z"})
    about["model"] = sha256(folder / paths.MODEL_FILE)
    logged = pd.concat([about, current, said.tail(50_000).reset_index(drop=True)], axis=1)
    logged.to_parquet(folder / "logs/predictions-1.parquet")


def race(_: ProcessPoolExecutor) -> str:
    """CPU seconds for 50,000 current against 300,000 reference rows, imports included."""
    if not EVIDENTLY.exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, EVIDENTLY.parents[1]], check=True)
        install = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", EVIDENTLY]
        subprocess.run([*install, *evidently.REQUIREMENTS], check=True)
    project = RACE / "project"
    write_project(project)
    files = ("reference.parquet", "current.parquet", "evidently.html")
    ours = measure_seconds(*MONITOR, folder=project)
    theirs = measure_seconds(EVIDENTLY, "-c", evidently.REPORT_SCRIPT, *files, folder=project)
    rows = [
        ["make monitor", f"{ours:.2f}", f"{100 * ours / theirs:.1f} %"],
        ["Evidently", f"{theirs:.2f}", "100 %"],
    ]
    return table(["", "CPU seconds", "of Evidently's"], rows)


def bulk(_: ProcessPoolExecutor) -> str:
    """Seconds and peak memory of one run over logs of up to 100 million rows, in files of a million."""
    project = RACE / "project"
    write_project(project)
    whole = pd.concat([pd.read_parquet(project / "logs/predictions-1.parquet")] * 20)
    (project / "logs/predictions-1.parquet").unlink()
    rows, files = [], 0
    for millions in MILLIONS:
        for file in range(files, millions):
            whole["id"] = np.char.add(f"{file}-", np.arange(len(whole)).astype(str))
            whole.to_parquet(project / f"logs/predictions-{file}.parquet")
        files = millions
        took = measure_cost(MONITOR, project, clean_environment())
        rows.append([f"{millions},000,000", *(f"{cell:,.0f}" for cell in took)])
    return table(["logged rows", "seconds", "CPU seconds", "peak MB"], rows)


def main() -> None:
    """Print the tables that are named, or all."""
    parts = {"wolf": wolf, "found": found, "losses": losses, "season": season, "short": short}
    parts |= {"spread": spread, "labels": labels, "clock": clock, "race": race, "bulk": bulk}
    for metric in ("roc_auc", "log_loss"):
        streams.get_params(metric)  # written once, before many processes read it
    start = time.time()
    with ProcessPoolExecutor(2) as pool:
        for name in [name for name in parts if name in sys.argv[1:]] or parts:
            print(f"\n{name} ({RUNS} runs, percent)\n\n{parts[name](pool)}", flush=True)
    print(f"\n{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
