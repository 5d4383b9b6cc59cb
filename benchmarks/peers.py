"""Other templates, rendered, installed, tested and run as their own pages say, beside ours.

`make bench PART=peers` (or `python -m benchmarks.peers [name …]`) prints the table of docs/comparison.md. Each
gets an empty home and a folder of its own under build/peers; templates are cloned from their public repositories,
packages come from the usual index. It takes about half an hour, most of it downloads.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .support import ROOT

WORK = ROOT / "build/peers"
TIMEOUT = 1500
TOOL = "uv tool run --quiet --from "
VENV = "uv venv --quiet --python 3.11 .venv && . .venv/bin/activate && "
# What a program of theirs would ask or send.
QUIET = {"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1", "ZENML_ANALYTICS_OPT_IN": "false"}
FOREIGN = (
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
)


@dataclass(frozen=True)
class Peer:
    """A template: where it is, the commands of its own page, and the model that they should leave."""

    name: str
    source: str
    render: str
    folder: str = ""
    install: str = ""
    train: str = ""
    test: str = ""
    model: str = "no model"
    again: str = ""


PEERS = [
    Peer(
        "this template",
        str(ROOT),
        "cookiecutter --no-input {source}",
        "flight-delays",
        "make install",
        "make pipeline",
        "make test",
        "models/model.skops",
        "rm -rf dvc.lock models .dvc/cache .mlflow && make pipeline",
    ),
    Peer(
        "cookiecutter-data-science",
        "drivendataorg/cookiecutter-data-science",
        TOOL + "cookiecutter-data-science==2.3.0 ccds {source} --no-input",
        "project_name",
        VENV + "uv pip install --quiet -r requirements.txt",
        ". .venv/bin/activate && python project_name/modeling/train.py",
        ". .venv/bin/activate && python -m pytest",
        "models/*.pkl",
    ),
    Peer(
        "kedro (spaceflights-pandas)",
        "kedro-org/kedro-starters",
        TOOL + "kedro==1.7.0 kedro new --starter {source} --directory spaceflights-pandas"
        " --name Spaceflights --telemetry no",
        "spaceflights",
        VENV + "uv pip install --quiet -r requirements.txt -e .[dev]",
        ". .venv/bin/activate && kedro run",
        ". .venv/bin/activate && python -m pytest",
        "data/06_models/*.pickle",
    ),
    Peer(
        "ZenML e2e_batch",
        "zenml-io/template-e2e-batch",
        TOOL + "copier==9.19.1 --with 'pyyaml-include<2.0' --with jinja2-time"
        " copier copy --quiet --trust --defaults {source} zen",
        "zen",
        VENV + "uv pip install --quiet pip && make setup && zenml init && echo | make install-stack-local",
        ". .venv/bin/activate && python run.py",
        ". .venv/bin/activate && python -m pytest",
        "../home/.config/zenml/local_stores/**/*model*",
    ),
    Peer(
        "cookiecutter-mlops-package",
        "fmind/cookiecutter-mlops-package",
        "cookiecutter --no-input {source}",
        "mlops-project",
        "uv sync --quiet --all-groups",
        "uv run mlops-project",
        "uv run pytest",
    ),
    Peer(
        "databricks/mlops-stacks",
        "databricks/mlops-stacks",
        "databricks bundle init {source}",
    ),
]


def run(command: str, folder: Path, home: Path, alone: bool = False) -> tuple[bool, float, str]:
    """Whether a command succeeded, its seconds, and what it printed; `alone` cuts it off from the network."""
    kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    env = kept | QUIET | {"HOME": str(home)}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "A", f"GIT_{who}_EMAIL": "a@example.org"}
    cut = ["unshare", "--map-root-user", "--net"] if alone else []
    start = time.monotonic()
    with (folder / "said.log").open("a+", encoding="utf-8") as log:
        try:
            done = subprocess.run(
                [*cut, "sh", "-c", ("ip link set lo up; " if alone else "") + command],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
                check=False,
            )
            good = done.returncode == 0
        except subprocess.TimeoutExpired:
            good = False
        log.seek(0)
        return good, time.monotonic() - start, log.read()


def clone(peer: Peer, folder: Path) -> Path:
    """The template's own repository, at its newest commit."""
    if Path(peer.source).is_dir():
        return Path(peer.source)
    place = folder / "template"
    address = f"https://github.com/{peer.source}"
    subprocess.run(["git", "clone", "--quiet", address, place], check=True)
    return place


def size(project: Path) -> tuple[str, str]:
    """Files and lines of what was rendered and is read: no data, no locks; `+` those of a library that comes along."""
    skip = {".git", "requirements", "uv.lock", "said.log"}
    own, library = [0, 0], [0, 0]
    for path in filter(Path.is_file, project.rglob("*")):
        place = path.relative_to(project)
        if skip & set(place.parts) or path.suffix in (".csv", ".xlsx", ".parquet"):
            continue
        counts = library if place.parts[0] == "packages" else own
        counts[0] += 1
        with contextlib.suppress(UnicodeDecodeError):
            counts[1] += len(path.read_text(encoding="utf-8").splitlines())
    files, lines = (
        f"{mine:,}" + (f" + {carried:,}" if carried else "") for mine, carried in zip(own, library, strict=True)
    )
    return files, lines


def findings(project: Path) -> str:
    """What zizmor finds in the workflows, or that there are none."""
    if not any((project / ".github/workflows").glob("*.y*ml")):
        return "no workflows"
    command = [
        "zizmor",
        "--quiet",
        "--offline",
        "--format",
        "json",
        str(project / ".github/workflows"),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return str(len(json.loads(said)))


def measured(peer: Peer) -> list[str]:
    """One row of the table."""
    folder = WORK / peer.name.split()[0].replace("/", "-")
    shutil.rmtree(folder, ignore_errors=True)
    home = folder / "home"
    home.mkdir(parents=True)
    render = peer.render.format(source=clone(peer, folder))
    if not run(render, folder, home)[0]:
        return [peer.name, "does not render", *["–"] * 6]
    project = folder / peer.folder
    shutil.rmtree(project)
    _, seconds, _ = run(render, folder, home)  # the first time fetched the renderer, too
    files, lines = size(project)
    found = findings(project)
    _, install, _ = run(peer.install, project, home)
    trained, train, said = run(peer.train, project, home)
    if not trained:
        wrong = [line for line in said.splitlines() if re.match(r"\w*(Error|Exception):", line)]
        print(f"{peer.name}: {(wrong or ['it failed'])[-1]}", file=sys.stderr)
    model = trained and any(project.glob(peer.model))
    first = f"{install + train:.0f} s" if model else "none"
    alone = model and run(peer.again or peer.train, project, home, alone=True)[0]
    offline = ("yes" if alone else "no") if model else "–"
    said = run(peer.test, project, home)[2].splitlines()[-1]
    tests = ", ".join(re.findall(r"\d+ (?:passed|failed|errors?)\b", said))
    return [
        peer.name,
        f"{seconds:.1f} s",
        files,
        lines,
        first,
        offline,
        tests or "none",
        found,
    ]


def main() -> None:
    """Print the table of the templates that are named, or of all."""
    wanted = [peer for peer in PEERS if not sys.argv[1:] or peer.name.split()[0] in sys.argv[1:]]
    head = [
        "template",
        "render",
        "files",
        "lines",
        "first model",
        "again offline",
        "its tests",
        "zizmor",
    ]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for peer in wanted:
        print(f"| {' | '.join(measured(peer))} |", flush=True)


if __name__ == "__main__":
    main()
