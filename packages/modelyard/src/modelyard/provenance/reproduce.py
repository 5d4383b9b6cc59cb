"""TODO doc."""

import os
from typing import Any

from modelyard.core.console import print_line
from modelyard.core.dvc_lock import find_stale_entries, get_hashes, load_lock
from modelyard.core.errors import UserError
from modelyard.core.files import read_json
from modelyard.core.git_objects import checkout_commit, read_yaml_at
from modelyard.core.model_at import run_in_checkout
from modelyard.core.paths import DVC_LOCK, METRICS_JSON
from modelyard.core.process import DVC_COMMAND, run_git
from modelyard.core.yaml import read_yaml


def find_metric_mismatches(said: dict[str, float], made: dict[str, float], tolerance: float) -> list[str]:
    """The metrics that a fresh run does not confirm."""
    pairs = {name: (said.get(name, float("nan")), made.get(name, float("nan"))) for name in sorted({**said, **made})}
    return [f"{n} {said.get(n)} but {made.get(n)}" for n, (a, b) in pairs.items() if not abs(a - b) <= tolerance]


def print_annotation(kind: str, sentence: str) -> None:
    """Say it on the terminal, and in GitHub Actions as an annotation of dvc.lock."""
    mark = f"::{kind} file={DVC_LOCK},title=dvc.lock::" if os.environ.get("GITHUB_ACTIONS") else f"{kind}: "
    print_line(mark + sentence)


def warn_if_lock_stale() -> int:
    """Warn when the committed dvc.lock is older than the files beside it; never fails."""
    said, cure = read_yaml_at("HEAD", DVC_LOCK), "run `make pipeline` and commit dvc.lock and reports/"
    if not said:
        print_annotation("warning", f"there is no dvc.lock in this commit: {cure}")
    elif found := find_stale_entries(said, load_lock()):
        names = ", ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
        print_annotation("warning", f"it is stale ({names}): {cure}")
    return 0


def rerun_pipeline() -> tuple[dict[str, Any], dict[str, float]]:
    """The dvc.lock and the metrics that the commit's own code makes, from the raw data on."""
    with checkout_commit("HEAD") as project:
        run_in_checkout(project, *DVC_COMMAND, "checkout", "--quiet", "--allow-missing", "--force")
        run_in_checkout(project, *DVC_COMMAND, "repro", "--quiet", "--force", "--no-run-cache")
        made = read_yaml(project / DVC_LOCK)
        return made, read_json(project / METRICS_JSON)


def has_pipeline_changed(base: str) -> bool:
    """Whether anything that the pipeline reads differs between a commit and this one; unknown counts as yes."""
    try:
        changed = run_git("diff", "--name-only", base, "HEAD").splitlines()
    except UserError:
        return True
    own = {*get_hashes(load_lock(), "deps"), str(DVC_LOCK), "dvc.yaml", "params.yaml", ".python-version"}
    return any(name in own or name.startswith(("src/", "packages/", "requirements/", "data/")) for name in changed)
