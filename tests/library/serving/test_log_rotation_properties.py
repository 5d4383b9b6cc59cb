"""Whatever is written and however often a service starts anew: its log keeps its bounds, and the latest lines."""

import shutil
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.params import LogParams
from modelyard.serving.prediction_log import LogWriter
from tests.library.core.test_fuzz import fuzz

MEGABYTE = 1 << 20
RESTART = 0
STEPS = st.lists(st.sampled_from([10, 300_000, 700_000, RESTART]), min_size=5, max_size=20)


def open_log(folder: Path, files: int) -> LogWriter:
    return LogWriter(folder, "predictions", LogParams(seconds=60, megabytes=1, files=files), lambda _: None)


def measure_without_last_line(path: Path) -> int:
    """Return the bytes of a file before its last line, with which it may have grown beyond its size."""
    return len(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def read_numbers(paths: list[Path]) -> list[int]:
    """Return the number that each line of the files begins with."""
    return [int(line[:6]) for path in paths for line in path.read_bytes().splitlines()]


@fuzz
@given(steps=STEPS, files=st.integers(1, 4))
def test_a_log_never_exceeds_its_bounds_and_keeps_the_latest_lines(
    tmp_path: Path, steps: list[int], files: int
) -> None:
    folder = tmp_path / "logs"
    shutil.rmtree(folder, ignore_errors=True)
    log = open_log(folder, files)
    for number, size in enumerate(steps):
        if size == RESTART:
            log.close()
            log = open_log(folder, files)
            continue
        log.write(f"{number:06d}".encode().ljust(size - 1, b"x") + b"\n")
        paths = sorted(folder.glob("*"))
        assert len(paths) <= files
        assert all(measure_without_last_line(path) <= MEGABYTE for path in paths)
        written = [place for place, size in enumerate(steps[: number + 1]) if size != RESTART]
        kept = read_numbers(paths)
        assert kept and kept == written[-len(kept) :]
    log.close()
