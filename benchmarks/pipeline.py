"""CPU seconds of the default project's pipeline against one bare script, in interleaved runs.

Run by `make bench`, in the demo project's environment; medians, as ratios to the rival of the run.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from . import sample
from .support import VENV, clean_environment, copy_demo

BARE = Path(__file__).with_name("bare.py")
RUNS = int(os.environ.get("RUNS", "5"))
MADE = ("dvc.lock", "data/train.parquet", "data/holdout.parquet", "models", "reports", ".mlflow")


def cpu(*command: str | Path, cwd: Path, **env: str) -> float:
    """CPU seconds, user and system, of a command and of all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*map(str, command)], cwd=cwd, env=clean_environment() | env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def project(folder: Path, every: int) -> Path:
    """A copy of the demo without what it made, on every n-th flight, sharing its environment."""
    copy = copy_demo(folder / f"every-{every}", "cache", "tmp", *(name for name in MADE if "/" not in name))
    if every != sample.EVERY:
        sample.write(sample.sample(sample.landed(*sample.tables()), every), copy / "data/raw/flights.parquet")
    return copy


def clear(copy: Path) -> None:
    """Make the next run one from scratch."""
    for name in (*MADE, ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(copy / name, ignore_errors=True)
        (copy / name).unlink(missing_ok=True) if not (copy / name).is_dir() else None


def cases(copy: Path) -> dict[str, Callable[[], float]]:
    """What is measured in a round: the rival, from scratch twice, then with nothing to do."""
    make = ("make", "pipeline", f"VENV={VENV}")
    bins = f"{VENV / 'bin'}:{os.environ['PATH']}"

    def bare() -> float:
        table, out = copy / "data/raw/flights.parquet", copy / "bare"
        threads = {"OMP_NUM_THREADS": "1"}
        return cpu(sys.executable, BARE, table, copy / "schema.yaml", out, cwd=copy, **threads)

    def scratch(track: str) -> float:
        clear(copy)
        return cpu(*make, f"TRACK={track}", cwd=copy)

    return {
        "bare script": bare,
        "make pipeline TRACK=0": lambda: scratch("0"),
        "make pipeline": lambda: scratch("1"),
        "dvc status": lambda: cpu("dvc", "status", cwd=copy, PATH=bins),
        "make pipeline, nothing to do": lambda: cpu(*make, cwd=copy),
    }


def measure(copy: Path, runs: int = RUNS) -> dict[str, float]:
    """The median CPU seconds of each case over interleaved runs."""
    todo = cases(copy)
    spent: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(runs):
        for name, case in todo.items():
            spent[name].append(case())
    return {name: median(values) for name, values in spent.items()}


def table(title: str, found: dict[str, float]) -> str:
    """Seconds and their ratio to the bare script, or to `dvc status` where nothing is to do."""
    lines = [f"| {title} | CPU seconds | ratio |", "|---|---:|---:|"]
    for name, seconds in found.items():
        rival = found["dvc status" if "nothing" in name else "bare script"]
        ratio = "" if name == "dvc status" else f"{seconds / rival:.2f}"
        lines.append(f"| {name} | {seconds:.2f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Print both tables: the sample of the template, and all flights."""
    with tempfile.TemporaryDirectory() as folder:
        for every in (sample.EVERY, 1):
            copy = project(Path(folder), every)
            print(
                table("every 16th flight" if every > 1 else "all flights", measure(copy)),
                flush=True,
            )
            print()


if __name__ == "__main__":
    main()
