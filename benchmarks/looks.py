"""Many looks at one holdout under simulation: how often chance alone is called better, lifts a metric, or erodes it.

`python -m benchmarks.looks` prints the tables of the section "Many looks" of docs/gate-measured.md; `--quick` takes a
tenth of the sequences. The statistics and the rules under test are the library's own.
"""

import argparse
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit
from threadpoolctl import threadpool_limits

from benchmarks.gate import table
from benchmarks.populations import Array, Binary, Generator, partner
from modelyard.gate.erosion import build_drop_result, compute_choice_allowance
from modelyard.gate.looks import compute_ladder_step, require_ladder_step
from modelyard.statistics import comparison
from modelyard.statistics.comparison import Difference

CHAMPION = Binary(0.2)
ALIKE = 0.9  # correlation of the noise of two trainings, as in benchmarks/gate.py
DROP = 2.0  # gate.drop
MARGIN = 0.01  # of AUC
LOOKS = 10
USELESS = 60
STEPS = 8


@dataclass
class Holdout:
    """The truth of some rows, and the noise of the first model on them."""

    truth: Array
    noise: Array

    @classmethod
    def draw(cls, rng: Generator, rows: int) -> "Holdout":
        """Draw the rows."""
        return cls((rng.random(rows) < CHAMPION.share).astype(int), rng.normal(size=rows))

    def score(self, noise: Array, model: Binary = CHAMPION) -> Array:
        """The probabilities that a model with this noise gives."""
        return model.predict(self.truth, noise)

    def compare(self, metric: str, champion: Array, candidate: Array) -> Difference:
        """The paired difference of two models."""
        return comparison.compute_difference(metric, self.truth, champion, candidate)


def vary(rng: Generator, noise: Array, shared: Array | None = None, share: float = 0.0) -> Array:
    """The noise of another training: partly that of the model it varies, partly common to all variants."""
    own = rng.normal(size=len(noise))
    if shared is not None:
        own = np.sqrt(share) * shared + np.sqrt(1 - share) * own
    mixed: Array = ALIKE * noise + np.sqrt(1 - ALIKE**2) * own
    return mixed


def get_word(found: Difference, margin: float) -> str:
    """The verdict of one look; the rarest class has rows enough in every holdout here."""
    return comparison.decide_verdict(found, margin, 1000)


def exceeds(found: Difference, alpha: float) -> bool:
    """Whether the gain is shown at a one-sided level."""
    return found.difference > stdtrit(found.degrees_of_freedom, 1 - alpha) * found.error


def apply_rules(found: Difference, margin: float, count: int, best: float) -> tuple[bool, ...]:
    """Whether each rule calls a candidate better; `best` is the largest gain of the looks before."""
    word = get_word(found, margin)
    return (
        word == "better",
        word == "better" and found.difference > best + found.error,
        exceeds(found, 0.025 / count),
        require_ladder_step(word, found, count) == "better",
    )


def submit(task: tuple[str, int, float, int]) -> list[str]:
    """Ten submissions that equal the champion, then one that is better by two margins: how often each rule agrees."""
    metric, rows, share, repeats = task
    rng = np.random.default_rng([rows, int(10 * share)])
    value = CHAMPION.metric(metric)
    margin = comparison.compute_margin(metric, value)
    gain = 2 * margin if metric == "roc_auc" else -2 * margin
    good = partner(CHAMPION, value + gain, lambda model: model.metric(metric))
    false, true = [], []
    for _ in range(repeats):
        holdout = Holdout.draw(rng, rows)
        champion, shared = holdout.score(holdout.noise), rng.normal(size=rows)
        calls, best = [], 0.0
        for count in range(1, LOOKS + 1):
            candidate = holdout.score(vary(rng, holdout.noise, shared, share))
            found = holdout.compare(metric, champion, candidate)
            calls.append(apply_rules(found, margin, count, best))
            best = max(best, found.difference)
        false.append(np.any(calls, axis=0))
        found = holdout.compare(metric, champion, holdout.score(vary(rng, holdout.noise), good))
        true.append(apply_rules(found, margin, LOOKS + 1, best))
    cells = [f"{100 * share:.1f}" for share in np.mean(false, axis=0)]
    return [metric, f"{rows:,}", f"{share:g}", *cells, *(f"{100 * share:.0f}" for share in np.mean(true, axis=0))]


def climb(task: tuple[int, str, int]) -> list[str]:
    """Sixty useless changes, each of the model that was merged last: what the holdout says that they gained.

    All models are equal on the population, so that everything gained is chance.
    """
    rows, policy, repeats = task
    rng = np.random.default_rng(rows)
    lifts, merges, named = [], [], []
    for _ in range(repeats):
        holdout = Holdout.draw(rng, rows)
        tip = holdout.noise
        first = holdout.score(tip)
        merged = 0
        for count in range(1, USELESS + 1):
            noise = vary(rng, tip)
            found = holdout.compare("roc_auc", holdout.score(tip), holdout.score(noise))
            word = get_word(found, 0.01)
            if policy == "is called better, with the step":
                word = require_ladder_step(word, found, count)
            if word == "better" or (policy == "looks higher" and found.difference > 0):
                tip, merged = noise, merged + 1
        lifts.append(holdout.compare("roc_auc", first, holdout.score(tip)).difference)
        merges.append(merged)
        named.append(compute_ladder_step(found.error, USELESS))
    return [f"{rows:,}", policy, f"{np.mean(merges):.2f}", f"{np.mean(lifts):+.4f}", f"{np.mean(named):.4f}"]


def erode(task: tuple[int, float, int]) -> list[str]:
    """Eight changes that each lose a little and are each compared with the one before: who notices the sum?"""
    rows, loss, repeats = task
    rng = np.random.default_rng([rows, int(1000 * loss)])
    value = CHAMPION.metric("roc_auc")
    models = [CHAMPION] * STEPS
    if loss:
        targets = [value - step * loss * MARGIN for step in range(1, STEPS + 1)]
        models = [partner(CHAMPION, target, lambda model: model.metric("roc_auc")) for target in targets]
    stops = np.array([follow(Holdout.draw(rng, rows), models, rng) for _ in range(repeats)])
    shares = [f"{share:.1f}" for share in 100 * np.mean(stops <= STEPS, axis=0)]
    return [f"{rows:,}", f"{STEPS * loss:g}", *shares, f"{loss * np.mean(stops[:, 1] - 1):.1f}"]


def follow(holdout: Holdout, models: list[Binary], rng: Generator) -> tuple[int, int, int]:
    """The step at which one sequence of changes is stopped: by *worse* alone, with `drop`, without its allowance."""
    noise = holdout.noise
    history = [holdout.score(noise)]
    values = [0.0]
    stops = [STEPS + 1] * 3
    for step, model in enumerate(models, 1):
        noise = vary(rng, noise)
        candidate = holdout.score(noise, model)
        is_worse = get_word(holdout.compare("roc_auc", history[-1], candidate), MARGIN) == "worse"
        found = holdout.compare("roc_auc", history[int(np.argmax(values))], candidate)
        allowance = compute_choice_allowance(found, len(history))
        is_lost = found.difference < -MARGIN
        drops = [
            is_lost and not build_drop_result(found, -DROP * MARGIN, "", wider)["passed"] for wider in (allowance, 0)
        ]
        for place, is_stopped in enumerate((is_worse, is_worse or drops[0], is_worse or drops[1])):
            if is_stopped:
                stops[place] = min(stops[place], step)
        history.append(candidate)
        values.append(holdout.compare("roc_auc", history[0], candidate).difference)
    return stops[0], stops[1], stops[2]


def ten(pool: ProcessPoolExecutor, repeats: int) -> Iterator[str]:
    """Ten looks at one holdout."""
    sizes = (1000, 5000)
    tasks = [(name, rows, share, repeats) for name in ("roc_auc", "log_loss") for rows in sizes for share in (0.0, 0.8)]
    yield "### Ten looks: percent of the sequences in which an equal model is called better\n"
    names = ("interval alone", "Ladder, one error", "α / k", "step √(2 ln k)")
    head = ["metric", "rows", "in common", *names, *(f"found: {name}" for name in names)]
    yield table(head, list(pool.map(submit, tasks)))


def sixty(pool: ProcessPoolExecutor, repeats: int) -> Iterator[str]:
    """Sixty useless changes, a tenth of the sequences."""
    yield "### Sixty useless changes: what the holdout says was gained\n"
    policies = ("looks higher", "is called better", "is called better, with the step")
    tasks = [(rows, policy, repeats // 10) for rows in (1000, 5000) for policy in policies]
    head = ["rows", "merged where it", "merged", "AUC gained on the holdout", "chance named in the report"]
    yield table(head, list(pool.map(climb, tasks)))


def eight(pool: ProcessPoolExecutor, repeats: int) -> Iterator[str]:
    """Eight changes that each lose a little, half of the sequences."""
    yield "### Eight changes that each lose a little: percent of the sequences that are stopped\n"
    tasks = [(rows, loss, repeats // 2) for rows in (2000, 5000, 20000) for loss in (0.0, 0.425)]
    head = ["rows", "margins lost", "by worse alone", "with drop", "drop without its allowance", "lost before the stop"]
    yield table(head, list(pool.map(erode, tasks)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sequences")
    parser.add_argument("--only", default="", help="ten, sixty or eight")
    chosen = parser.parse_args()
    repeats = 100 if chosen.quick else 1000
    with ProcessPoolExecutor(2, initializer=threadpool_limits, initargs=(1,)) as pool:
        for part in (ten, sixty, eight):
            if chosen.only in ("", part.__name__):
                print("\n".join(part(pool, repeats)), flush=True)
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{repeats:,} sequences of ten looks, a tenth of sixty, half of eight: {spent:.0f} CPU s")


if __name__ == "__main__":
    main()
