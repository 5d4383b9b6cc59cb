"""A project in git whose dvc.lock DVC itself wrote, and whose model was promoted."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

from modelyard.core import deployments
from modelyard.core.files import sha256
from modelyard.core.paths import MODEL_FILE
from modelyard.core.process import run_git
from tests.library.support import ROOT, TEMPLATE

LIBRARY = Path("packages/modelyard/src/modelyard")
PERSON = ("-c", "user.name=A Person", "-c", "user.email=person@example.org")


def save(message: str) -> str:
    """Commit every change in the current project, and return the commit."""
    run_git("add", "--all", ".")
    run_git(*PERSON, "commit", "--quiet", "--allow-empty", "--message", message)
    return run_git("rev-parse", "HEAD")


def copy_project(piped: Path, folder: Path, name: str = "flight-delays") -> None:
    """Copy a project whose pipeline ran, with the library and DVC's files, under a name of its own."""
    shutil.copytree(piped, folder)
    shutil.copytree(ROOT / LIBRARY, folder / LIBRARY, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    shutil.copytree(TEMPLATE / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    for file in (".gitignore", ".dvcignore"):
        shutil.copyfile(TEMPLATE / file, folder / file)
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('name = "flight-delays"', f'name = "{name}"'))


def record(folder: Path) -> None:
    """Let DVC write the dvc.lock of a project, commit, and promote its model to production."""
    with contextlib.chdir(folder):
        subprocess.run([sys.executable, "-m", "dvc", "commit", "--force", "--quiet"], check=True)
        commit = save("Learn")
        champion = {"model": sha256(MODEL_FILE), "commit": commit, "image": None}
        deployments.write_state("production", {"champion": champion, "candidate": None, "weight": 0, "mirror": False})
        entry = {"from": None, "to": champion["model"], "action": "promote", "verdict": "better", "verdict_sha256": "e"}
        deployments.append_history({"environment": "production", **entry})
        save("Promote")
