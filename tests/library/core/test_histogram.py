from math import inf

import pytest

from modelyard.core.histogram import compute_p99


@pytest.mark.parametrize(
    ("buckets", "p99"),
    [
        pytest.param([], 0.0, id="no buckets"),
        pytest.param([(0.1, 0), (inf, 0)], 0.0, id="no observations"),
        pytest.param([(0.5, 995), (0.01, 950), (inf, 1000)], 0.5, id="any order"),
        pytest.param([(0.1, 99), (inf, 100)], 0.1, id="exactly 99 %"),
        pytest.param([(0.1, 98), (inf, 100)], inf, id="above the last bound"),
    ],
)
def test_compute_p99_is_the_upper_bound_of_its_bucket(buckets: list[tuple[float, float]], p99: float) -> None:
    assert compute_p99(buckets) == p99
