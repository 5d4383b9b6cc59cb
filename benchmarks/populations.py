"""Pairs of models whose metrics on the whole population are known, to draw holdouts from.

A binary model sees a normal score for either class; its probability is a logistic curve over that
score, rounded if it is to have ties. A regression model's error is normal noise of its own plus an
error that no model can avoid. So each population metric is an integral, not an estimate.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtr

from modelyard.statistics.clusters import Clusters

Array = npt.NDArray[Any]
Generator = np.random.Generator
COST = np.array([[0.0, 1.0], [5.0, 0.0]])
COST3 = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [4.0, 2.0, 0.0]])


@dataclass(frozen=True)
class Sample:
    """One holdout with the predictions of both models."""

    truth: Array
    champion: Array
    candidate: Array
    groups: Clusters | None = None


@dataclass(frozen=True)
class Drawn:
    """The clusters of a holdout's rows, how much of the noise each kind has in common, and the shares of positives."""

    clusters: Clusters | None = None
    alike: tuple[float, ...] = ()
    firm: float = 0.0
    order: float = 0.0

    def shared(self, rng: Generator, rows: int) -> Array:
        """Standard normal noise, part of which is common to the rows of a cluster."""
        noise: Array = np.sqrt(1 - sum(self.alike)) * rng.normal(size=rows)
        if self.clusters is None:
            return noise
        for codes, alike in zip(self.clusters.codes, self.alike, strict=True):
            common = rng.normal(size=int(codes.max()) + 1)
            if self.order:
                common = correlated(common, self.order)
            noise = noise + np.sqrt(alike) * common[codes]
        return noise

    def shares(self, rng: Generator, share: float) -> float | Array:
        """The share of positive rows, which differs between the clusters of the first kind."""
        if self.clusters is None or not self.firm:
            return share
        codes = self.clusters.codes[0]
        drawn: Array = rng.beta(self.firm * share, self.firm * (1 - share), codes.max() + 1)[codes]
        return drawn


def correlated(noise: Array, order: float) -> Array:
    """An autoregressive series with that correlation from one step to the next, and variance 1."""
    found = noise.copy()
    for step in range(1, len(found)):
        found[step] = order * found[step - 1] + np.sqrt(1 - order**2) * noise[step]
    return found


@dataclass(frozen=True)
class Groups:
    """Rows come in groups: how many in each, how alike they are, how their shares of positives differ.

    `uneven` groups have 1 to 200 rows, equally often of each order of magnitude. With `firm` near 0 a group has one
    class only, with 0 all groups have the same share.
    """

    size: int = 20
    alike: float = 0.3
    firm: float = 6.0
    uneven: bool = False

    def draw(self, rng: Generator, rows: int) -> Drawn:
        """Give a group to every row; group sizes differ by a factor of three or so."""
        if self.uneven:
            sizes = np.exp(rng.uniform(0, np.log(200), rows)).astype(int)
            codes = np.repeat(np.arange(rows), sizes)[:rows]
            return Drawn(Clusters.of({"group": codes}), (self.alike,), self.firm)
        weight = rng.lognormal(sigma=0.5, size=rows // self.size)
        filled = np.arange(len(weight))  # every group has a row
        drawn = rng.choice(len(weight), rows - len(weight), p=weight / weight.sum())
        return Drawn(Clusters.of({"group": np.concatenate([filled, drawn])}), (self.alike,), self.firm)


@dataclass(frozen=True)
class Panel:
    """One row of each series in each period; the number of rows decides that of series."""

    periods: int
    alike: tuple[float, float] = (0.2, 0.2)
    order: float = 0.0  # the correlation of a period's effect with that of the next

    def draw(self, rng: Generator, rows: int) -> Drawn:
        """Give every row its series and its period."""
        del rng
        series, period = np.divmod(np.arange(rows), self.periods)
        return Drawn(Clusters.of({"series": series, "period": period}), self.alike, 0.0, self.order)


Layout = Groups | Panel | None


def draw_layout(rng: Generator, rows: int, groups: Layout) -> Drawn:
    """The clusters of a holdout's rows; lone rows without groups."""
    return groups.draw(rng, rows) if groups else Drawn()


@dataclass(frozen=True)
class Binary:
    """Score of a row: normal around 0 or `lift`; `width` is its spread in the positive class."""

    share: float = 0.3
    lift: float = 1.5
    width: float = 1.0
    tilt: float = 1.0
    step: float = 0.0
    hard: bool = False  # rounds down to 0 and up to 1, as forests do

    def curve(self, score: Array) -> Array:
        """The probability that the model gives, before it is rounded."""
        odds = logit(self.share) + self.lift * score - self.lift**2 / 2
        return np.asarray(expit(self.tilt * odds))

    def chance(self, score: Array) -> Array:
        """The probability that the model gives."""
        chance = self.curve(score)
        if not self.step:
            return chance
        least = 0.0 if self.hard else self.step / 4
        return np.clip(np.round(chance / self.step) * self.step, least, 1 - least)

    def predict(self, truth: Array, noise: Array) -> Array:
        """Probabilities of both classes for rows with that noise."""
        chance = self.chance(truth * self.lift + noise * np.where(truth == 1, self.width, 1.0))
        return np.column_stack([1 - chance, chance])

    def cells(self) -> tuple[Array, Array, Array]:
        """Probabilities that the model gives, in rising order, with their mass in either class."""
        if self.step:
            cuts = logit(np.arange(self.step / 2, 1, self.step)) / self.tilt
            edges = (cuts - logit(self.share) + self.lift**2 / 2) / self.lift
            edges = np.concatenate([[-40], edges, [40]])
            chance = self.chance((np.clip(edges, -39, 39)[1:] + np.clip(edges, -39, 39)[:-1]) / 2)
        else:
            edges = np.linspace(-9, self.lift + 9 * self.width, 20001)
            chance = self.chance((edges[1:] + edges[:-1]) / 2)
        return chance, np.diff(ndtr(edges)), np.diff(ndtr((edges - self.lift) / self.width))

    def rates(self, threshold: float) -> tuple[float, float]:
        """The share of positive and of negative rows above a threshold."""
        if self.step:
            threshold = (np.floor(threshold / self.step + 1e-9) + 0.5) * self.step
        edge = (logit(threshold) / self.tilt - logit(self.share) + self.lift**2 / 2) / self.lift
        return float(1 - ndtr((edge - self.lift) / self.width)), float(1 - ndtr(edge))

    def metric(self, name: str) -> float:
        """The metric on the population."""
        if name in ("roc_auc", "average_precision", "log_loss", "brier"):
            return self._ranking(name)
        hit, false = self.rates(1 / 6 if name == "cost" else 0.5)
        share = self.share
        values = {
            "accuracy": share * hit + (1 - share) * (1 - false),
            "balanced_accuracy": (hit + 1 - false) / 2,
            "f1": 2 * share * hit / (share * hit + (1 - share) * false + share),
            "cost": share * (1 - hit) * COST[1, 0] + (1 - share) * false * COST[0, 1],
        }
        return float(values[name])

    def _ranking(self, name: str) -> float:
        chance, zeros, ones = self.cells()
        share = self.share
        if name == "roc_auc":
            return float(ones @ (np.cumsum(zeros) - zeros / 2))
        if name == "average_precision":
            hits = share * np.cumsum(ones[::-1])[::-1]
            false = (1 - share) * np.cumsum(zeros[::-1])[::-1]
            return float(ones @ (hits / np.maximum(hits + false, 1e-300)))
        if name == "log_loss":
            tiny = np.spacing(1.0)
            chance = np.clip(chance, tiny, 1 - tiny)
            return float(-share * ones @ np.log(chance) - (1 - share) * zeros @ np.log1p(-chance))
        return float(share * ones @ (1 - chance) ** 2 + (1 - share) * zeros @ chance**2)

    def draw(self, other: "Binary", rng: Generator, rows: int, groups: Layout, alike: float) -> Sample:
        """A holdout: both models see the same rows, with noise that is partly the same."""
        team = draw_layout(rng, rows, groups)
        truth = (rng.random(rows) < team.shares(rng, self.share)).astype(int)
        noise, own = team.shared(rng, rows), team.shared(rng, rows)
        mixed = alike * noise + np.sqrt(1 - alike**2) * own
        return Sample(truth, self.predict(truth, noise), other.predict(truth, mixed), team.clusters)


@dataclass(frozen=True)
class Regression:
    """Truth = signal + noise with heavy tails; the model misses the signal by `bias` and `miss`."""

    lift: float = 0.6  # the standard deviation of the model's own error
    bias: float = 0.0
    signal: float = 1.5

    SCALES = ((0.9, 0.75), (0.1, 2.2226))  # a mixture of two normals with variance 1, kurtosis 8

    def metric(self, name: str) -> float:
        """The metric on the population."""
        square = 1 + self.lift**2 + self.bias**2
        if name == "rmse":
            return float(np.sqrt(square))
        if name == "r2":
            return float(1 - square / (self.signal**2 + 1))
        spread = [(p, np.sqrt(s**2 + self.lift**2)) for p, s in self.SCALES]
        return float(sum(p * self._folded(s) for p, s in spread))

    def _folded(self, spread: float) -> float:
        ratio = self.bias / spread
        peak = spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2)
        return float(peak + self.bias * (1 - 2 * ndtr(-ratio)))

    def draw(self, other: "Regression", rng: Generator, rows: int, groups: Layout, alike: float) -> Sample:
        """A holdout: the same rows for both models, whose own errors are partly the same."""
        team = draw_layout(rng, rows, groups)
        signal = self.signal * team.shared(rng, rows)
        heavy = rng.random(rows) < self.SCALES[1][0]
        truth = signal + rng.normal(size=rows) * np.where(heavy, *(s for _, s in self.SCALES[::-1]))
        noise, own = team.shared(rng, rows), team.shared(rng, rows)
        mixed = alike * noise + np.sqrt(1 - alike**2) * own
        old, new = (m.bias + m.lift * e for m, e in ((self, noise), (other, mixed)))
        return Sample(truth, signal + old, signal + new, team.clusters)


@dataclass(frozen=True)
class Skewed(Regression):
    """Like prices: truth and predictions are log-normal, and a few rows make most of the error."""

    def draw(self, other: Regression, rng: Generator, rows: int, groups: Layout, alike: float) -> Sample:
        """A holdout of lone rows; only for equal models, since nothing here is an integral."""
        del groups
        signal, blur, noise, own = rng.normal(size=(4, rows))
        mixed = alike * noise + np.sqrt(1 - alike**2) * own
        old, new = (np.exp(signal + m.lift / 2 * e) for m, e in ((self, noise), (other, mixed)))
        return Sample(np.exp(signal + blur / 2), old, new)


@dataclass(frozen=True)
class Multi:
    """Three classes: a normal score for each, raised by `lift` for the true one."""

    lift: float = 1.5
    shares: tuple[float, ...] = (0.5, 0.3, 0.2)

    def predict(self, truth: Array, noise: Array) -> Array:
        """Calibrated probabilities."""
        raised = noise.copy()
        raised[np.arange(len(truth)), truth] += self.lift
        chance = np.array(self.shares) * np.exp(self.lift * raised)
        return np.asarray(chance / chance.sum(axis=1, keepdims=True))

    def draw(self, other: "Multi", rng: Generator, rows: int, groups: Layout, alike: float) -> Sample:
        """A holdout of lone rows."""
        del groups
        truth = rng.choice(len(self.shares), rows, p=self.shares)
        noise, own = rng.normal(size=(2, rows, len(self.shares)))
        mixed = alike * noise + np.sqrt(1 - alike**2) * own
        return Sample(truth, self.predict(truth, noise), other.predict(truth, mixed))


Model = Any  # Binary | Regression | Multi


def partner(champion: Model, target: float, metric: Callable[[Model], float]) -> Model:
    """A model like the champion but with that metric on the population: another `lift` does it."""

    def gap(lift: float) -> float:
        return metric(replace(champion, lift=lift)) - target

    lifts = np.linspace(max(0.05, champion.lift - 0.9), champion.lift + 0.9, 25)
    gaps = np.array([gap(lift) for lift in lifts])
    crossings = np.flatnonzero(gaps[:-1] * gaps[1:] <= 0)
    if not len(crossings):
        raise ValueError(f"no partner of {champion} with {target}")
    nearest = crossings[np.argmin(abs(lifts[crossings] - champion.lift))]
    return replace(champion, lift=brentq(gap, lifts[nearest], lifts[nearest + 1], xtol=1e-10))
