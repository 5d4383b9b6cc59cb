"""Runs the pipeline again in a scratch checkout, and looks for a dvc.lock that is older than the files beside it."""

import os
from typing import Any

from modelyard.core.console import print_annotation, print_line
from modelyard.core.dvc_lock import find_stale_entries, get_hashes, load_lock
from modelyard.core.errors import UserError
from modelyard.core.files import read_json
from modelyard.core.git_objects import checkout_commit, read_yaml_at
from modelyard.core.model_at import bring_start_model, run_in_checkout
from modelyard.core.paths import DVC_LOCK, METRICS_JSON, PARAMS_YAML
from modelyard.core.process import DVC_COMMAND, run_git
from modelyard.core.yaml import read_yaml

PIPELINE_FILES = (str(DVC_LOCK), "dvc.yaml", str(PARAMS_YAML), ".python-version")
PIPELINE_FOLDERS = ("src/", "packages/", "requirements/", "data/")
MAX_NAMED = 5


def find_metric_mismatches(committed: dict[str, float], fresh: dict[str, float], tolerance: float) -> list[str]:
    """Return one phrase for each metric that a fresh run does not confirm.

    Parameters
    ----------
    committed, fresh
        The metrics in git and those of the fresh run, by name.
    tolerance
        The largest absolute difference that counts as rounding.
    """
    found = []
    for name in sorted({**committed, **fresh}):
        old = committed.get(name)
        new = fresh.get(name)
        agrees = old is not None and new is not None and abs(old - new) <= tolerance
        if not agrees:
            found.append(f"{name} {old} but {new}")
    return found


def report_lock_problem(kind: str, sentence: str) -> None:
    """Print a sentence about dvc.lock; in GitHub Actions as an annotation of that file.

    Parameters
    ----------
    kind
        notice, warning or error.
    sentence
        The problem and what to do.
    """
    if os.environ.get("GITHUB_ACTIONS"):
        folder = run_git("rev-parse", "--show-prefix")  # GitHub counts from the top of the repository
        print_annotation(kind, str(DVC_LOCK), sentence, file=f"{folder}{DVC_LOCK}")
    else:
        print_line(f"{kind}: {sentence}")


def warn_if_lock_stale() -> int:
    """Warn when the committed dvc.lock was not made from the files beside it; return 0."""
    committed = read_yaml_at("HEAD", DVC_LOCK)
    cure = "run `make pipeline` and commit dvc.lock and reports/"
    if not committed:
        report_lock_problem("warning", f"there is no dvc.lock in this commit: {cure}")
        return 0
    stale = find_stale_entries(committed, load_lock())
    if stale:
        names = ", ".join(str(entry) for entry in stale[:MAX_NAMED])
        more = " …" if len(stale) > MAX_NAMED else ""
        report_lock_problem("warning", f"it is stale ({names}{more}): {cure}")
    return 0


def rerun_pipeline() -> tuple[dict[str, Any], dict[str, float]]:
    """Run the whole pipeline of HEAD with its own code in a scratch checkout.

    Returns
    -------
    tuple
        The dvc.lock and the metrics that it makes.
    """
    with checkout_commit("HEAD") as project:
        run_in_checkout(project, *DVC_COMMAND, "checkout", "--quiet", "--allow-missing", "--force")
        bring_start_model(project)
        run_in_checkout(project, *DVC_COMMAND, "repro", "--quiet", "--force", "--no-run-cache")
        return read_yaml(project / DVC_LOCK), read_json(project / METRICS_JSON)


def has_pipeline_changed(base: str) -> bool:
    """Return whether a file that the pipeline reads differs between a commit and HEAD; True where it is unknown."""
    try:
        changed = run_git("diff", "--name-only", "--relative", base, "HEAD").splitlines()
    except UserError:  # the commit was not fetched
        return True
    inputs = {*get_hashes(load_lock(), "deps"), *PIPELINE_FILES}
    return any(name in inputs or name.startswith(PIPELINE_FOLDERS) for name in changed)
