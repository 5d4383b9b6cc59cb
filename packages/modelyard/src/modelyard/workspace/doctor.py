"""Look at what this project needs, and name the command that cures each fault; with the standard library alone."""

import importlib.metadata
import json
import os
import re
import shutil
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modelyard.core.console import colour_word, print_line
from modelyard.core.errors import UserError
from modelyard.core.process import ForeignRepositoryError, run_git, try_command
from modelyard.core.project import Project
from modelyard.workspace.conflicts import list_conflicts
from modelyard.workspace.library import (
    LIBRARY,
    RESTORE_COMMAND,
    compute_library_digest,
    is_library_unchanged,
    read_recorded_digest,
)

MIN_FREE_GIGABYTES = 2
PIN_PATTERN = re.compile(r"(?m)^([\w.-]+)==([^\s;\\]+) *\\?$")
DEV_REQUIREMENTS = Path("requirements/dev.txt")
CRUFT_FILE = Path(".cruft.json")
COMPOSE_FILE = Path("compose.yaml")
DVC_LOCK_FILE = Path(".dvc/tmp/rwlock")
DEFAULT_BIND = "127.0.0.1:8000"


class Finding(NamedTuple):
    """What was found about one thing.

    Attributes
    ----------
    state
        ok, note or broken.
    name
        The thing.
    sentence
        What was found.
    cure
        The command that helps; empty where all is well.
    """

    state: str
    name: str
    sentence: str
    cure: str = ""


def judge(name: str, good: str | None, bad: str, cure: str, state: str = "broken") -> Finding:
    """Return a finding: ok where there is something good to report, else the fault with its cure."""
    return Finding("ok", name, good) if good else Finding(state, name, bad, cure)


def check_tools() -> Iterator[Finding]:
    """Check git and who commits, uv, and Docker where a service is shipped."""
    yield judge("git", try_command("git", "--version"), "is not installed", "apt-get install git")
    yield check_repository()
    cure = 'git config --global user.email "you@example.org"'
    yield judge("git's person", try_command("git", "config", "user.email"), "nobody to commit as", cure)
    uv = shutil.which("uv") or ".uv/bin/uv"
    yield judge("uv", try_command(uv, "--version"), "not yet here", "make install", "note")
    if COMPOSE_FILE.exists():
        yield check_docker()


def check_repository() -> Finding:
    """Check that git takes this folder for a repository that is ours."""
    try:
        run_git("rev-parse", "--git-dir")
    except ForeignRepositoryError as problem:
        return Finding("broken", "repository", "git refuses this folder, since another user owns it", problem.cure)
    except UserError:
        return Finding("broken", "repository", "this folder is in no git repository", "git init")
    return Finding("ok", "repository", "git takes it")


def check_docker() -> Finding:
    """Check the container engine and Compose."""
    engine = try_command("docker", "info", "--format", "{{.ServerVersion}}")
    plugin = try_command("docker", "compose", "version")
    if engine and plugin:
        return Finding("ok", "docker", f"{engine}, {plugin}")
    cure = "export DOCKER_HOST=ssh://user@host  # or install Docker, or start it"
    if engine:
        cure = "apt-get install docker-compose-plugin"
    return Finding("note", "docker", "no image, no deploy", cure)


def check_library() -> Iterator[Finding]:
    """Check that the library is there, as the template brought it, and that the project names its own package."""
    if not (LIBRARY / "src/modelyard").exists():
        yield Finding("broken", "library", f"{LIBRARY} is missing", RESTORE_COMMAND)
    elif is_library_unchanged():
        yield Finding("ok", "library", f"{LIBRARY} is as the template brought it")
    else:
        yield describe_changed_library()
    try:
        project = Project.load()
    except UserError as problem:
        yield Finding("broken", "project", str(problem), "git diff pyproject.toml")
        return
    features = f"src/{project.package}/features.py"
    sentence = f"[tool.modelyard] in pyproject.toml names {project.package}, but there is no {features}"
    good = f"{project.name}, package {project.package}" if Path(features).exists() else None
    yield judge("project", good, sentence, "git diff pyproject.toml")


def describe_changed_library() -> Finding:
    """Return what is to be known about a library that is not as the template brought it."""
    cure = f"git log --stat -- {LIBRARY}  # `make update KEEP=1` keeps a change as a patch"
    recorded = read_recorded_digest()
    if not recorded:
        return Finding("note", "library", f"{LIBRARY}/.brought is missing: whether it was changed is unknown", cure)
    actual = compute_library_digest()
    sentence = f"{LIBRARY} was changed ({actual[:12]}, the template brought {recorded[:12]})"
    return Finding("note", "library", sentence, cure)


def list_installed_versions() -> dict[str, str]:
    """Return the version of each installed package, by its normalized name."""
    installed = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub("[-_.]+", "-", distribution.name).lower()
        installed[name] = distribution.version
    return installed


def check_environment() -> Iterator[Finding]:
    """Check that the environment is made, of the versions that requirements/dev.txt pins."""
    pins = PIN_PATTERN.findall(DEV_REQUIREMENTS.read_text(encoding="utf-8"))
    installed = list_installed_versions()
    folder = os.environ.get("MODELYARD_VENV", ".venv")
    if "dvc" not in installed:
        sentence = f"there is none in {folder} yet; the next verb makes it"
        yield Finding("note", "environment", sentence, "make install")
        return
    wrong = [
        f"{name} is {installed.get(name, 'gone')}, not {version}"
        for name, version in pins
        if installed.get(name) != version
    ]
    if not wrong:
        sentence = f"Python {sys.version.split()[0]}, {len(pins)} pinned versions"
        yield Finding("ok", "environment", sentence)
        return
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    yield Finding("broken", "environment", wrong[0] + more, f"rm -r {folder} && make install")


def check_settings() -> Iterator[Finding]:
    """Check files that a merge or a hand may have broken: dvc.lock, params.yaml, the template's answers."""
    for name in list_conflicts():
        cure = "make resolve" if name == "dvc.lock" else f"edit {name} && git add {name}"
        yield Finding("broken", name, "is in conflict", cure)
    try:
        from modelyard.core.params import load_params

        load_params()
        yield Finding("ok", "params.yaml", "holds")
    except ImportError:
        pass  # there is no environment yet, which `check_environment` reports
    except UserError as problem:
        yield Finding("broken", "params.yaml", str(problem), "git diff params.yaml")
    if not CRUFT_FILE.exists() or not json.loads(CRUFT_FILE.read_text(encoding="utf-8")).get("commit"):
        sentence = "its commit is unknown, so `make update` cannot work"
        yield Finding("note", "template", sentence, f"edit {CRUFT_FILE}")


def check_remotes() -> Iterator[Finding]:
    """Check git's remote and DVC's: whether there is one, and whether it can be reached."""
    yield check_git_remote()
    yield check_data_remote()


def check_git_remote() -> Finding:
    """Check git's remote."""
    url = try_command("git", "remote", "get-url", "origin")
    if not url:
        return Finding("note", "origin", "no remote: nothing is pushed", "git remote add origin ADDRESS")
    if try_command("git", "ls-remote", "origin") is None:
        return Finding("broken", "origin", f"{url} does not answer", "git remote set-url origin ADDRESS")
    return Finding("ok", "origin", url)


def check_data_remote() -> Finding:
    """Check DVC's remote."""
    title = "data's remote"
    name = try_command(sys.executable, "-m", "dvc", "config", "core.remote")
    if not name:
        return Finding("note", title, "none: data and models are in git and here", "make remote URL=s3://bucket/path")
    status = try_command(sys.executable, "-m", "dvc", "status", "--cloud")
    if status is None:
        return Finding("broken", title, f"{name} does not answer", "make remote URL=ADDRESS  # or give it your rights")
    if "in sync" not in status:
        return Finding("note", title, f"{name} and this folder differ", "make pull push")
    return Finding("ok", title, f"{name} has what dvc.lock names")


def probe_url(url: str, **headers: str) -> str:
    """Return why an address does not answer well; empty where it does."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10):
            return ""
    except (OSError, ValueError) as problem:
        return str(problem)


def check_tokens() -> Iterator[Finding]:
    """Check that GitHub accepts the token and that MLflow's server answers, where they are set."""
    yield check_github_token()
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if server:
        problem = probe_url(f"{server}/health") if server.startswith("http") else ""
        good = None if problem else server
        yield judge("MLflow", good, f"{server}: {problem}", "unset MLFLOW_TRACKING_URI")


def check_github_token() -> Finding:
    """Check the token of the environment, or the one that GitHub's command line holds."""
    title = "GitHub's token"
    name = next((key for key in ("GITHUB_TOKEN", "GH_TOKEN") if os.environ.get(key)), "")
    token = os.environ[name] if name else try_command("gh", "auth", "token")
    if not token:
        return Finding("note", title, "none: only `make protect` and posting by hand want one", "gh auth login")
    api = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    problem = probe_url(f"{api}/rate_limit", Authorization=f"Bearer {token}")
    holder = name or "gh"
    cure = f"unset {name}" if name else "gh auth login"
    return judge(title, None if problem else f"{holder} is accepted", f"{holder}: {problem}", cure)


def check_locks() -> Iterator[Finding]:
    """Check for locks that a killed command left behind: git's, and DVC's."""
    stale = []
    git_lock = Path(try_command("git", "rev-parse", "--git-path", "index.lock") or ".git/index.lock")
    if git_lock.exists() and not try_command("pgrep", "-x", "git"):
        stale.append(git_lock)
    # DVC frees the locks of dead processes itself, but not a file that one left half-written.
    if DVC_LOCK_FILE.exists() and not DVC_LOCK_FILE.read_text(encoding="utf-8").endswith("}"):
        stale.append(DVC_LOCK_FILE)
    for path in stale:
        yield Finding("broken", "lock", f"a command that was killed left {path}", f"rm {path}")
    if not stale:
        yield Finding("ok", "locks", "none is stale")


def check_machine() -> Iterator[Finding]:
    """Check the room on the disk, and the port of `make serve`."""
    free = shutil.disk_usage(".").free / 1e9
    sentence = f"{free:.1f} GB free"
    cure = f"{sys.executable} -m dvc gc --workspace  # keeps the models of this commit"
    good = sentence if free > MIN_FREE_GIGABYTES else None
    yield judge("disk", good, f"{sentence}, {MIN_FREE_GIGABYTES} are wanted", cure)
    if COMPOSE_FILE.exists():
        yield check_port(os.environ.get("MODELYARD_BIND", DEFAULT_BIND))


def check_port(bind: str) -> Finding:
    """Check that nobody listens where the service would; `bind` is host:port."""
    host, _, port = bind.rpartition(":")
    if not port.isdecimal():
        return Finding("broken", "port", f"BIND={bind} ends in no number", f"make doctor BIND={DEFAULT_BIND}")
    with socket.socket() as probe:
        is_taken = probe.connect_ex((host, int(port))) == 0
    if is_taken:
        return Finding("note", "port", f"{port} is taken", f"make serve BIND={host}:{int(port) + 1}")
    return Finding("ok", "port", f"{port} is free")


CHECKS = (
    check_tools,
    check_library,
    check_environment,
    check_settings,
    check_remotes,
    check_tokens,
    check_locks,
    check_machine,
)


def main() -> int:
    """Look at tools, library, versions, remotes, tokens, locks, disk and ports; exit 1 where something is broken."""
    code = 0
    for check in CHECKS:
        for finding in check():
            print_line(f"{colour_word(finding.state, 8)}{finding.name:<16}{finding.sentence}")
            if finding.cure:
                print_line(f"{'':<24}{finding.cure}")
            if finding.state == "broken":
                code = 1
    return code
