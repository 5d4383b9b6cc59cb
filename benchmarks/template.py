"""The template's own modules, imported from where they stand: nothing is rendered or installed."""

import importlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

TEMPLATE = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}"
PACKAGE = TEMPLATE / "src" / "{{cookiecutter.__package}}"
NAME = "template_package"


def load(module: str) -> ModuleType:
    """A module of the template's package, under a made-up package name."""
    if NAME not in sys.modules:
        package = ModuleType(NAME)
        package.__path__ = [str(PACKAGE)]
        sys.modules[NAME] = package
    return importlib.import_module(f"{NAME}.{module}")


def free_port() -> int:
    """A port that nobody listens on now."""
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


def cost(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Cost:
    """What a command costs, started by a process that holds nothing: a peak begins with that of its parent."""
    start = time.perf_counter()
    watched = [sys.executable, "-c", WATCHER, *command]
    said = subprocess.run(watched, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(time.perf_counter() - start, *map(float, said.stdout.split()))


def settle(folder: Path) -> Path:
    """A folder with the template's parameters and schema, without tags."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", "schema.yaml"):
        text = (TEMPLATE / name).read_text(encoding="utf-8")
        (folder / name).write_text(re.sub(r"(?m)^{%.*%}\n", "", text), encoding="utf-8")
    return folder
