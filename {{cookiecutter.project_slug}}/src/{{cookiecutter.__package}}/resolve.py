"""Verb: a dvc.lock that two branches changed is made anew, and its metrics are shown beside theirs."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from .config import DATA, LOCK, METRICS, UserError, git, read_json

MADE = (str(LOCK), str(DATA), str(METRICS))  # what the pipeline writes and git keeps
MARK = "<<<<<<< "


def unmerged() -> list[str]:
    """The files that git could not merge, as paths from here."""
    return sorted(set(git("diff", "--name-only", "--diff-filter=U", "--relative").splitlines()))


def marked(path: str) -> bool:
    """Whether a file has conflict markers."""
    file = Path(path)
    return file.exists() and any(line.startswith(MARK) for line in file.read_text(encoding="utf-8").splitlines())


def metrics_of(revision: str) -> dict[str, float]:
    """The metrics at a revision, or none."""
    try:
        return dict(json.loads(git("show", f"{revision}:./{METRICS}")))
    except (UserError, ValueError):
        return {}


def sides() -> dict[str, dict[str, float]]:
    """The metrics that both branches brought: ours, and theirs where a merge, rebase or cherry-pick is under way."""
    found = {"ours": metrics_of("HEAD")}
    for head in ("MERGE_HEAD", "REBASE_HEAD", "CHERRY_PICK_HEAD"):
        if theirs := metrics_of(head):
            return {**found, "theirs": theirs}
    return found


def broken(force: bool) -> list[str]:
    """The generated files that must be made anew; no conflict, or one in other files, is a `UserError`."""
    conflicts = unmerged()
    others = [path for path in conflicts if path not in MADE]
    if others:
        verb = "is" if len(others) == 1 else "are"
        raise UserError(f"{', '.join(others)} {verb} in conflict too; resolve and `git add` that first")
    found = [path for path in MADE if path in conflicts or marked(path)]
    if not found and not force:
        raise UserError(f"{LOCK} is not in conflict; there is nothing to resolve (FORCE=1 makes it anew all the same)")
    return found or [str(LOCK)]


def dvc(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run DVC, its words on the terminal."""
    return subprocess.run(command, check=False)


def made_anew(paths: list[str]) -> None:
    """Drop the files and run the pipeline; when it fails they are back as they were."""
    with tempfile.TemporaryDirectory() as folder:
        for path in filter(lambda path: Path(path).exists(), paths):
            shutil.move(path, Path(folder, Path(path).name))
        try:
            if dvc([sys.executable, "-m", "dvc", "repro", "--quiet"]).returncode:
                raise UserError(
                    "the pipeline does not run on the merged files (see above); correct them, then run this again"
                )
        except BaseException:
            for path in filter(lambda path: Path(folder, Path(path).name).exists(), paths):
                shutil.move(Path(folder, Path(path).name), path)
            raise


def show(before: dict[str, dict[str, float]], now: dict[str, float]) -> None:
    """The metrics of each side and of the merge, one a line."""
    columns = {**before, "merged": now}
    print("".join([f"{'metric':<20}", *(f"{name:>12}" for name in columns)]))
    for metric in now:
        cells = (f"{values[metric]:>12.5g}" if metric in values else f"{'':>12}" for values in columns.values())
        print("".join([f"{metric:<20}", *cells]))


def main(force: bool = False) -> int:
    """Make dvc.lock anew after a merge conflict in it, and show what changed; FORCE=1 without a conflict too."""
    paths = broken(force)
    before = sides()
    try:
        yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    except yaml.YAMLError:
        raise UserError("params.yaml cannot be read; resolve it first, then run this again") from None
    made_anew(paths)
    git("add", "--", *(path for path in MADE if Path(path).exists()))
    show(before, read_json(METRICS))
    print(f"{'resolve':<10}{', '.join(paths)} made anew and staged; `git commit` ends the merge")
    return 0
