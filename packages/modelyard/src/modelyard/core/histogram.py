"""Read percentiles from a histogram as Prometheus writes it."""

from collections.abc import Iterable

PERCENTILE = 0.99


def compute_p99(buckets: Iterable[tuple[float, float]]) -> float:
    """Return the 99th percentile of a histogram: the upper bound of the bucket in which it lies.

    Parameters
    ----------
    buckets
        Each bucket's upper bound (`le`) and the number of observations at or below it, in any order.

    Returns
    -------
    float
        In the unit of the bounds; infinite in the last bucket, 0 without observations.
    """
    by_bound = sorted(buckets)
    if not by_bound or not by_bound[-1][1]:
        return 0.0
    total = by_bound[-1][1]
    return next(bound for bound, count in by_bound if count >= PERCENTILE * total)
