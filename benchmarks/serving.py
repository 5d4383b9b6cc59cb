"""One row over HTTP: our service against others, one worker each, 16 connections, interleaved; then files.

`make bench PART=serving` makes the environments under build/rivals, once, and needs `wrk`.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd

from .pipeline import DEMO, ROOT
from .template import cost, free_port

FOLDER = ROOT / "build/rivals"
RUNS, SECONDS, CONNECTIONS = 3, 5, 16
SKLEARN = ("scikit-learn==1.9.*", "skops==0.16.*", "pandas<4", "pyarrow", "msgspec", "pyyaml")
NEEDS: dict[str, tuple[str, ...]] = {
    "mlflow": ("mlflow<3.18", *SKLEARN),
    "bentoml": ("bentoml", *SKLEARN),
    "mlserver": ("mlserver", "setuptools<81", *SKLEARN),
    "fastapi": ("fastapi", "uvicorn", "uvloop", "httptools", *SKLEARN),
}
PART = os.environ.get("ROWS", "1,4")  # millions


@dataclass(frozen=True)
class Server:
    """How a server is started, and where and with what it is asked."""

    name: str
    command: list[str]
    path: str = "/predict"
    wrap: str = "%s"
    cwd: Path = DEMO


def environment(name: str, *packages: str) -> Path:
    """The `bin` of an environment of its own, made once, compiled."""
    folder = FOLDER / name
    if not (folder / "made").exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", folder], check=True)
        install = ["uv", "pip", "install", "--quiet", "--compile-bytecode"]
        python = f"--python={folder}/bin/python"
        subprocess.run([*install, python, *packages], check=True)
        (folder / "made").touch()
    return folder / "bin"


def servers(work: Path, port: int) -> list[Server]:
    """Ours and the others, on a port."""
    bins = {name: environment(name, *needs) for name, needs in NEEDS.items()}
    ours = environment("ours", "-r", str(DEMO / "requirements/compiled.txt"))
    at = ["--host", "127.0.0.1", "--port", str(port)]
    uvicorn = [str(bins["fastapi"] / "uvicorn"), *at, "--no-access-log", "--log-level=warning"]
    saved, image = work / "mlflow", work / "image"  # as in the image: without the data
    shutil.copytree(DEMO / "models", image / "models")
    for name in ("params.yaml", "schema.yaml"):
        shutil.copy(DEMO / name, image)
    python = str(bins["mlflow"] / "python")
    subprocess.run([python, "rivals.py", "save", saved], cwd=work, check=True, env=around(work))
    runtime = {"name": "flights", "implementation": "rivals.MLServer"}
    (work / "model-settings.json").write_text(json.dumps(runtime))
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    (work / "settings.json").write_text(json.dumps(settings))
    texts = '{"inputs":[{"name":"row","shape":[1],"datatype":"BYTES","data":[%r]}]}'
    mlflow = [str(bins["mlflow"] / "mlflow"), "models", "serve", "-m", str(saved)]
    bento = [str(bins["bentoml"] / "bentoml"), "serve", "rivals:Bento", *at]
    return [
        Server("empty ASGI echo", [*uvicorn, "rivals:echo"]),
        Server("make serve", [str(ours / "python"), "-m", "flight_delays", "serve"], cwd=image),
        Server("FastAPI + scikit-learn", [*uvicorn, "--factory", "rivals:fastapi"]),
        Server("BentoML", bento, wrap='{"row":%s}'),
        Server(
            "MLServer",
            [str(bins["mlserver"] / "mlserver"), "start", str(work)],
            "/v2/models/flights/infer",
            texts,
        ),
        Server(
            "mlflow models serve",
            [*mlflow, "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"],
            "/invocations",
            '{"dataframe_records":[%s]}',
        ),
    ]


def around(work: Path, port: int = 0, program: str = sys.executable) -> dict[str, str]:
    """The variables of a server: the demo's code, one thread, nothing that asks a network."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "MAKEFLAGS")}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True"}
    first = {"PATH": f"{Path(program).parent}:{os.environ['PATH']}"}
    paths = {
        "PYTHONPATH": f"{DEMO / 'src'}:{work}",
        "BIND": f"127.0.0.1:{port}",
        "LOGS": str(work / "logs"),
    }
    return kept | threads | quiet | paths | first


def processes(pid: int) -> list[int]:
    """A process and all below it."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in below for one in processes(int(child)))]


def megabytes(pid: int) -> float:
    """The memory of a process and all below it, shared pages shared out."""
    texts = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in processes(pid)]
    return sum(int(re.search(r"^Pss: +(\d+)", text, re.M)[1]) for text in texts) / 1024


@contextlib.contextmanager
def running(server: Server, work: Path, port: int, body: bytes) -> Iterator[tuple[int, float]]:
    """The server's process id, and the seconds until its first answer."""
    start, log = time.perf_counter(), (work / "log").open("w")
    process = subprocess.Popen(
        server.command,
        cwd=server.cwd,
        env=around(work, port, server.command[0]),
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{server.path}", body, {"Content-Type": "application/json"}
        )
        while True:
            try:
                urllib.request.urlopen(request, timeout=30).read()
                break
            except (OSError, urllib.error.URLError) as problem:
                if process.poll() is not None or time.perf_counter() - start > 120:
                    said = (work / "log").read_text()[-2000:]
                    raise SystemExit(f"{server.name} does not answer: {problem}\n{said}") from None
                time.sleep(0.02)
        yield process.pid, time.perf_counter() - start
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)


def asked(server: Server, work: Path, port: int, body: bytes) -> tuple[float, float]:
    """Requests a second and p99 in ms, under load."""
    script = work / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = [==[{body.decode()}]==]\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    url = f"http://127.0.0.1:{port}{server.path}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "--timeout=30s", "-s", str(script)]
    subprocess.run([*command, "-d1s", url], check=True, capture_output=True)
    said = subprocess.run([*command, f"-d{SECONDS}s", url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{server.name} failed under load:\n{said}")
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", said).groups()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), float(number) * {
        "us": 1e-3,
        "ms": 1,
        "s": 1e3,
    }[unit]


def serve() -> None:
    """Print the table of requests."""
    found: dict[str, list[tuple[float, ...]]] = {}
    row = json.dumps(json.loads((DEMO / "models/bundle.json").read_text())["rows"][0])
    with tempfile.TemporaryDirectory() as folder:
        work, port = Path(folder), free_port()
        shutil.copy(Path(__file__).with_name("rivals.py"), work)
        every = servers(work, port)
        for _ in range(RUNS):
            for server in every:
                body = (server.wrap.replace("%r", json.dumps(row)).replace("%s", row)).encode()
                with running(server, work, port, body) as (pid, ready):
                    measured = (*asked(server, work, port, body), ready, megabytes(pid))
                found.setdefault(server.name, []).append(measured)
    middle = {name: [median(column) for column in zip(*runs, strict=True)] for name, runs in found.items()}
    echo, slow = middle["empty ASGI echo"][0], middle["mlflow models serve"][0]
    print("| one row, 16 connections | requests/s | × mlflow | × echo | p99 ms | ready s | MB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, (rate, p99, ready, memory) in middle.items():
        times = f"{rate / slow:.1f} | {rate / echo:.2f} | {p99:.1f} | {ready:.1f}"
        print(f"| {name} | {rate:,.0f} | {times} | {memory:.0f} |")


def score() -> None:
    """Print the table of files: ours and the loop, at each size, every core for both and no log."""
    env = {k: v for k, v in around(DEMO).items() if k != "LOGS" and "_THREADS" not in k}
    print("| file | rows/s | peak MB | loop rows/s | loop peak MB |\n|---|---:|---:|---:|---:|")
    table, rivals = (
        pd.read_parquet(DEMO / "data/holdout.parquet"),
        Path(__file__).with_name("rivals.py"),
    )
    with tempfile.TemporaryDirectory() as folder:
        for millions in map(int, PART.split(",")):
            rows, source, out = (
                millions * 1_000_000,
                Path(folder, "in.parquet"),
                Path(folder, "out.parquet"),
            )
            write(table, rows, source)
            ours = ["-m", "flight_delays", "score", f"--in={source}", f"--out={out}"]
            loop = [str(rivals), "loop", str(source), str(out)]
            mine, theirs = (cost([sys.executable, *words], DEMO, env) for words in (ours, loop))
            print(
                f"| {millions} million rows | {rows / mine.seconds:,.0f} | {mine.megabytes:,.0f} "
                f"| {rows / theirs.seconds:,.0f} | {theirs.megabytes:,.0f} |",
                flush=True,
            )
            out.unlink()


def write(table: pd.DataFrame, rows: int, path: Path) -> None:
    """A Parquet file of so many rows, made of a table again and again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(pa.concat_tables([plain] * (rows // len(table) + 1)).slice(0, rows), path)


def main() -> None:
    """Print both tables."""
    if not (DEMO / "models/bundle.json").exists():
        subprocess.run(["make", "compile", "VENV=.venv"], cwd=DEMO, check=True, capture_output=True)
    serve()
    print(flush=True)
    score()


if __name__ == "__main__":
    main()
