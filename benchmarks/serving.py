"""One row over HTTP: our service against others, one worker each, 16 connections, interleaved; then files.

`make bench PART=serving` makes the environments under build/rivals, once, and needs `wrk`. SERVERS names some of
echo, ours, fastapi, bentoml, mlserver and mlflow; ROWS is the sizes of the files in millions, empty for none.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pandas as pd

from .support import DEMO, ROOT, clean_environment, free_port, measure_cost

FOLDER = ROOT / "build/rivals"
RIVALS = Path(__file__).with_name("rivals.py")
RUNS, CONNECTIONS = int(os.environ.get("RUNS", "3")), 16
SECONDS = float(os.environ.get("SECONDS", "5"))
SKLEARN = ("scikit-learn==1.9.*", "skops==0.16.*", "pandas<4", "pyarrow")
COMPILED = ("-r", str(DEMO / "requirements/compiled.txt"))
# What the Dockerfile copies into an image: without the data.
IMAGE_FILES = ("pyproject.toml", "params.yaml", "schema.yaml", "dvc.lock")
IMAGE_FOLDERS = ("packages/modelyard/src", "src", "models")
MILLIONS = [int(number) for number in os.environ.get("ROWS", "1,4").split(",") if number]
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Server:
    """How a server is started, and where and with what it is asked."""

    name: str
    command: list[str]
    path: str = "/predict"
    wrap: str = "%s"
    folder: Path = DEMO
    imports: list[Path] = field(default_factory=lambda: [DEMO / "src"])

    def make_body(self, row: str) -> bytes:
        """Return the body of a request for a row, given as JSON; `%r` is its place as a JSON text."""
        return self.wrap.replace("%r", json.dumps(row)).replace("%s", row).encode()


def make_environment(name: str, *packages: str) -> Path:
    """Return the `bin` of an environment of its own, made once, compiled."""
    folder = FOLDER / name
    if not (folder / "made").exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", folder], check=True)
        install = ["uv", "pip", "install", "--quiet", "--compile-bytecode"]
        python = f"--python={folder}/bin/python"
        subprocess.run([*install, python, *packages], check=True)
        (folder / "made").touch()
    return folder / "bin"


def address(port: int) -> list[str]:
    """Return the options that most servers take for their address."""
    return ["--host", "127.0.0.1", "--port", str(port)]


def uvicorn(port: int) -> list[str]:
    """Return the command that runs an application in FastAPI's environment."""
    bin_folder = make_environment("fastapi", "fastapi", "uvicorn", "uvloop", "httptools", *SKLEARN)
    return [str(bin_folder / "uvicorn"), *address(port), "--no-access-log", "--log-level=warning"]


def prepare_echo(work: Path, port: int) -> Server:
    """The bound of what Python can answer."""
    del work
    return Server("empty ASGI echo", [*uvicorn(port), "rivals:echo"])


def prepare_ours(work: Path, port: int) -> Server:
    """Our service, in a folder with what an image holds."""
    del port  # it comes as MODELYARD_BIND
    image = work / "image"
    for name in IMAGE_FOLDERS:
        shutil.copytree(DEMO / name, image / name)
    for name in IMAGE_FILES:
        shutil.copy(DEMO / name, image)
    python = make_environment("ours", *COMPILED) / "python"
    command = [str(python), "-m", "modelyard", "serve"]
    return Server("make serve", command, folder=image, imports=[image / "packages/modelyard/src", image / "src"])


def prepare_fastapi(work: Path, port: int) -> Server:
    """Plain FastAPI."""
    del work
    return Server("FastAPI + scikit-learn", [*uvicorn(port), "--factory", "rivals:fastapi"])


def prepare_bentoml(work: Path, port: int) -> Server:
    """BentoML."""
    del work
    bin_folder = make_environment("bentoml", "bentoml", *SKLEARN)
    return Server("BentoML", [str(bin_folder / "bentoml"), "serve", "rivals:Bento", *address(port)], wrap='{"row":%s}')


def prepare_mlserver(work: Path, port: int) -> Server:
    """MLServer, whose settings are files."""
    bin_folder = make_environment("mlserver", "mlserver", "setuptools<81", *SKLEARN)
    runtime = {"name": "flights", "implementation": "rivals.MLServer"}
    (work / "model-settings.json").write_text(json.dumps(runtime))
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    (work / "settings.json").write_text(json.dumps(settings))
    wrap = '{"inputs":[{"name":"row","shape":[1],"datatype":"BYTES","data":[%r]}]}'
    return Server("MLServer", [str(bin_folder / "mlserver"), "start", str(work)], "/v2/models/flights/infer", wrap)


def prepare_mlflow(work: Path, port: int) -> Server:
    """MLflow's own server."""
    bin_folder, saved = make_environment("mlflow", "mlflow<3.18", *SKLEARN), work / "mlflow"
    save = [str(bin_folder / "python"), "rivals.py", "save", str(saved)]
    subprocess.run(save, cwd=work, check=True, env=make_variables(work, [work]))
    command = [str(bin_folder / "mlflow"), "models", "serve", "-m", str(saved), "--env-manager", "local"]
    command += ["-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    return Server("mlflow models serve", command, "/invocations", '{"dataframe_records":[%s]}')


SERVERS: dict[str, Callable[[Path, int], Server]] = {
    "echo": prepare_echo,
    "ours": prepare_ours,
    "fastapi": prepare_fastapi,
    "bentoml": prepare_bentoml,
    "mlserver": prepare_mlserver,
    "mlflow": prepare_mlflow,
}
CHOSEN = os.environ.get("SERVERS", ",".join(SERVERS)).split(",")


def make_variables(work: Path, imports: list[Path], port: int = 0, program: str = sys.executable) -> dict[str, str]:
    """Return the variables of a server: one thread, nothing that asks a network, where it imports from."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True"}
    first = {"PATH": f"{Path(program).parent}:{os.environ['PATH']}", "PYTHONPATH": ":".join(map(str, imports))}
    options = {"MODELYARD_BIND": f"127.0.0.1:{port}", "MODELYARD_LOGS": str(work / "logs")}
    return clean_environment() | threads | quiet | options | first


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
    """Run a server while the block runs; its process id, and the seconds until its first answer."""
    start = time.perf_counter()
    env = make_variables(work, [*server.imports, work], port, server.command[0])
    with (work / "log").open("w") as log:
        process = subprocess.Popen(
            server.command, cwd=server.folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for_answer(server, process, port, body, work / "log")
        yield process.pid, time.perf_counter() - start
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)


def wait_for_answer(server: Server, process: subprocess.Popen[bytes], port: int, body: bytes, log: Path) -> None:
    """Return after the first answer; end the benchmark where the server ended, or says nothing in two minutes."""
    end = time.perf_counter() + 120
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{server.path}", body, headers)
    while True:
        try:
            urllib.request.urlopen(request, timeout=30).read()
            return
        except (OSError, urllib.error.URLError) as problem:
            if process.poll() is not None or time.perf_counter() > end:
                raise SystemExit(f"{server.name} does not answer: {problem}\n{log.read_text()[-2000:]}") from None
            time.sleep(0.02)


def measure_load(server: Server, work: Path, port: int, body: bytes) -> tuple[float, float]:
    """Return requests a second and p99 in ms, under load."""
    script = work / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = [==[{body.decode()}]==]\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    url = f"http://127.0.0.1:{port}{server.path}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "--timeout=30s", "-s", str(script)]
    subprocess.run([*command, "-d1s", url], check=True, capture_output=True)
    said = subprocess.run([*command, f"-d{SECONDS:g}s", url], check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    slowest = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    if "Non-2xx" in said or "Socket errors" in said or not rate or not slowest:
        raise SystemExit(f"{server.name} failed under load:\n{said}")
    return float(rate[1]), float(slowest[1]) * UNITS[slowest[2]]


def measure_servers() -> dict[str, list[float]]:
    """Return each server's requests a second, p99 in ms, seconds until ready and megabytes: medians of the rounds."""
    row = json.dumps(json.loads((DEMO / "models/bundle.json").read_text())["rows"][0])
    found: dict[str, list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work, port = Path(folder), free_port()
        shutil.copy(RIVALS, work)
        servers = [SERVERS[name](work, port) for name in CHOSEN]
        for _ in range(RUNS):
            for server in servers:
                body = server.make_body(row)
                with running(server, work, port, body) as (pid, ready):
                    measured = (*measure_load(server, work, port, body), ready, megabytes(pid))
                found.setdefault(server.name, []).append(measured)
    return {name: [median(column) for column in zip(*runs, strict=True)] for name, runs in found.items()}


def print_servers(found: dict[str, list[float]]) -> None:
    """Print the table of requests; a ratio to a server that was not measured is empty."""
    print("| one row, 16 connections | requests/s | × mlflow | × echo | p99 ms | ready s | MB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, (rate, p99, ready, memory) in found.items():
        slow, echo = (
            f"{rate / found[rival][0]:{form}}" if rival in found else ""
            for rival, form in (("mlflow models serve", ".1f"), ("empty ASGI echo", ".2f"))
        )
        print(f"| {name} | {rate:,.0f} | {slow} | {echo} | {p99:.1f} | {ready:.1f} | {memory:.0f} |")


def print_files() -> None:
    """Print the table of files: ours and the loop, at each size, every core for both and no log."""
    print("| file | rows/s | peak MB | loop rows/s | loop peak MB |\n|---|---:|---:|---:|---:|")
    holdout = pd.read_parquet(DEMO / "data/holdout.parquet")
    with tempfile.TemporaryDirectory() as folder:
        for millions in MILLIONS:
            rows, source, out = millions * 1_000_000, Path(folder, "in.parquet"), Path(folder, "out.parquet")
            write(holdout, rows, source)
            ours = ["-m", "modelyard", "score", f"--in={source}", f"--out={out}"]
            loop = [str(RIVALS), "loop", str(source), str(out)]
            mine, theirs = (measure_cost([sys.executable, *words], DEMO, clean_environment()) for words in (ours, loop))
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
    subprocess.run(
        ["make", "compile", "VENV=.venv"], cwd=DEMO, check=True, capture_output=True, env=clean_environment()
    )
    print_servers(measure_servers())
    if MILLIONS:
        print(flush=True)
        print_files()


if __name__ == "__main__":
    main()
