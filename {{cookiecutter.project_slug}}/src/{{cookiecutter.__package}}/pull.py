"""Verb: data and models come from the remote, if the project has one; what it lacks is made by the pipeline."""

import subprocess
import sys


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What DVC answers."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def remote() -> str:
    """The name of the default remote, or nothing where there is none."""
    return dvc("config", "core.remote").stdout.strip()


def main() -> int:
    """Fetch data and models from the remote, if there is one."""
    name = remote()
    if not name:
        print("pull      no remote: data comes from git, models from the pipeline (`make remote` adds one)")
        return 0
    done = dvc("pull", "--run-cache", "--allow-missing")
    print(f"pull      {(done.stdout.strip().splitlines() or ['nothing new'])[-1]} from {name}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        print(f"pull      {name} did not give everything ({last}); the pipeline makes the rest", file=sys.stderr)
    return 0
