"""What the benchmarks share: the demo project, a small project for the library's functions, a port, a cost."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
DEMO = Path(os.environ.get("DEMO", ROOT / "build/demo/flight-delays")).absolute()  # as in `make demo DEMO=…`
VENV = DEMO / ".venv"
PYPROJECT = """\
[project]
name = "flight-delays"

[tool.modelyard]
package = "flight_delays"
"""


def copy_demo(folder: Path, *left_out: str) -> Path:
    """Copy the demo into a new folder, without its environment and what else is named; return the folder."""
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns(".venv", "logs", *left_out))
    return folder


def settle(folder: Path) -> Path:
    """Write the template's settings and its package into a folder, so that the library finds a project there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", "schema.yaml"):
        text = (TEMPLATE / name).read_text(encoding="utf-8")
        (folder / name).write_text(re.sub(r"(?m)^{%.*%}\n", "", text), encoding="utf-8")
    (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    package = TEMPLATE / "src/{{cookiecutter.__package}}"
    shutil.copytree(package, folder / "src/flight_delays", dirs_exist_ok=True)
    return folder


def clean_environment() -> dict[str, str]:
    """Return the environment without what the make that started the benchmark would pass on."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "MAKEFLAGS")}


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Cost(NamedTuple):
    """What a command took: seconds, CPU seconds, and the largest process's peak memory in megabytes."""

    seconds: float
    cpu: float
    megabytes: float


WATCHER = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(done.returncode)
"""


def measure_cost(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Cost:
    """Return what a command costs.

    It is started by a process that holds nothing, since the peak of a process begins with that of its parent.
    """
    start = time.perf_counter()
    watched = [sys.executable, "-c", WATCHER, *command]
    done = subprocess.run(watched, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(time.perf_counter() - start, *map(float, done.stdout.split()))
