"""Each stage's CPU seconds and peak memory on ever larger tables, and what a sweep gains by workers.

Run by `make bench PART=scale`, in the demo's environment. Tables are all flights, repeated with noise.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from . import sample
from .pipeline import project
from .template import Cost, cost

STAGES = ("validate", "split", "train", "evaluate")
TIMES = tuple(int(n) for n in os.environ.get("TIMES", "1,10").split(","))  # all flights, so often
NOISE = ("temp", "dewp", "pressure")


def noisy(flights: pd.DataFrame, number: int) -> pd.DataFrame:
    """The flights of another year: moved in time, so that keys stay unique, with weather a little different."""
    draw, copy = np.random.default_rng(number), flights.copy()
    copy["scheduled"] += pd.Timedelta(days=371 * number)  # whole weeks, longer than a year
    for name in NOISE if number else ():
        copy[name] += draw.normal(0, 0.1, len(copy))
    return copy


def write(times: int, path: Path) -> int:
    """A table of so many years of flights; the number of its rows."""
    flights = sample.sample(sample.landed(*sample.tables()), 1)
    schema = pa.Table.from_pandas(flights, preserve_index=False).schema
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for number in range(times):
            file.write_table(
                pa.Table.from_pandas(noisy(flights, number), schema, preserve_index=False)
            )
    return times * len(flights)


def verb(copy: Path, *command: str) -> Cost:
    """What a verb costs, in a process of its own."""
    env = os.environ | {"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"}
    return cost([sys.executable, "-m", "flight_delays", *command], copy, env)


def sizes(folder: Path) -> None:
    """Print the table of stages by rows."""
    copy, table = project(folder, sample.EVERY), folder / "all.parquet"
    raw = copy / "data/raw/flights.parquet"
    columns = [f"{stage} {what}" for stage in (*STAGES, "score") for what in ("s", "MB")]
    print("| rows | " + " | ".join(columns) + " |\n" + "|---:" * (1 + len(columns)) + "|")
    for times in (0, *TIMES):
        rows = write(times, raw) if times else pq.read_metadata(raw).num_rows
        found = [verb(copy, stage) for stage in STAGES]
        table.unlink(missing_ok=True)
        verb(copy, "compile")
        found.append(verb(copy, "score", "--in", str(raw), "--out", str(table)))
        figures = " | ".join(f"{took.cpu:.1f} | {took.megabytes:.0f}" for took in found)
        print(f"| {rows:,} | {figures} |", flush=True)


def sweeps(folder: Path) -> None:
    """Print what a sweep of forty trials takes by one and by two workers of this machine."""
    copy = project(folder, sample.EVERY)
    params = (copy / "params.yaml").read_text(encoding="utf-8").replace("trials: 20", "trials: 40")
    for stage in STAGES[:2]:
        verb(copy, stage)
    print("\n| workers | seconds |\n|---:|---:|")
    for workers in (1, 2):
        text = params.replace("workers: 1 ", f"workers: {workers} ")
        (copy / "params.yaml").write_text(text, encoding="utf-8")
        (copy / ".mlflow/sweep.log").unlink(missing_ok=True)
        took = verb(copy, "sweep", "--no-track")
        print(f"| {workers} | {took.seconds:.0f} |", flush=True)


def main() -> None:
    """Print both tables, or the one named by WHAT (sizes, sweeps)."""
    for part in (sizes, sweeps):
        if os.environ.get("WHAT", part.__name__) == part.__name__:
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder))


if __name__ == "__main__":
    main()
