"""Verb: a dvc.lock that two branches changed is made anew, and its metrics are shown beside theirs."""

import json
import tempfile
from pathlib import Path

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import read_json, replace_paths_or_restore
from modelyard.core.params import load_params
from modelyard.core.paths import DATA_JSON, DVC_LOCK, METRICS_JSON
from modelyard.core.process import run_dvc, run_git

GENERATED_FILES = (DVC_LOCK, DATA_JSON, METRICS_JSON)  # what the pipeline writes and git keeps


def find_conflicted_files() -> list[Path]:
    """The generated files that must be made anew; no conflict, or one in other files, is a `UserError`."""
    conflicts = [Path(name) for name in run_git("diff", "--name-only", "--diff-filter=U", "--relative").splitlines()]
    others = sorted({str(path) for path in conflicts} - {str(path) for path in GENERATED_FILES})
    if others:
        raise UserError(f"{', '.join(others)}: in conflict too; resolve and `git add` that first")
    found = [
        path
        for path in GENERATED_FILES
        if path in conflicts or (path.exists() and "\n<<<<<<< " in "\n" + path.read_text())
    ]
    if not found:
        raise UserError(f"{DVC_LOCK} is not in conflict; there is nothing to resolve")
    return found


def read_branch_metrics() -> dict[str, dict[str, float]]:
    """The metrics of both branches: ours, and theirs where a merge, rebase or cherry-pick is under way."""
    found = {}
    for head in ("HEAD", "MERGE_HEAD", "REBASE_HEAD", "CHERRY_PICK_HEAD"):
        try:
            found["ours" if head == "HEAD" else "theirs"] = dict(
                json.loads(run_git("show", f"{head}:./{METRICS_JSON}"))
            )
        except (UserError, ValueError):
            continue
    return found


def main() -> int:
    """Make dvc.lock anew after a merge conflict in it, and show what changed."""
    paths, before = find_conflicted_files(), read_branch_metrics()
    load_params()
    with (
        tempfile.TemporaryDirectory(prefix=".resolve-", dir=".") as folder,
        replace_paths_or_restore(paths, Path(folder)),
    ):
        if run_dvc("repro", "--quiet", shown=True).returncode:
            raise UserError("the pipeline does not run on the merged files (see above); correct them, try again")
    run_git("add", "--", *(str(path) for path in GENERATED_FILES if path.exists()))
    columns = {**before, "merged": read_json(METRICS_JSON)}
    print_line(f"{'metric':<20}" + "".join(f"{name:>12}" for name in columns))
    for metric in columns["merged"]:
        cells = (f"{values[metric]:>12.5g}" if metric in values else f"{'':>12}" for values in columns.values())
        print_line(f"{metric:<20}" + "".join(cells))
    print_result("resolve", f"{', '.join(map(str, paths))} made anew and staged; `git commit` ends the merge")
    return 0
