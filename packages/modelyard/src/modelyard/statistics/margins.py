"""The loss of a metric that does not matter: the gate's margin."""

from dataclasses import dataclass

import numpy as np

from modelyard.core.errors import SettingError
from modelyard.statistics.metrics import METRICS, Metric, get_metric

SKILL_SHARE = 0.1  # a margin is at most this share of what the champion has above chance, or lacks to be perfect


@dataclass(frozen=True)
class Margin:
    """A margin, and how it changes with what it is computed from.

    Parameters
    ----------
    value
        The loss that does not matter, in the metric's unit.
    champion_slope
        Its derivative by the champion's value.
    chance_slope
        Its derivative by the chance level.
    """

    value: float
    champion_slope: float = 0.0
    chance_slope: float = 0.0


def compute_margin(metric: str, champion: float, margin: float | None = None, chance: float = float("nan")) -> float:
    """Return the loss that does not matter, in the metric's unit.

    Parameters
    ----------
    metric
        The name of a metric.
    champion
        The champion's value.
    margin
        `gate.margin` in params.yaml; None takes the metric's own.
    chance
        The metric's chance level; NaN where it is not known.

    Raises
    ------
    SettingError
        The margin is negative.
    """
    return build_margin(get_metric(metric), champion, margin, chance).value


def build_margin(metric: Metric, champion: float, margin: float | None, chance: float) -> Margin:
    """Return the margin of a champion's value; parameters and errors are those of `compute_margin`.

    A margin that somebody chose is taken as it is: points, or a share of the champion's value. The library's own are
    bounded by a tenth of the champion's distance to the chance level, and by a tenth of that to the perfect value.
    """
    share = metric.margin if margin is None else margin
    if share < 0:
        raise SettingError("gate.margin", f"is {share}", "it must be 0 or more")
    chosen = Margin(share)
    if metric.relative:
        chosen = Margin(share * abs(champion), share * float(np.sign(champion)))
    if margin is not None or metric.name not in METRICS:
        return chosen
    bounds = [chosen, *_bound_by_skill(metric, champion, chance)]
    return min(bounds, key=lambda bound: bound.value)


def _bound_by_skill(metric: Metric, champion: float, chance: float) -> list[Margin]:
    """Return the margins that a tenth of the skill, and of what is left to be gained, allow."""
    bounds = []
    sign = 1 if metric.higher_is_better else -1
    skill = sign * (champion - chance)
    if skill <= 0:
        bounds.append(Margin(0.0))
    elif np.isfinite(skill):
        bounds.append(Margin(SKILL_SHARE * skill, SKILL_SHARE * sign, -SKILL_SHARE * sign))
    if metric.higher_is_better:  # the perfect value is 1; the margin of a loss is a share of its distance to 0 already
        bounds.append(Margin(SKILL_SHARE * (1 - champion), -SKILL_SHARE))
    return bounds
