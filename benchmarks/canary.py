"""A new champion in steps, and the rollback, under 200 connections: how many requests failed.

`make bench PART=canary` needs a container engine with Compose.
"""

import asyncio
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from modelyard.delivery.docker import build_compose_name

from .overload import client
from .support import clean_environment, copy_demo, free_port

CONNECTIONS = 200
# Two cores carry client, proxy and models: the level is for what is measured, not for this load.
RULES = (("  seconds: 30 ", "  seconds: 10 "), ("milliseconds: 250", "milliseconds: 5000"))


def make(project: Path, verb: str, *words: str) -> list[str]:
    """The command line of a verb, in this environment."""
    return ["make", "--no-print-directory", "-C", str(project), f"VENV={sys.prefix}", verb, *words]


def run(*command: str, **around: str) -> None:
    """Run a command that has to succeed."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=clean_environment() | around)


def learn(project: Path, rate: str) -> dict[str, str | None]:
    """A model of its own and its image, as a deploy file names it."""
    params = project / "params.yaml"
    params.write_text(re.sub(r"learning_rate: [\d.]+", f"learning_rate: {rate}", params.read_text()))
    run(*make(project, "pipeline", "TRACK=0"))
    git = ("git", "-C", str(project))
    run(*git, "add", "--all")
    run(*git, "commit", "--quiet", "--allow-empty", "--message=Learn")
    run(*make(project, "image"))
    about = json.loads((project / "reports/image.json").read_text())
    return {key: about[key] for key in ("model", "commit", "image")}


def wish(project: Path, champion: dict[str, str | None]) -> None:
    """Name a champion in deploy/staging.yaml."""
    state = {"champion": champion, "candidate": None, "weight": 0, "mirror": False}
    (project / "deploy/staging.yaml").write_text(json.dumps(state))


async def asked(port: int, row: str, *commands: list[str]) -> Counter[str]:
    """What all connections were answered while the commands ran, one after the other."""
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    request, seen = f"{head}{len(row)}\r\n\r\n{row}".encode(), Counter[str]()
    clients = [asyncio.create_task(client(port, request, math.inf, seen)) for _ in range(CONNECTIONS)]
    try:
        for command in commands:
            await asyncio.to_thread(run, *command)
    finally:
        for one in clients:
            one.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return seen


def main() -> None:
    """Print the line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        port, project = free_port(), copy_demo(Path(folder, "flight-delays"), ".mlflow")
        params = project / "params.yaml"
        for before, after in (*RULES, ("127.0.0.1:8081", f"127.0.0.1:{port}")):
            params.write_text(params.read_text().replace(before, after))
        first, second = learn(project, "0.05"), learn(project, "0.06")
        row = json.dumps(json.loads((project / "models/bundle.json").read_text())["rows"][0])
        deploy, back = (make(project, verb, "ENV=staging") for verb in ("deploy", "rollback"))
        try:
            wish(project, first)
            run(*deploy)
            wish(project, second)
            start = time.perf_counter()
            seen = asyncio.run(asked(port, row, deploy, back))
            seconds = time.perf_counter() - start
        finally:
            none = dict.fromkeys(("FRONT", "CHAMPION", "CANDIDATE"), "none") | {"ADDRESS": "127.0.0.1:1"}
            file = f"--file={project}/compose.yaml"
            name = build_compose_name("flight-delays", "staging")
            run("docker", "compose", file, f"--project-name={name}", "down", "--volumes", **none)
        sent, good = seen.pop("sent"), seen.pop("200", 0)
        print("| connections | requests answered | failed | seconds |\n|---:|---:|---:|---:|")
        print(f"| {CONNECTIONS} | {good:,} | {sum(seen.values())} | {seconds:.0f} |")
        print(
            f"{sent - good - sum(seen.values())} were cut off at the end; {dict(seen)}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
