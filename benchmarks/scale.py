"""Each stage's CPU seconds and peak memory on ever larger tables, and what a sweep gains by workers.

Run by `make bench PART=scale`, in the demo's environment. Tables are all flights, repeated with noise.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from . import sample
from .pipeline import project
from .support import Cost, clean_environment, free_port, measure_cost

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
            file.write_table(pa.Table.from_pandas(noisy(flights, number), schema, preserve_index=False))
    return times * len(flights)


def verb(copy: Path, *command: str) -> Cost:
    """What a verb costs, in a process of its own."""
    env = clean_environment() | {"OMP_NUM_THREADS": "1"}
    return measure_cost([sys.executable, "-m", "modelyard", *command], copy, env)


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


@contextmanager
def backend(name: str, workers: int, copy: Path) -> Iterator[str]:
    """The block `compute` that uses so many workers: of this machine, or of a Dask cluster made for it."""
    if name == "local":
        yield f"{{backend: local, address: null, workers: {workers}}}"
        return
    library = ("uv", "pip", "install", "--quiet", "--python", sys.executable, "dask[distributed]")
    subprocess.run(library, check=True)
    dask, address = Path(sys.executable).parent / "dask", f"tcp://127.0.0.1:{free_port()}"
    env, quiet = clean_environment() | {"OMP_NUM_THREADS": "1"}, "--no-dashboard"
    worker = ["worker", address, "--nthreads", "1", "--no-nanny", quiet]
    commands = [["scheduler", "--port", address.rpartition(":")[2], quiet], *[worker] * workers]
    with ExitStack() as stack:
        for command in commands:
            running = subprocess.Popen([dask, *command], cwd=copy, env=env, stdout=-3, stderr=-3)
            stack.callback(running.wait)
            stack.callback(running.terminate)
        yield f"{{backend: dask, address: '{address}', workers: 1}}"


def sweeps(folder: Path) -> None:
    """Print what a sweep of forty trials takes by one and by two workers, of this machine and of Dask."""
    copy = project(folder, sample.EVERY)
    params = (copy / "params.yaml").read_text(encoding="utf-8").replace("trials: 20", "trials: 40")
    for stage in STAGES[:2]:
        verb(copy, stage)
    print("\n| backend | one worker, s | two workers, s | times faster |\n|---|---:|---:|---:|")
    for name in ("local", "dask"):
        took = []
        for workers in (1, 2):
            (copy / ".mlflow/sweep.log").unlink(missing_ok=True)
            with backend(name, workers, copy) as block:
                text = re.sub(r"(?m)^compute:.*\n(?:  .*\n)+", f"compute: {block}\n", params)
                (copy / "params.yaml").write_text(text, encoding="utf-8")
                took.append(verb(copy, "sweep", "--no-track").seconds)
        print(f"| {name} | {took[0]:.0f} | {took[1]:.0f} | {took[0] / took[1]:.2f} |", flush=True)


def transfers(folder: Path) -> None:
    """Print what `dvc push` and `dvc pull` of the trained project take, to and from REMOTE (a folder)."""
    copy, url = project(folder, sample.EVERY), os.environ.get("REMOTE") or str(folder / "remote")
    dvc(copy, "repro", "--quiet")
    dvc(copy, "remote", "add", "-d", "there", url)
    pushed = dvc(copy, "push")
    shutil.rmtree(copy / ".dvc/cache")
    pulled = dvc(copy, "pull", "--force")
    files = [path for path in (copy / ".dvc/cache").rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print("\n| remote | MB | push, s | pull, s |\n|---|---:|---:|---:|")
    scheme = url.partition("://")[0] if "://" in url else "folder"
    print(f"| {scheme} | {megabytes:.1f} | {pushed:.1f} | {pulled:.1f} |", flush=True)


def dvc(copy: Path, *command: str) -> float:
    """The seconds of a DVC command."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return measure_cost([sys.executable, "-m", "dvc", *command], copy, clean_environment() | {"PATH": path}).seconds


def main() -> None:
    """Print the tables, or the one named by WHAT (sizes, sweeps, transfers)."""
    for part in (sizes, sweeps, transfers):
        if os.environ.get("WHAT", part.__name__) == part.__name__:
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder))


if __name__ == "__main__":
    main()
