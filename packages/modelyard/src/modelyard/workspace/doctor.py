"""Verb: what this project stands on, each finding with the command that cures it; the standard library alone."""

import importlib.metadata
import json
import os
import re
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from modelyard.core.console import colour_word, print_line
from modelyard.core.process import try_command
from modelyard.workspace.conflicts import list_conflicts

Finding = tuple[str, str, str, str]  # ok, note or broken; about what; what was found; the cure


def make_finding(name: str, good: str | None, bad: str, cure: str, state: str = "broken") -> Finding:
    """Well where there is something good to say of it, else what is wrong and its cure."""
    return ("ok", name, good, "") if good else (state, name, bad, cure)


def check_tools() -> Iterator[Finding]:
    """Git and who commits, uv, and Docker where a service is shipped."""
    yield make_finding("git", try_command("git", "--version"), "is not installed", "apt-get install git")
    cure = 'git config --global user.email "you@example.org"'
    yield make_finding("git's person", try_command("git", "config", "user.email"), "nobody to commit as", cure)
    uv = shutil.which("uv") or ".uv/bin/uv"
    yield make_finding("uv", try_command(uv, "--version"), "not yet here", "make install", "note")
    if Path("compose.yaml").exists():
        engine, plugin = (
            try_command("docker", "info", "--format", "{{.ServerVersion}}"),
            try_command("docker", "compose", "version"),
        )
        cure = "export DOCKER_HOST=ssh://user@host  # or install Docker, or start it"
        if engine and not plugin:
            cure = "apt-get install docker-compose-plugin"
        both = f"{engine}, {plugin}" if engine and plugin else None
        yield make_finding("docker", both, "no image, no deploy", cure, "note")


def check_environment() -> Iterator[Finding]:
    """The environment: made, and of the versions that requirements/dev.txt pins."""
    pins = re.findall(r"(?m)^([\w.-]+)==([^\s;\\]+) *\\?$", Path("requirements/dev.txt").read_text(encoding="utf-8"))
    found = {re.sub("[-_.]+", "-", one.name).lower(): one.version for one in importlib.metadata.distributions()}
    folder = os.environ.get("MODELYARD_VENV", ".venv")
    if "dvc" not in found:
        yield "note", "environment", f"there is none in {folder} yet; the next verb makes it", "make install"
        return
    wrong = [f"{name} is {found.get(name, 'gone')}, not {pin}" for name, pin in pins if found.get(name) != pin]
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    good = None if wrong else f"Python {sys.version.split()[0]}, {len(pins)} pinned versions"
    yield make_finding("environment", good, "".join(wrong[:1]) + more, f"rm -r {folder} && make install")


def check_settings() -> Iterator[Finding]:
    """Files that a merge or a hand may have broken: dvc.lock, params.yaml, the template's answers."""
    for name in list_conflicts():
        yield "broken", name, "is in conflict", "make resolve" if name == "dvc.lock" else f"edit it; git add {name}"
    try:
        from modelyard.core.errors import UserError
        from modelyard.core.params import load_params

        load_params()
        yield "ok", "params.yaml", "holds", ""
    except ImportError:
        pass  # the environment is what is missing, and that was said
    except UserError as problem:
        yield "broken", "params.yaml", str(problem), "git diff params.yaml"
    template = Path(".cruft.json")
    if not template.exists() or not json.loads(template.read_text(encoding="utf-8")).get("commit"):
        yield "note", "template", "its commit is unknown, so `make update` cannot work", "edit .cruft.json"


def check_remotes() -> Iterator[Finding]:
    """Git's remote and DVC's: there, and reached."""
    url = try_command("git", "remote", "get-url", "origin")
    cure = "git remote set-url origin ADDRESS"
    if not url:
        yield "note", "origin", "no remote: nothing is pushed", cure.replace("set-url", "add")
    else:
        there = url if try_command("git", "ls-remote", "origin") is not None else None
        yield make_finding("origin", there, f"{url} does not answer", cure)
    if not (name := try_command(sys.executable, "-m", "dvc", "config", "core.remote")):
        yield "note", "data's remote", "none: data and models are in git and here", "make remote URL=s3://bucket/path"
        return
    state = try_command(sys.executable, "-m", "dvc", "status", "--cloud")
    if state is None:
        yield "broken", "data's remote", f"{name} does not answer", "make remote URL=ADDRESS  # or give it your rights"
    else:
        held = f"{name} has what dvc.lock names" if "in sync" in state else None
        yield make_finding("data's remote", held, f"{name} and this folder differ", "make pull push", "note")


def probe_url(url: str, **headers: str) -> str:
    """Nothing where an address answers well, else what it says."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10):
            return ""
    except (OSError, ValueError) as problem:
        return str(problem)


def check_tokens() -> Iterator[Finding]:
    """GitHub's token and MLflow's server, where they are set: they are taken."""
    name = next((key for key in ("GITHUB_TOKEN", "GH_TOKEN") if os.environ.get(key)), "gh")
    token = os.environ.get(name) or try_command("gh", "auth", "token")
    api = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    if not token:
        yield "note", "GitHub's token", "none: only `make protect` and posting by hand want one", "gh auth login"
    else:
        no = probe_url(f"{api}/rate_limit", Authorization=f"Bearer {token}")
        cure = f"unset {name}" if name != "gh" else "gh auth login"
        yield make_finding("GitHub's token", None if no else f"{name} is taken", f"{name}: {no}", cure)
    if server := os.environ.get("MLFLOW_TRACKING_URI", ""):
        no = probe_url(f"{server}/health") if server.startswith("http") else ""
        yield make_finding("MLflow", None if no else server, f"{server}: {no}", "unset MLFLOW_TRACKING_URI")


def check_locks() -> Iterator[Finding]:
    """Locks that a killed command left behind: git's, and DVC's."""
    index = Path(try_command("git", "rev-parse", "--git-path", "index.lock") or ".git/index.lock")
    stale = [str(index)] if index.exists() and not try_command("pgrep", "-x", "git") else []
    held = Path(".dvc/tmp/rwlock")  # of dead processes DVC frees itself, but not a file that one left half-written
    stale += [str(held)] if held.exists() and not held.read_text(encoding="utf-8").endswith("}") else []
    for path in stale:
        yield "broken", "lock", f"a command that was killed left {path}", f"rm {path}"
    if not stale:
        yield "ok", "locks", "none is stale", ""


def check_machine() -> Iterator[Finding]:
    """Room on the disk, and the port of `make serve`."""
    free = shutil.disk_usage(".").free / 1e9
    cure = f"{sys.executable} -m dvc gc --workspace  # keeps the models of this commit"
    room = f"{free:.1f} GB free"
    yield make_finding("disk", room if free > 2 else None, f"{room}, 2 are wanted", cure)
    if Path("compose.yaml").exists():
        host, _, port = os.environ.get("MODELYARD_BIND", "127.0.0.1:8000").rpartition(":")
        if not port.isdecimal():
            yield "broken", "port", f"BIND={host}:{port} ends in no number", "make doctor BIND=127.0.0.1:8000"
            return
        with socket.socket() as door:
            taken = door.connect_ex((host, int(port))) == 0
        free_port = None if taken else f"{port} is free"
        yield make_finding("port", free_port, f"{port} is taken", f"make serve BIND={host}:{int(port) + 1}", "note")


def main() -> int:
    """Look at tools, versions, remotes, tokens, locks, disk and ports; exit 1 where something is broken."""
    worst = 0
    for look in (
        check_tools,
        check_environment,
        check_settings,
        check_remotes,
        check_tokens,
        check_locks,
        check_machine,
    ):
        for state, name, said, cure in look():
            print_line(f"{colour_word(state, 8)}{name:<16}{said}" + (f"\n{'':<24}{cure}" if cure else ""))
            worst = max(worst, int(state == "broken"))
    return worst
