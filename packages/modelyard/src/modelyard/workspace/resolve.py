"""Make a dvc.lock again that two branches changed, and show its metrics beside theirs."""

import json
from pathlib import Path

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import read_json, restore_files_on_error
from modelyard.core.git_objects import read_blob
from modelyard.core.params import load_params
from modelyard.core.paths import DATA_JSON, DVC_LOCK, METRICS_JSON
from modelyard.core.process import run_dvc, run_git
from modelyard.workspace.conflicts import has_conflict_markers

GENERATED_FILES = (DVC_LOCK, DATA_JSON, METRICS_JSON)  # what the pipeline writes and git keeps
BRANCH_BY_HEAD = {"HEAD": "ours", "MERGE_HEAD": "theirs", "REBASE_HEAD": "theirs", "CHERRY_PICK_HEAD": "theirs"}


class OtherConflictsError(UserError):
    """Files that the pipeline does not write are in conflict as well.

    Parameters
    ----------
    paths
        These files.
    """

    def __init__(self, paths: list[str]) -> None:
        super().__init__(f"{', '.join(paths)}: in conflict too; resolve and `git add` that first")
        self.paths = paths


def find_conflicted_files() -> list[Path]:
    """Find the generated files in conflict.

    Returns
    -------
    list[Path]
        The files that must be made again.

    Raises
    ------
    OtherConflictsError
        If other files are in conflict as well.
    UserError
        If no generated file is in conflict.
    """
    unmerged = run_git("diff", "--name-only", "--diff-filter=U", "--relative").splitlines()
    others = sorted(set(unmerged) - {str(path) for path in GENERATED_FILES})
    if others:
        raise OtherConflictsError(others)
    found = [path for path in GENERATED_FILES if str(path) in unmerged or has_conflict_markers(path)]
    if not found:
        raise UserError(f"{DVC_LOCK} is not in conflict; there is nothing to resolve")
    return found


def read_branch_metrics() -> dict[str, dict[str, float]]:
    """Return the metrics of both branches, `ours` and `theirs`, as far as their commits have them."""
    metrics = {}
    for head, branch in BRANCH_BY_HEAD.items():
        content = read_blob(head, METRICS_JSON)
        if content is not None:
            metrics[branch] = dict(json.loads(content))
    return metrics


def print_metrics(columns: dict[str, dict[str, float]]) -> None:
    """Print a table of metrics with a column for each model."""
    print_line(f"{'metric':<20}" + "".join(f"{name:>12}" for name in columns))
    for metric in columns["merged"]:
        cells = [f"{values[metric]:>12.5g}" if metric in values else f"{'':>12}" for values in columns.values()]
        print_line(f"{metric:<20}" + "".join(cells))


def main() -> int:
    """Make dvc.lock again after a merge conflict in it, and show what changed."""
    paths = find_conflicted_files()
    before = read_branch_metrics()
    load_params()
    with restore_files_on_error(*paths, set_aside=True):
        if run_dvc("repro", "--quiet", shown=True).returncode:
            raise UserError("the pipeline does not run on the merged files (see above); correct them, try again")
    run_git("add", "--", *(str(path) for path in GENERATED_FILES if path.exists()))
    print_metrics({**before, "merged": read_json(METRICS_JSON)})
    print_result("resolve", f"{', '.join(map(str, paths))} made anew and staged; `git commit` ends the merge")
    return 0
